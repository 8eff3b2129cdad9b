"""Scores of trained networks: a network and images in, rows of scores out."""
