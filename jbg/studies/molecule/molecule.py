"""The study of one molecule: first frames, internal coordinates fitted to them, spline flow.

Everything the later stages need of the molecule is kept under ``data/``: they do not read the input file again.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbg import flows
from jbg.coords import (
    CoordinateFit,
    backbone_torsions,
    build_zmatrix,
    coordinates_from_fit,
    fit_coordinates,
)
from jbg.interfaces import ConfigError, State, System, Topology
from jbg.runs import Run
from jbg.sampling.generate import SampleSet
from jbg.simulation.harmonic import harmonic_evaluations
from jbg.simulation.torsion_rotation import rotatable_bonds
from jbg.studies.molecule import chains as molecule_chains
from jbg.studies.molecule import data as molecule_data
from jbg.studies.molecule import observables as molecule_results
from jbg.studies.molecule import reference as molecule_reference
from jbg.studies.molecule import settings as molecule_settings
from jbg.studies.molecule import source as molecule_source
from jbg.studies.molecule.bar import bar_differences
from jbg.studies.molecule.data import FRAMES, exchange_config, is_simulated
from jbg.studies.molecule.source import build, check_force_field, source
from jbg.studies.molecule.stored import (
    MOLECULE,
    description,
    potential_of,
    stored_molecule,
    symmetric_rotors,
    topology_of,
)
from jbg.studies.problem import Problem, Simulated
from jbg.targets import make_target
from jbg.units import beta

DESCRIPTION = (
    "any small molecule from a PDB file, or peptide from its sequence, that a force field knows"
)
COORDINATES, DOMAIN = "data/coordinates.npz", "data/domain.npz"
PER_FRAME = ("energies", "ladder", "heldout", "aside", "walker")  # arrays beside the frames


def make_config(
    *,
    preset: str,
    seed: int,
    pdb: str | Path | None = None,
    sequence: str | None = None,
    temperature: float = 300.0,
    forcefield=None,
    energies: str = "jax",
    data: str = "simulated",
    recipe: str = "own-samples",
) -> dict[str, Any]:
    """Options: pdb or sequence, forcefield (OpenMM files), temperature in K, energies ("jax", "openmm"), data
    ("simulated", "none"), recipe (`energy_recipes`).

    Builds the molecule once, to refuse early.
    """
    molecule_settings.check_temperature(temperature)
    molecule_settings.check_data(data, recipe)
    options, molecule = source(pdb, sequence, forcefield)
    check_force_field(energies, molecule)
    options |= {
        "temperature": float(temperature),
        "energies": energies,
        "data": data,
        "recipe": recipe,
    }
    return molecule_settings.config("molecule", preset, seed, options, molecule.topology.n_atoms)


def cost(config: dict[str, Any]) -> dict[str, Any]:
    """Energies of the data, and rough minutes."""
    if is_simulated(config):
        spent = exchange_config(config).energy_evaluations
    else:
        spent = harmonic_evaluations(config["simulation"]["n_frames"])
        spent += molecule_chains.chain_evaluations(config)
    minutes = molecule_settings.rough_minutes(config)
    return {"energy_evaluations_simulate": spent, "minutes": minutes}


def describe(config: dict[str, Any], run: Run | None = None) -> list[tuple[str, str]]:
    """(what, which): the molecule, as it is said before a run; of one that goes on, what it began with."""
    if run is not None and (run.path / MOLECULE).exists():
        return molecule_source.rows(description(run) or {})
    return molecule_source.describe(config["options"])


def simulate(run: Run, *, quiet: bool, build=build) -> None:
    """The first frames, and the coordinates fitted to them."""
    stored = stored_molecule(run, build)
    topology = topology_of(stored)
    zmatrix, bonds = build_zmatrix(topology, stored["positions"]), rotatable_bonds(topology)
    if not (run.path / FRAMES).exists():
        if is_simulated(run.config):
            torsions = molecule_reference.torsion_sides(topology, bonds)
            molecule_data.simulate(run, stored, bonds, torsions, quiet=quiet)
        else:
            molecule_data.suggest(run, stored, zmatrix, bonds, potential_of(run, stored))
    data = run.load_arrays(FRAMES)
    rotors = symmetric_rotors(stored, zmatrix)
    simulated = is_simulated(run.config)
    fit = fit_coordinates(
        zmatrix,
        data["frames"],
        rotors=rotors,
        ladder=data["ladder"] if simulated else None,
        fitted=~data["heldout"],
        soft_bonds=_backbone_bonds(topology, bonds) if simulated else (),
    )
    inside = coordinates_from_fit(topology, fit).in_domain(data["frames"])
    memory = molecule_reference.memory(topology, data, inside) if simulated else None
    run.save_arrays(DOMAIN, inside=inside, **(memory._asdict() if memory else {}))
    run.save_arrays(COORDINATES, **fit._asdict())
    if run.config["simulation"].get("chains"):
        molecule_chains.simulate(run, stored, inside, potential_of(run, stored))


def _backbone_bonds(topology: Topology, bonds) -> set[frozenset[int]]:
    """The bonds that the phi and psi of a peptide turn about; a proline's phi is in a ring."""
    named = backbone_torsions(topology)
    axes = {frozenset(quad[1:3].tolist()) for name in ("phi", "psi") for quad in named[name]}
    return axes & {frozenset(bond.axis) for bond in bonds}


