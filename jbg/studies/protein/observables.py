"""What a protein's study reports beside weights: the slice, rebuilt frames, structures and energies."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbg.interfaces import Bijector
from jbg.studies.dataset import ASIDE, LEARN, Dataset
from jbg.studies.evidence import Evidence
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.problem import to_v
from jbg.studies.protein.data_plan import MixedPlan, SlicePlan
from jbg.studies.protein.files import DYNAMICS
from jbg.studies.protein.geometry import geometry_report
from jbg.studies.protein.mixing import mixing
from jbg.studies.protein.physics import near_start, target_of
from jbg.studies.protein.problem import energies_of, rebuilt_dynamics
from jbg.studies.protein.rebuild import rebuild_report
from jbg.studies.protein.rotamers import rotamers
from jbg.studies.protein.source import load_coordinates
from jbg.studies.protein.structure import MOST, Ensemble, arrays_of, compared, student
from jbg.studies.protein.torsions import torsions
from jbg.studies.study import Finding

SLICE = (
    "Boltzmann density of the kept coordinates, the others fixed (chains on the slice, set aside)"
)
MARGINAL = "frames of the dynamics with the fixed coordinates at their means (chains set aside)"
ALL_ATOMS = "Boltzmann density of all atoms (frames of the dynamics, chains set aside)"
MOST_REBUILT = 1000


def slice_chains(evidence: Evidence) -> Finding:
    """``slice``: whether the chains have mixed, their energies, and how often they met the edge of the target."""
    run, data, plan = evidence.run, evidence.dataset, evidence.plan
    if not isinstance(plan.data, SlicePlan):
        return Finding({}, {})
    molecule = load_molecule(run)
    coords = load_coordinates(run, molecule, plan.options.learnt)
    rows = data.by_chain()
    v, _ = to_v(coords.bijector, data.x)
    u = data.u[rows]
    found = mixing(coords, v[rows], u, data.walker[rows])
    native = near_start(molecule, plan.data.within)
    numbers: dict[str, Any] = {
        **found,
        "temperatures": [tau * plan.options.temperature for tau in plan.data.ladder.taus],
        "energy": {"mean": float(u.mean()), "std": float(u.std())},
        "energy_evaluations": plan.data.ladder.evaluations,
        "distinct_starts": run.manifest().get("slice_starts"),
        **run.manifest().get("slice_chains", {}),
    }
    if native is not None:
        numbers["target"] = native.definition
    return Finding({"slice": numbers}, {})


def rebuilt(evidence: Evidence) -> Finding:
    """``rebuild``: what the coordinates keep of frames of chains that they were not fitted to."""
    if not isinstance(evidence.plan.data, SlicePlan):
        return Finding({}, {})
    run, molecule = evidence.run, load_molecule(evidence.run)
    kept = run.load_arrays(DYNAMICS)
    x = kept["x"][kept["role"] != LEARN]
    x = x[:, :: max(1, -(-x.shape[0] * x.shape[1] // MOST_REBUILT))]
    chain = np.repeat(np.arange(len(x)), x.shape[1])
    x = x.reshape(-1, x.shape[-1])
    target = target_of(run, molecule, evidence.plan.options)
    found = rebuild_report(
        load_coordinates(run, molecule, evidence.plan.options.learnt),
        molecule.topology,
        x.reshape(len(x), -1, 3),
        lambda frames: energies_of(target, frames),
        chain=chain,
        temperature=evidence.plan.options.temperature,
    )
    return Finding({"rebuild": found}, {})


def structure(evidence: Evidence) -> Finding:
    """``structure``: the samples against the slice and against rebuilt frames, each row naming its density."""
    molecule = load_molecule(evidence.run)
    topology, own = molecule.topology, evidence.own
    shaped = lambda x: np.asarray(x).reshape(len(x), -1, 3)
    generated = Ensemble(
        "generated",
        "samples of the flow, not weighted",
        shaped(own.samples.positions),
        np.asarray(own.samples.reduced_energy, float),
        np.zeros(len(own.log_w), int),
    )
    known, arrays, rows, lost = references(evidence), {}, {}, rotamers(evidence)
    for name, reference in known.items():
        seed = evidence.seed_for(f"structure {name}")
        row = compared(generated, reference, topology, molecule.positions, seed=seed)
        learnt = name == evidence.plan.options.learnt
        row |= {"learnt": learnt, "lost_rotamers": lost[name]}
        rows[name] = row | torsions(generated, reference, topology, seed)
        if learnt:
            arrays = arrays_of(generated, reference, topology)
    return Finding({"structure": rows | {"nll": heldout_nll(evidence, known)}}, arrays)


def references(evidence: Evidence) -> dict[str, Ensemble]:
    """The densities in the region of the target, by frames of chains that training has not seen: the slice and
    rebuilt frames, or, with mixed coordinates, that of all atoms alone."""
    run, problem, found = evidence.run, evidence.problem, {}
    data = evidence.dataset.where(evidence.dataset.role == ASIDE)
    if isinstance(evidence.plan.data, MixedPlan):
        known = [("dynamics", ALL_ATOMS, relabelled(problem.coords, data))]
    else:
        coords = load_coordinates(run, load_molecule(run), evidence.plan.options.learnt)
        md = rebuilt_dynamics(run, coords, problem.target, roles=(ASIDE,))
        known = [("slice", SLICE, data), ("dynamics", MARGINAL, md)]
    for name, density, frames in known:
        if problem.region is not None:
            frames = frames.where(problem.region(frames.x))
        x = np.asarray(frames.x).reshape(len(frames.x), -1, 3)
        found[name] = Ensemble(name, density, x, frames.u, frames.chain)
    return found


def relabelled(coords: Bijector, data: Dataset) -> Dataset:
    """The frames that lie in the coordinates' domain, exchangeable atoms named as samples name them."""
    v, log_det = to_v(coords, data.x)
    x = in_pieces(lambda v: coords.forward((), v)[0].T, v)
    return data._replace(x=x).where(np.isfinite(log_det))


