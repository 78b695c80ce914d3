"""Kerbl's optimization as published (3D Gaussian Splatting, 2023): from random points, with adaptive density control.

Facts are from the paper (sections 5 and 7, appendix B) and from its public code; where the two differ, the code counts.
"""