def load(run: Run) -> Problem:
    stored = run.load_arrays(MOLECULE)
    topology = topology_of(stored)
    coords = coordinates_from_fit(topology, CoordinateFit(**run.load_arrays(COORDINATES)))
    data, config = run.load_arrays(FRAMES), run.config
    system = System(
        name=str(stored["name"]),
        dim=3 * topology.n_atoms,
        potential=potential_of(run, stored),
        energy_unit="kJ/mol",
        start=stored["positions"].reshape(1, -1),
        states=molecule_results.states(topology),
        topology=topology,
    )
    domain = run.load_arrays(DOMAIN)
    inside = domain["inside"]
    _check_frames(run, data, inside)
    heldout, aside = data["heldout"], data.get("aside", np.zeros(len(inside), bool))
    (train, log_det), (held, _) = (
        _to_v(coords, data["frames"][inside & rows]) for rows in (~heldout, heldout & ~aside)
    )
    if len(train) < 100 or (len(held) < 1 and is_simulated(config)):
        raise ConfigError(
            f"{run.path}: only {len(train)} of {len(inside)} frames lie in the coordinates' domain: "
            + ("simulate longer" if is_simulated(config) else "use simulated data")
        )
    temperature, chains = config["options"]["temperature"], molecule_chains.load(run)
    u = beta(temperature) * data["energies"]
    flow = config["flow"]
    return Problem(
        system=system,
        target=make_target(system, temperature),
        base=flows.product(flows.uniform(coords.n_circular), flows.normal(coords.n_linear)),
        flow=flows.spline_flow(
            coords.n_circular,
            coords.n_linear,
            flows.spline_flow_config(flow),
        ),
        coords=coords.bijector,
        train=train,
        heldout=held[:: max(1, len(held) // 4096)],
        train_u=u[inside & ~heldout] + log_det,
        u_reference=float(np.median(u)),
        batch=run.config["sampling"]["batch"],
        simulation_evaluations=int(data["evaluations"]) + (chains.evaluations if chains else 0),
        chains=chains,
        differences=bar_differences if is_simulated(config) else None,
        simulated=_set_aside(data, aside, domain),
    )


def _check_frames(run: Run, data: dict[str, np.ndarray], inside: np.ndarray) -> None:
    """Refuses frames that do not fit each other or are no numbers, as of a damaged file."""
    n = len(data["frames"])
    wrong = [name for name in PER_FRAME if name in data and len(data[name]) != n]
    if wrong or len(inside) != n or not np.isfinite(data["frames"]).all():
        what = f"{', '.join(wrong)} for {n} frames" if wrong else "positions that are not finite"
        what = f"{len(inside)} of {n} frames in the domain" if len(inside) != n else what
        raise ConfigError(
            f"{run.path / FRAMES} is damaged ({what}): choose another --out and simulate again"
        )


def _set_aside(
    data: dict[str, np.ndarray], aside: np.ndarray, domain: dict[str, np.ndarray]
) -> Simulated | None:
    """The frames that estimates are made from, ladder by ladder, without those that remember the start."""
    if not aside.any():
        return None
    inside = domain["inside"]
    n_ladders = len(np.unique(data["ladder"][aside]))
    first = int(domain.get("frames", 0))
    by_ladder = lambda values: values[aside].reshape(-1, n_ladders, *values.shape[1:])[first:]
    x = by_ladder(data["frames"].reshape(len(inside), -1))
    return Simulated(x.swapaxes(0, 1), by_ladder(inside).T)


def _to_v(coords, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames ``(n, atoms, 3)`` in the flow's coordinates ``(n, dim)``, and ln|det dv/dx| ``(n,)``."""
    inverse = jax.jit(lambda x: coords.bijector.inverse((), x))
    flat = frames.reshape(-1, coords.bijector.dim_out)
    if not len(flat):
        return np.zeros((0, coords.bijector.dim_in), np.float32), np.zeros(0, np.float32)
    pieces = np.array_split(flat, max(1, len(flat) // 4096))
    parts = [jax.device_get(inverse(jnp.asarray(piece.T, jnp.float32))) for piece in pieces]
    return np.concatenate([v.T for v, _ in parts]), np.concatenate(
        [log_det for _, log_det in parts]
    )


def reference_difference(
    run: Run, problem: Problem, a: State, b: State, tau: float
) -> dict[str, Any]:
    """F(b) - F(a) of the replica exchange in the domain, error from its independent ladders."""
    del tau  # sampled at its own temperature only
    topology = problem.system.topology
    if not is_simulated(run.config):
        return {
            "reference": None,
            "reference_stderr": None,
            "reference_reason": "none was simulated",
            "reference_expected": False,
        }
    return molecule_reference.reference_difference(
        topology,
        run.load_arrays(FRAMES),
        run.load_arrays(DOMAIN)["inside"],
        a,
        b,
        seed=run.seed_for("reference"),
    )


def evaluate(
    run: Run, problem: Problem, samples: SampleSet, log_w: np.ndarray
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Ramachandran maps, profiles of phi, chirality, and what the target was restricted to."""
    from jbg.systems.implicit_solvent import has_solvent

    fit, reference = CoordinateFit(**run.load_arrays(COORDINATES)), None
    if is_simulated(run.config):
        data, domain = run.load_arrays(FRAMES), run.load_arrays(DOMAIN)
        reference = molecule_results.Reference(
            data["frames"],
            data["ladder"],
            domain["inside"],
            int(domain.get("frames", 0)) * len(np.unique(data["ladder"])),
            str(domain.get("refused", molecule_reference.EARLIER)),
        )
    seed = run.seed_for("profile")
    results, arrays = molecule_results.evaluate(
        problem.system.topology,
        fit,
        samples,
        log_w,
        reference,
        seed,
        given=problem.system.start[0],
    )
    found = description(run)
    if found is not None:
        results["molecule"] = found
    if not has_solvent(str(run.load_arrays(MOLECULE)["system_xml"])):
        results["restriction"] += (
            " The molecule is in vacuum: its force field has no solvent model."
        )
    return results, arrays
