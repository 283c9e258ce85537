"""The problem of a protein in mixed coordinates: the Boltzmann density of all its atoms, and a flow on these."""

import dataclasses
from typing import Any

import numpy as np

from jbg import flows
from jbg.coords import MixedCoordinates, backbone_atoms
from jbg.flows import RealNVPConfig
from jbg.generator import Generator
from jbg.interfaces import ConfigError
from jbg.runs import Run
from jbg.studies.dataset import ASIDE, LEARN, WATCH, load_dataset
from jbg.studies.molecule.energies import ENERGIES
from jbg.studies.molecule.problem import flow_of, system_of
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.problem import Examples, Problem, Simulated, to_v
from jbg.studies.protein.files import SLOW
from jbg.studies.protein.mixed_source import load_mixed
from jbg.studies.protein.physics import inside_of, near_start
from jbg.studies.protein.plan import ProteinPlan
from jbg.studies.protein.problem import MIN_TRAIN
from jbg.studies.protein.slow_motions import SlowPlane, slow_plane
from jbg.targets import make_target

MOST_HELDOUT = 4096  # frames that training is watched by


def load_problem(plan: ProteinPlan, run: Run) -> Problem:
    """The problem, from what the source left in a run folder.

    Raises:
        ConfigError: too few frames near the structure given and in the domain of the coordinates.
    """
    molecule, options = load_molecule(run), plan.options
    potential = ENERGIES[options.energies].potential(run, molecule.system_xml, molecule.positions)
    system = system_of(molecule, potential)
    native = near_start(molecule, plan.data.within)
    region = None if native is None else inside_of(native)
    coords, data = load_mixed(run, molecule), load_dataset(run)
    v, log_det = to_v(coords.bijector, data.x)
    usable = np.isfinite(log_det)
    if region is not None:
        usable &= region(data.x)
    learn, watch = (usable & (data.role == role) for role in (LEARN, WATCH))
    if learn.sum() < MIN_TRAIN or not watch.any():
        raise ConfigError(
            f"{run.path}: {learn.sum()} of {len(usable)} frames are there to learn from, {watch.sum()} to watch, "
            f"need {MIN_TRAIN} and 1: choose a larger --within, or --preset full"
        )
    aside = data.role == ASIDE
    rows = np.flatnonzero(aside)[data.where(aside).by_chain()]
    slow = slow_plane(SlowPlane(**run.load_arrays(SLOW))) if run.holds(SLOW) else None
    held = v[watch][np.random.default_rng(0).permutation(watch.sum())[:MOST_HELDOUT]]
    return Problem(
        # near its native structure a protein has no pair of states to compare
        system=dataclasses.replace(system, states=(), collective_variable=slow),
        target=make_target(system, options.temperature),
        flow=_flow(coords, plan.flow, v[learn]),
        coords=coords.bijector,
        examples=Examples(train=v[learn], heldout=held, u=(data.u + log_det)[learn]),
        u_reference=float(np.median(data.u)),
        batch=plan.sampling.batch,
        simulated=Simulated(data.x[rows], usable[rows]),
        region=region,
        backbone=np.array(sorted(backbone_atoms(molecule.topology)), np.int32),
        n_circular=coords.n_circular,
    )


def _flow(coords: MixedCoordinates, settings: Any, train: np.ndarray) -> Generator:
    """A spline flow, or a RealNVP whose angles are numbers of the spread that the frames ``(n, dim)`` have."""
    if not isinstance(settings, RealNVPConfig):
        return flow_of(coords, settings)
    dim, angles = coords.bijector.dim_in, train[:, : coords.n_circular]
    affine = flows.realnvp(dim, n_blocks=settings.n_blocks, hidden=settings.hidden)
    window = flows.windows(angles.std(0), coords.n_linear)
    return Generator(base=flows.normal(dim), bijector=flows.chain(affine, window))
