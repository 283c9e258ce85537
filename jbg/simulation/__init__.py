"""Chains from a potential or a target: Metropolis, HMC, Langevin, replica exchange, umbrella sampling.

Nothing here knows a flow; what starts from a generator is in `jbg.sampling`.
"""
