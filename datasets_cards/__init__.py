"""The data sets' cards and build recipes, one folder a data set; imported as `gsbench_cards`."""
