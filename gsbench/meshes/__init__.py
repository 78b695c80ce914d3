"""Meshes: files, the official splits, the world frame, surface points, and the procedural ten classes."""
