"""Studies of two-dimensional systems."""
