"""The published tables as data, scored again on any data set, with where the two differ and why."""
