"""Encoders of images, with the parameter names, shapes and initialization of torchvision."""
