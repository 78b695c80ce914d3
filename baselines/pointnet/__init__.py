"""PointNet (Qi et al., CVPR 2017)."""
