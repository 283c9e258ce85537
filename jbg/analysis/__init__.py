"""What samples say: free energies and profiles with errors, Ramachandran statistics."""

from jbg.analysis.free_energy import (
    FreeEnergyDifference,
    Profile,
    free_energy_difference,
    reference_free_energy,
    weighted_profile,
)
from jbg.analysis.interpolation import LatentPaths, LatentPlace, latent_paths, latent_place
from jbg.analysis.ramachandran import (
    ramachandran_histogram,
    ramachandran_noise_floor,
    torsions,
    total_variation,
)

__all__ = [
    "FreeEnergyDifference",
    "LatentPaths",
    "LatentPlace",
    "Profile",
    "free_energy_difference",
    "latent_paths",
    "latent_place",
    "ramachandran_histogram",
    "ramachandran_noise_floor",
    "reference_free_energy",
    "torsions",
    "total_variation",
    "weighted_profile",
]
