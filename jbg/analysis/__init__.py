"""What samples say: free energies and profiles with errors, alarms, Ramachandran statistics."""

from jbg.analysis.alarms import forward_nll_by_state, missing_state_alarms, results_alarms
from jbg.analysis.bar import (
    BarLogZ,
    StateSamples,
    bar_free_energy_difference,
    bar_log_z,
    kl_loss_difference,
)
from jbg.analysis.equilibration import checked_reference, crossings, split_r_hat
from jbg.analysis.forward_gap import (
    ForwardGap,
    equal_mixture_gap,
    forward_gap,
    kl_loss_floor,
    kl_losses,
)
from jbg.analysis.free_energy import (
    FreeEnergyDifference,
    Profile,
    free_energy_difference,
    mean_weight_difference,
    reference_free_energy,
    weighted_profile,
)
from jbg.analysis.interpolation import LatentPaths, latent_paths
from jbg.analysis.kde import (
    KernelProfile,
    cross_validated_bandwidth,
    kernel_profile,
    silverman_bandwidth,
)
from jbg.analysis.local_chains import local_chain_gap, unseen_alarms
from jbg.analysis.mbar import umbrella_weights
from jbg.analysis.mbar_estimates import mbar_difference, mbar_profile
from jbg.analysis.profile_error import Barrier, ProfileError, barrier, profile_error
from jbg.analysis.ramachandran import (
    ramachandran_histogram,
    ramachandran_noise_floor,
    torsions,
    total_variation,
)
from jbg.analysis.weight_gap import WeightGap, weight_gap
from jbg.analysis.weight_tail import MeanWeight, mean_weight

__all__ = [
    "Barrier",
    "BarLogZ",
    "ForwardGap",
    "FreeEnergyDifference",
    "KernelProfile",
    "LatentPaths",
    "MeanWeight",
    "Profile",
    "ProfileError",
    "StateSamples",
    "WeightGap",
    "bar_free_energy_difference",
    "bar_log_z",
    "barrier",
    "checked_reference",
    "cross_validated_bandwidth",
    "crossings",
    "equal_mixture_gap",
    "forward_gap",
    "forward_nll_by_state",
    "free_energy_difference",
    "kernel_profile",
    "kl_loss_difference",
    "kl_loss_floor",
    "kl_losses",
    "local_chain_gap",
    "mean_weight",
    "mean_weight_difference",
    "missing_state_alarms",
    "latent_paths",
    "free_energy_difference",
    "mbar_difference",
    "mbar_profile",
    "profile_error",
    "ramachandran_histogram",
    "ramachandran_noise_floor",
    "reference_free_energy",
    "results_alarms",
    "silverman_bandwidth",
    "split_r_hat",
    "torsions",
    "total_variation",
    "umbrella_weights",
    "unseen_alarms",
    "weight_gap",
    "weighted_profile",
]
