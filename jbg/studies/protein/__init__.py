"""Proteins in reduced internal coordinates: Kim et al. 2023, arXiv:2401.04246, and the density of the slice."""
