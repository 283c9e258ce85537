"""Sampling that starts from a generator: draws to disk, latent Markov chains, exploration."""
