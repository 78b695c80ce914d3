"""PointNet++ (Qi et al., NeurIPS 2017)."""
