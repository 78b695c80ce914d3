"""Rendering of meshes and of Gaussians."""
