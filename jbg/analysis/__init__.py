"""What samples say: free energies and profiles with errors, alarms, torsion statistics, structures of proteins."""

from jbg.analysis.alarms import forward_nll_by_state, missing_state_alarms, results_alarms
from jbg.analysis.bar import (
    BarLogZ,
    StateSamples,
    bar_free_energy_difference,
    bar_log_z,
    kl_loss_difference,
)
from jbg.analysis.distances import (
    Distortion,
    distance_distortion,
    distortion_floor,
    frame_distances,
)
from jbg.analysis.energy_quantiles import (
    EnergyQuantiles,
    EnergyShares,
    energy_quantiles,
    energy_shares,
)
from jbg.analysis.equilibration import checked_reference, crossings, split_r_hat
from jbg.analysis.fluctuations import Fluctuations, Novelty, nearest_rmsd, novelty, rmsf
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
from jbg.analysis.gaussian_distance import WassersteinFloor, gaussian_w2, wasserstein_floor
from jbg.analysis.geometry import (
    BondedTerms,
    GeometryDistance,
    bonded_terms,
    geometry_distance,
)
from jbg.analysis.interpolation import LatentPaths, latent_paths
from jbg.analysis.kde import (
    KernelProfile,
    cross_validated_bandwidth,
    kernel_profile,
    silverman_bandwidth,
)
from jbg.analysis.local_chains import local_chain_gap, unseen_alarms
from jbg.analysis.lost_rotamers import LostRotamers, lost_rotamers
from jbg.analysis.map_overlap import MapOverlap, map_overlap
from jbg.analysis.mbar import umbrella_weights
from jbg.analysis.mbar_estimates import mbar_difference, mbar_profile
from jbg.analysis.profile_error import Barrier, ProfileError, barrier, profile_error
from jbg.analysis.projections import (
    Projection,
    fit_pca,
    fit_tica,
    implied_timescales,
    torsion_features,
)
from jbg.analysis.ramachandran import (
    ramachandran_histogram,
    ramachandran_noise_floor,
    torsions,
    total_variation,
)
from jbg.analysis.superposition import rmsd, rmsd_matrix, superposed
from jbg.analysis.torsion_histograms import (
    TorsionDistance,
    ramachandran_distance,
    torsion_distance,
)
from jbg.analysis.weight_gap import WeightGap, weight_gap
from jbg.analysis.weight_tail import MeanWeight, mean_weight
from jbg.analysis.weighted_mean import WeightedMean, chain_mean, weighted_mean

__all__ = [
    "WeightedMean",
    "chain_mean",
    "weighted_mean",
    "BondedTerms",
    "GeometryDistance",
    "bonded_terms",
    "geometry_distance",
    "Barrier",
    "BarLogZ",
    "Distortion",
    "EnergyQuantiles",
    "EnergyShares",
    "Fluctuations",
    "ForwardGap",
    "FreeEnergyDifference",
    "KernelProfile",
    "LatentPaths",
    "LostRotamers",
    "MapOverlap",
    "MeanWeight",
    "Novelty",
    "Profile",
    "Projection",
    "ProfileError",
    "StateSamples",
    "TorsionDistance",
    "WassersteinFloor",
    "WeightGap",
    "bar_free_energy_difference",
    "bar_log_z",
    "barrier",
    "checked_reference",
    "cross_validated_bandwidth",
    "crossings",
    "distance_distortion",
    "distortion_floor",
    "energy_quantiles",
    "energy_shares",
    "equal_mixture_gap",
    "fit_pca",
    "fit_tica",
    "forward_gap",
    "forward_nll_by_state",
    "frame_distances",
    "free_energy_difference",
    "gaussian_w2",
    "implied_timescales",
    "kernel_profile",
    "kl_loss_difference",
    "kl_loss_floor",
    "kl_losses",
    "local_chain_gap",
    "lost_rotamers",
    "map_overlap",
    "mean_weight",
    "mean_weight_difference",
    "missing_state_alarms",
    "nearest_rmsd",
    "novelty",
    "latent_paths",
    "free_energy_difference",
    "mbar_difference",
    "mbar_profile",
    "profile_error",
    "ramachandran_distance",
    "ramachandran_histogram",
    "ramachandran_noise_floor",
    "reference_free_energy",
    "results_alarms",
    "rmsd",
    "rmsd_matrix",
    "rmsf",
    "silverman_bandwidth",
    "split_r_hat",
    "superposed",
    "torsion_distance",
    "torsion_features",
    "torsions",
    "total_variation",
    "umbrella_weights",
    "unseen_alarms",
    "wasserstein_floor",
    "weight_gap",
    "weighted_profile",
]
