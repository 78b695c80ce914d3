"""Encoders of images and of Gaussians that learn from each other, without labels."""
