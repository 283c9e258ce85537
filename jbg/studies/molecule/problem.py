"""The problem of a molecule: the Boltzmann density in the domain of its coordinates, a spline flow on these."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from jbg import flows
from jbg.coords import CoordinateFit, coordinates_from_fit
from jbg.flows import SplineFlowConfig
from jbg.generator import Generator
from jbg.interfaces import ConfigError, System
from jbg.runs import Run
from jbg.simulation.replica_exchange_config import heavy_hydrogen_masses
from jbg.studies.balance import copies_for
from jbg.studies.dataset import ASIDE, FRAMES, LEARN, REPAIR, WATCH, Dataset, load_dataset
from jbg.studies.molecule.data_plan import HarmonicPlan
from jbg.studies.molecule.energies import ENERGIES
from jbg.studies.molecule.files import COORDINATES, DOMAIN
from jbg.studies.molecule.plan import MolecularPlan
from jbg.studies.molecule.states import states
from jbg.studies.molecule.stored import Built, load_molecule
from jbg.studies.molecule.target_check import mismatch
from jbg.studies.molecule.weighted_rows import resampled, taken
from jbg.studies.problem import Examples, Problem, Simulated, to_v
from jbg.targets import make_target
from jbg.units import K_B

MIN_TRAIN = 100  # frames
MAX_HELDOUT = 4096  # frames that training is watched by, about


def load_problem(plan: MolecularPlan, run: Run) -> Problem:
    """The problem, from what the source left in a run folder.

    Raises:
        ConfigError: files that do not fit each other, or too few frames in the domain.
    """
    molecule, options = load_molecule(run), plan.options
    potential = ENERGIES[options.energies].potential(run, molecule.system_xml, molecule.positions)
    system = system_of(molecule, potential)
    fit = CoordinateFit(**run.load_arrays(COORDINATES))
    coords = coordinates_from_fit(molecule.topology, fit)
    data, domain = load_dataset(run), run.load_arrays(DOMAIN)
    inside = _checked(run, data, domain["inside"])
    learn, watch = (np.flatnonzero(inside & (data.role == role)) for role in (LEARN, WATCH))
    simulated, more, copies_of = not isinstance(plan.data, HarmonicPlan), None, None
    ensemble = _by_weight(run, data, learn, "balance")
    if not isinstance(plan.data, HarmonicPlan) and plan.data.balance:
        copies_of = copies_for(system.states, data.x[ensemble], plan.data.balance)
    if data.weighted:
        chosen = taken(data.weight[learn], data.x[learn], copies_of, run.seed_for("by weight"))
        learn, more = learn[chosen.rows], chosen.copies
        watch = _by_weight(run, data, watch, "watch by weight")
    (train, log_det), (held, _) = (to_v(coords.bijector, data.x[rows]) for rows in (learn, watch))
    thinned = slice(None, None, max(1, len(held) // MAX_HELDOUT))
    if len(train) < MIN_TRAIN or (simulated and not len(held)):
        way_out = "simulate longer" if simulated else "use simulated data"
        raise ConfigError(
            f"{run.path}: {len(train)} of {len(inside)} frames are in the coordinates' domain and not set aside "
            f"for estimates, need {MIN_TRAIN} to learn from: {way_out}"
        )
    return Problem(
        system=system,
        target=make_target(system, options.temperature),
        flow=flow_of(coords, plan.spline_flow),
        coords=coords.bijector,
        examples=Examples(
            train=train,
            heldout=held[thinned],
            u=data.u[learn] + log_det - (0.0 if more is None else np.log(more)),
            copies=_copies(copies_of, data.x[learn], taken_so=more is not None),
            heldout_copies=copies_of and copies_of(data.x[watch])[thinned],
        ),
        u_reference=float(np.median(data.u)),
        batch=plan.sampling.batch,
        # frames of another target say nothing of this one
        simulated=None if mismatch(run) else _set_aside(data, inside, int(domain.get("frames", 0))),
        copies_of=copies_of,
        torsion_groups=(coords.torsion_pairs, coords.torsion_links),
        thermal_speed=_thermal_speed(molecule.masses, options.temperature),
    )


def _by_weight(run: Run, data: Dataset, rows: np.ndarray, stream: str) -> np.ndarray:
    """Rows of the ensemble: those given, resampled where the data are of a biased simulation."""
    if not (data.weighted and len(rows)):
        return rows
    return rows[resampled(data.weight[rows], len(rows), run.seed_for(stream))]


def _copies(
    copies_of: Callable[[np.ndarray], np.ndarray] | None, x: np.ndarray, *, taken_so: bool
) -> np.ndarray | None:
    """How often training takes each row; once where rows are there as often already."""
    if copies_of is None:
        return None
    return np.ones(len(x), int) if taken_so else copies_of(x)


def _thermal_speed(masses: np.ndarray, temperature: float) -> np.ndarray:
    """Of each coordinate, nm/ps, with the hydrogens as heavy as in simulations."""
    return np.repeat(np.sqrt(K_B * temperature / heavy_hydrogen_masses(masses)), 3)


def system_of(molecule: Built, potential: Callable[[Any], Any]) -> System:
    """The molecule with its potential, flat x in nm -> kJ/mol, and the states of its torsions."""
    return System(
        name=molecule.name,
        dim=molecule.positions.size,
        potential=potential,
        energy_unit="kJ/mol",
        start=molecule.positions.reshape(1, -1),
        states=states(molecule.topology),
        topology=molecule.topology,
    )


class Counted(Protocol):
    """Coordinates, the circular ones first."""

    @property
    def n_circular(self) -> int: ...

    @property
    def n_linear(self) -> int: ...


def flow_of(coords: Counted, settings: SplineFlowConfig) -> Generator:
    """A spline flow of the coordinates: circular ones from the uniform distribution, the others from the
    normal."""
    n = coords.n_circular, coords.n_linear
    base = flows.product(flows.uniform(n[0]), flows.normal(n[1]))
    return Generator(base=base, bijector=flows.spline_flow(*n, settings))


def _checked(run: Run, data: Dataset, inside: np.ndarray) -> np.ndarray:
    if len(inside) != len(data.x):
        raise ConfigError(
            f"{run.path / FRAMES} is damaged ({len(inside)} of {len(data.x)} frames in the domain): {REPAIR}"
        )
    return inside


def _set_aside(data: Dataset, inside: np.ndarray, remembered: int) -> Simulated | None:
    """The frames that estimates are made from, ladder by ladder, without the first of each, which remember the
    start."""
    aside = data.role == ASIDE
    if not aside.any():
        return None
    rows = np.flatnonzero(aside)[data.where(aside).by_chain()][:, remembered:]
    return Simulated(data.x[rows], inside[rows])
