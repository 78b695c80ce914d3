"""Views to Gaussians from the visual hull: a few hundred steps on a fixed number of Gaussians."""
