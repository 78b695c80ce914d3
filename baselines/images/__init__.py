"""Encoders of images, with the parameter names, shapes and initialisation of torchvision."""
