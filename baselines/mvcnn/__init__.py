"""MVCNN (Su et al., ICCV 2015)."""
