"""The embedded data set, made of procedural shapes."""
