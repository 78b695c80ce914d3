"""The baselines that come with gsbench: a folder each, with `model.py` and recipes."""
