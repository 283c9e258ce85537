"""The plan of a protein's study, by preset and size of the molecule."""

import math
from typing import Any

import numpy as np

from jbg.coords import build_zmatrix, disulfides, mixed_atoms, rotor_candidates
from jbg.coords.reduced_set import SETS, kept_coordinates
from jbg.flows import MLP, GatedAttention, RealNVPConfig, SplineFlowConfig, SplitFlowConfig
from jbg.sampling.annealing_settings import Annealing
from jbg.simulation.hmc_ladder import HmcLadder
from jbg.simulation.replica_exchange_config import HYDROGEN_MASS
from jbg.studies.molecule.build import build_checked, files_digest
from jbg.studies.molecule.dynamics import langevin_plan
from jbg.studies.molecule.dynamics_plan import MdOptions
from jbg.studies.protein.data_plan import MixedPlan, SlicePlan
from jbg.studies.protein.mixed_stages import mixed_stages
from jbg.studies.protein.options import NetworkChoice, ProteinOptions
from jbg.studies.protein.stages import make_stages
from jbg.studies.study import Plan, Preset, SamplingPlan
from jbg.systems.molecule import Molecule
from jbg.training import Stage

NAME = "protein"
ProteinPlan = Plan[ProteinOptions, SlicePlan | MixedPlan]
SPACING = 1.7  # of neighbouring temperatures, over the relative spread of the energy: a fifth of swaps succeed
ATOMS = 138  # of chignolin, on which times were measured
SIZES: dict[str, dict[str, Any]] = {
    "quick": {"chains": 16, "ns": 0.02, "rounds": 3000, "burn_in": 500, "steps": 800, "n": 20_000},
    "full": {"chains": 32, "ns": 0.03, "rounds": 12_000, "burn_in": 500, "steps": 3000, "n": 100_000},
}  # fmt: skip
BATCH = {"mlp": 256, "attention": 64}
MIXED_STEPS = {"quick": 1600, "full": 4000}
# nearly Gaussian variables, of which there are many: few bins
MIXED_FLOW = SplineFlowConfig(
    n_blocks=4, n_circular_blocks=2, n_bins=4, conditioner=MLP(hidden=(128, 128)), floor=1e-2
)


def protein_plan(options: ProteinOptions, preset: Preset, seed: int) -> ProteinPlan:
    """Every number of a study of a protein; builds the molecule once, to validate it.

    Args:
        options: choices of the user.
        preset: sizes.
        seed: seed of all random numbers.
    """
    molecule, sizes = build_checked(options), SIZES[preset]
    sha256 = files_digest(options)
    atoms = molecule.topology.n_atoms
    md = MdOptions(
        **vars(options.given),
        temperature=options.temperature,
        energies=options.energies,
        starts=options.starts,
        chains=sizes["chains"],
        ns=sizes["ns"],
        timestep_fs=2.0,
        hydrogen_mass=HYDROGEN_MASS,
    )
    chains = {
        "dynamics": langevin_plan(md, seed=seed, atoms=atoms, sha256=sha256),
        "whiten": True,
        "watched": 1 / 8,
        "aside": 1 / 4,
        "within": options.within,
        "atoms": atoms,
        "sha256": sha256,
    }
    data = _data(options, molecule, preset, chains)
    return Plan(
        study=NAME,
        preset=preset,
        seed=seed,
        options=options,
        data=data,
        flow=_flow(options.network, data),
        stages=_stages(options, preset, data),
        sampling=SamplingPlan(n=sizes["n"], batch=500),
        annealing=_annealing(options.anneal, preset),
    )


def _data(
    options: ProteinOptions, molecule: Molecule, preset: Preset, chains: dict[str, Any]
) -> SlicePlan | MixedPlan:
    """Chains of all atoms alone, or ladders on the slice after them."""
    topology = molecule.topology
    if options.coordinates == "mixed":
        components = 3 * len(mixed_atoms(topology)) - 6
        return MixedPlan(variables=3 * topology.n_atoms - 6, components=components, **chains)
    zmatrix = build_zmatrix(topology, molecule.positions, closing=disulfides(topology))
    which = SETS[options.coordinates]
    d = len(kept_coordinates(topology, zmatrix, rotor_candidates(topology, zmatrix), which).index)
    return SlicePlan(
        variables=d,
        coordinates=which,
        ladder=HmcLadder(
            taus=temperatures(options.hottest / options.temperature, d),
            n_ladders=16,
            n_rounds=SIZES[preset]["rounds"],
            n_burn_in=SIZES[preset]["burn_in"],
            block=100,
            stride=2,
        ),
        **chains,
    )


def _stages(
    options: ProteinOptions, preset: Preset, data: SlicePlan | MixedPlan
) -> tuple[Stage, ...]:
    if isinstance(data, MixedPlan):
        steps = MIXED_STEPS[preset]
        return mixed_stages(
            options.losses,
            steps=steps,
            variables=data.variables,
            on_line=options.network == "realnvp",
        )
    return make_stages(
        options.losses,
        steps=SIZES[preset]["steps"],
        batch=BATCH[options.network],
        of_target=options.learnt == "slice",
    )


def temperatures(highest: float, d: int) -> tuple[float, ...]:
    """Relative temperatures from 1 to ``highest``, close enough that neighbours of d variables swap."""
    n = 1 + max(1, math.ceil(math.log(highest) * math.sqrt(d / 2) / SPACING))
    return tuple(float(tau) for tau in np.geomspace(1.0, highest, n))


def _flow(
    network: NetworkChoice, data: SlicePlan | MixedPlan
) -> SplineFlowConfig | SplitFlowConfig | RealNVPConfig:
    if network == "realnvp":
        return RealNVPConfig()
    return MIXED_FLOW if isinstance(data, MixedPlan) else flow_settings(network)


def flow_settings(network: NetworkChoice) -> SplineFlowConfig | SplitFlowConfig:
    """Sizes of the flow with these networks."""
    if network == "mlp":
        return SplineFlowConfig(
            n_blocks=4, n_circular_blocks=2, conditioner=MLP(hidden=(128, 128)), floor=1e-2
        )
    attention = GatedAttention(width=64, dropout=0.0)
    return SplitFlowConfig(n_backbone_couplings=10, n_joint_couplings=4, conditioner=attention)


def _annealing(n: int, preset: Preset) -> Annealing | None:
    if not n:
        return None
    batch = min(n, 250)
    levels = {"quick": 30, "full": 60}[preset]
    return Annealing(
        n_particles=-(-n // batch) * batch, batch=batch, n_levels=levels, n_leapfrog=8, n_jumps=3
    )


def minutes(plan: ProteinPlan) -> float:
    """Order of magnitude with one core, from figures measured on chignolin, compilation included."""
    ratio = (plan.data.atoms / ATOMS) ** 1.65
    seconds = 90.0 + ratio * plan.data.evaluations / 5000
    slow = 40.0 if isinstance(plan.flow, SplitFlowConfig) else 1.0
    for stage in plan.stages:
        energies = sum(term.energies(stage.batch_size) for term in stage.losses)
        seconds += 30.0 + stage.steps * (slow * stage.batch_size / 13_000 + ratio * energies / 4000)
    seconds += plan.sampling.n * (slow / 14_000 + ratio / 9000)
    if plan.annealing is not None:
        seconds += 40.0 + plan.annealing.evaluations * (ratio / 4500 + slow / 10_000)
    return round(seconds / 60, 1)
