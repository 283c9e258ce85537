"""What samples say: free energies and profiles with errors, by weights or MBAR; Ramachandran statistics."""

from jbg.analysis.free_energy import (
    FreeEnergyDifference,
    Profile,
    free_energy_difference,
    reference_free_energy,
    weighted_profile,
)
from jbg.analysis.mbar import mbar_difference, mbar_profile, umbrella_weights
from jbg.analysis.ramachandran import (
    ramachandran_histogram,
    ramachandran_noise_floor,
    torsions,
    total_variation,
)
from jbg.analysis.umbrella_reference import (
    DIMER_UMBRELLA,
    TauReference,
    UmbrellaReference,
    umbrella_reference,
)

__all__ = [
    "DIMER_UMBRELLA",
    "FreeEnergyDifference",
    "Profile",
    "TauReference",
    "UmbrellaReference",
    "free_energy_difference",
    "mbar_difference",
    "mbar_profile",
    "ramachandran_histogram",
    "ramachandran_noise_floor",
    "reference_free_energy",
    "torsions",
    "total_variation",
    "umbrella_reference",
    "umbrella_weights",
    "weighted_profile",
]