def heldout_nll(evidence: Evidence, known: dict[str, Ensemble]) -> dict[str, Any]:
    """Mean -ln q(v) of frames set aside, of either density, with errors over chains, and that of the base alone.

    In the measure of v: whitened or standardised coordinates and angles in radians, exchangeable atoms folded. The
    base is what the coordinates know without a flow.

    Args:
        evidence: with the trained flow.
        known: from `references`.
    """
    problem = evidence.problem
    found: dict[str, Any] = {
        "measure": "v: whitened coordinates and circular angles in radians, exchangeable atoms folded"
    }
    for name, reference in known.items():
        v, _ = to_v(problem.coords, reference.x.reshape(len(reference.x), -1))
        nll = -in_pieces(lambda v: problem.flow.log_prob(evidence.params, v), v)
        base = -in_pieces(problem.flow.base.log_prob, v)
        means = [nll[reference.chain == c].mean() for c in np.unique(reference.chain)]
        stderr = float(np.std(means, ddof=1) / np.sqrt(len(means)))
        half = student(len(means)) * stderr
        found[name] = {
            "value": float(np.mean(means)),
            "stderr": stderr,
            "interval95": [float(np.mean(means) - half), float(np.mean(means) + half)],
            "base": float(base.mean()),
            "chains": len(means),
        }
    return found


def in_pieces(of: Any, v: np.ndarray, batch: int = 512) -> np.ndarray:
    """of(v ``(d, n)``) -> ``(n, ...)``, compiled once and applied to the rows of v ``(n, d)``."""
    compiled = jax.jit(of)
    pieces = (np.resize(v[i : i + batch], (batch, v.shape[1])) for i in range(0, len(v), batch))
    return np.concatenate([np.asarray(compiled(jnp.asarray(p.T))) for p in pieces])[: len(v)]


def geometry(evidence: Evidence) -> Finding:
    """``geometry``: how far the samples' bonds, angles and torsions are from those of chains set aside; nothing
    where coordinates are fixed. Samples that are no configuration are left out, those that clash are not."""
    if not isinstance(evidence.plan.data, MixedPlan):
        return Finding({}, {})
    topology, (reference,) = load_molecule(evidence.run).topology, references(evidence).values()
    own, known = evidence.own.samples, reference.thinned(MOST)
    valid = np.flatnonzero(np.isfinite(own.reduced_energy) & np.isfinite(own.log_q))
    few = own.positions[valid[: len(known.x)]].reshape(-1, *known.x.shape[1:])
    if not len(few):
        return Finding({}, {})
    return geometry_report(few, known, topology)


def description(evidence: Evidence) -> Finding:
    """The description of the molecule, and the region that the target is restricted to."""
    molecule = load_molecule(evidence.run)
    native = near_start(molecule, evidence.plan.data.within)
    n, kept = 3 * len(molecule.positions) - 6, evidence.plan.data.variables
    words = "Exchangeable atoms are in one labelling"
    if kept < n:
        words = (
            f"The {kept} kept coordinates of {n}, the others fixed at their means: weights lead to this density "
            f"and not to that of all atoms. {words}"
        )
    if native is not None:
        words += f"; {native.definition}"
    return Finding({"molecule": molecule.description, "restriction": words + "."}, {})
