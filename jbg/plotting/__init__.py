"""The figures of a run, from plain arrays to PNG files; the only home of matplotlib.

Every function takes numpy arrays and the path to write, and leaves out what is not finite. The
colours are Okabe and Ito's, distinct for colour-blind readers, and mean the same in every figure.
"""

from jbg.plotting.dimer import dimer
from jbg.plotting.exploration import exploration, two_generators
from jbg.plotting.maps import MapAxis, free_energy_map
from jbg.plotting.papers import plane_systems, profile_grid
from jbg.plotting.profiles import LARGEST_ERROR, free_energy_profile, ramachandran
from jbg.plotting.samples import (
    LOWEST_LOG_WEIGHT,
    configurations,
    energy_histograms,
    latent,
    weight_diagnostics,
)
from jbg.plotting.structure import (
    distance_maps,
    energies_by_stage,
    energy_quantile_curves,
    fluctuations,
    geometry_distances,
)
from jbg.plotting.style import ACCENT, GENERATED, REFERENCE, REWEIGHTED, STATE_COLOURS
from jbg.plotting.training import training_curves

__all__ = [
    "ACCENT",
    "GENERATED",
    "LARGEST_ERROR",
    "LOWEST_LOG_WEIGHT",
    "MapAxis",
    "REFERENCE",
    "REWEIGHTED",
    "STATE_COLOURS",
    "configurations",
    "dimer",
    "distance_maps",
    "energy_histograms",
    "energies_by_stage",
    "energy_quantile_curves",
    "exploration",
    "fluctuations",
    "geometry_distances",
    "free_energy_map",
    "free_energy_profile",
    "latent",
    "plane_systems",
    "profile_grid",
    "ramachandran",
    "training_curves",
    "two_generators",
    "weight_diagnostics",
]
