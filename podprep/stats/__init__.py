"""A dataset as figures and pictures."""
