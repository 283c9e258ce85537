"""The problem of a protein: the Boltzmann density on the slice of its reduced coordinates, and a flow on these."""

import dataclasses
from collections.abc import Collection

import jax
import numpy as np

from jbg import flows
from jbg.coords import ReducedCoordinates, backbone_atoms
from jbg.flows import SplineFlowConfig, SplitFlowConfig
from jbg.flows.conditioners import Tokens
from jbg.generator import Generator
from jbg.interfaces import ConfigError, Target, Topology
from jbg.runs import Run
from jbg.simulation.torsion_jumps import torsion_jumps
from jbg.studies.dataset import ASIDE, LEARN, WATCH, Dataset, load_dataset
from jbg.studies.molecule.energies import ENERGIES
from jbg.studies.molecule.problem import flow_of as spline_flow_of
from jbg.studies.molecule.problem import system_of
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.problem import Examples, Problem, Simulated, to_v
from jbg.studies.protein.files import DYNAMICS
from jbg.studies.protein.physics import inside_of, near_start
from jbg.studies.protein.plan import ProteinPlan
from jbg.studies.protein.source import load_coordinates
from jbg.targets import make_target

MIN_TRAIN = 100  # frames


def load_problem(plan: ProteinPlan, run: Run) -> Problem:
    """The problem, from what the source left in a run folder.

    Frames set aside for estimates are those of the slice, whatever the flow learns from: samples with weights have
    to agree with them.

    Raises:
        ConfigError: too few frames near the structure given.
    """
    molecule, options = load_molecule(run), plan.options
    potential = ENERGIES[options.energies].potential(run, molecule.system_xml, molecule.positions)
    system = system_of(molecule, potential)
    target = make_target(system, options.temperature)
    native = near_start(molecule, plan.data.within)
    region = (lambda x: np.ones(len(x), bool)) if native is None else inside_of(native)
    settings = plan.flow if isinstance(plan.flow, SplitFlowConfig) else plan.spline_flow
    coords, data = load_coordinates(run, molecule, options.learnt), load_dataset(run)
    inside = region(data.x)
    aside = data.role == ASIDE
    rows = np.flatnonzero(aside)[data.where(aside).by_chain()]
    simulated = Simulated(data.x[rows], inside[rows])
    reference = float(np.median(data.u))
    known = data
    if options.learnt == "dynamics":
        known = rebuilt_dynamics(run, coords, target, roles=(LEARN, WATCH))
        inside = region(known.x) & np.isfinite(known.u)
    learn, watch = (inside & (known.role == role) for role in (LEARN, WATCH))
    (train, log_det), (held, _) = (to_v(coords.bijector, known.x[r]) for r in (learn, watch))
    if len(train) < MIN_TRAIN or not len(held):
        where = f" within {plan.data.within:g} nm of the structure given" if native else ""
        way_out = "choose a larger --within, or --preset full" if native else "choose --preset full"
        raise ConfigError(
            f"{run.path}: {len(train)} of {len(known.x)} frames are there to learn from{where}, need {MIN_TRAIN}: "
            f"{way_out}"
        )
    return Problem(
        # near its native structure a protein has no pair of states to compare
        system=dataclasses.replace(system, states=()),
        target=target,
        flow=flow_of(coords, molecule.topology, settings),
        coords=coords.bijector,
        examples=Examples(
            train=train,
            heldout=held[np.random.default_rng(0).permutation(len(held))[: most_heldout(plan)]],
            u=known.u[learn] + log_det,
        ),
        u_reference=reference,
        batch=plan.sampling.batch,
        simulated=simulated,
        region=None if native is None else region,
        jump=torsion_jumps(coords.fit),
        backbone=np.array(sorted(backbone_atoms(molecule.topology)), np.int32),
    )


def most_heldout(plan: ProteinPlan) -> int:
    """Frames that training is watched by; attention needs milliseconds for each."""
    return 1024 if isinstance(plan.flow, SplitFlowConfig) else 4096


def rebuilt_dynamics(
    run: Run,
    coords: ReducedCoordinates,
    target: Target,
    *,
    roles: Collection[int],
) -> Dataset:
    """The frames of the dynamics with the fixed coordinates at their means, and the energies these have.

    Args:
        run: with them.
        coords: reduced coordinates.
        target: of positions.
        roles: of the chains that are wanted.
    """
    kept = run.load_arrays(DYNAMICS)
    chains = np.flatnonzero(np.isin(kept["role"], list(roles)))
    (_, n_frames, dim), wanted = kept["x"].shape, kept["x"][chains]
    x = coords.rebuild(wanted.reshape(-1, dim // 3, 3)).reshape(-1, dim).astype(np.float32)
    u = energies_of(target, x)
    chain = np.repeat(chains, n_frames)
    return Dataset(
        x=x,
        chain=chain,
        tau=np.ones(len(x)),
        role=kept["role"][chain],
        u=u,
        walker=np.full(len(x), -1),
        weight=np.ones(len(x)),
    )


def energies_of(target: Target, x: np.ndarray, batch: int = 256) -> np.ndarray:
    """Reduced energies ``(n,)`` of configurations ``(n, dim)``, batch by batch."""
    compiled = jax.jit(target.reduced_energy)
    n = len(x)
    pieces = (np.resize(x[i : i + batch], (batch, x.shape[1])) for i in range(0, n, batch))
    return np.concatenate([np.asarray(compiled(piece.T)) for piece in pieces])[:n].astype(float)


def tokens_of(coords: ReducedCoordinates, topology: Topology) -> Tokens:
    """What the variables are to a network: place along the chain, class of residue, kind of coordinate."""
    names = dict(zip(topology.residue_ids, topology.residue_names, strict=True))
    classes = {name: i for i, name in enumerate(sorted(set(names.values())))}
    circular, linear = coords.backbone
    return Tokens(
        place=coords.place.astype(np.int32),
        residue=np.array([classes[names[int(r)]] for r in coords.fit.residue], np.int32),
        kind=np.asarray(coords.fit.kind, np.int32),
        n_circular=coords.n_circular,
        n_backbone_circular=circular,
        n_backbone_linear=linear,
    )


def flow_of(
    coords: ReducedCoordinates, topology: Topology, settings: SplineFlowConfig | SplitFlowConfig
) -> Generator:
    """The flow of a plan on the reduced coordinates."""
    if isinstance(settings, SplitFlowConfig):
        tokens = tokens_of(coords, topology)
        base = flows.split_base(tokens, settings)
        return Generator(base=base, bijector=flows.split_flow(tokens, settings))
    return spline_flow_of(coords, settings)
