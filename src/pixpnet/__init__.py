"""Pixel-grounded prototypical part networks."""

__version__ = "0.1.0"
