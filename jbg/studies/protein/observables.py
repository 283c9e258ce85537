"""What a protein's study reports beside weights: the slice, rebuilt frames, structures and energies."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbg.studies.dataset import ASIDE, LEARN
from jbg.studies.evidence import Evidence
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.problem import to_v
from jbg.studies.protein.files import DYNAMICS
from jbg.studies.protein.mixing import mixing
from jbg.studies.protein.physics import near_start, target_of
from jbg.studies.protein.problem import energies_of, rebuilt_dynamics
from jbg.studies.protein.rebuild import rebuild_report
from jbg.studies.protein.source import load_coordinates
from jbg.studies.protein.structure import Ensemble, arrays_of, compared, student
from jbg.studies.protein.torsions import torsions
from jbg.studies.study import Finding

SLICE = (
    "Boltzmann density of the kept coordinates, the others fixed (chains on the slice, set aside)"
)
MARGINAL = "frames of the dynamics with the fixed coordinates at their means (chains set aside)"
MOST_REBUILT = 1000


def slice_chains(evidence: Evidence) -> Finding:
    """``slice``: whether the chains have mixed, their energies, and how often they met the edge of the target."""
    run, data, plan = evidence.run, evidence.dataset, evidence.plan
    molecule = load_molecule(run)
    coords = load_coordinates(run, molecule, plan.options.learn)
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
    run, molecule = evidence.run, load_molecule(evidence.run)
    kept = run.load_arrays(DYNAMICS)
    x = kept["x"][kept["role"] != LEARN]
    x = x[:, :: max(1, -(-x.shape[0] * x.shape[1] // MOST_REBUILT))]
    chain = np.repeat(np.arange(len(x)), x.shape[1])
    x = x.reshape(-1, x.shape[-1])
    target = target_of(run, molecule, evidence.plan.options)
    found = rebuild_report(
        load_coordinates(run, molecule, evidence.plan.options.learn),
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
    known, arrays, rows = references(evidence), {}, {}
    for name, reference in known.items():
        seed = evidence.seed_for(f"structure {name}")
        row = compared(generated, reference, topology, molecule.positions, seed=seed)
        learnt = name == evidence.plan.options.learn
        rows[name] = row | {"learnt": learnt, **torsions(generated, reference, topology, seed)}
        if learnt:
            arrays = arrays_of(generated, reference, topology)
    return Finding({"structure": rows | {"nll": heldout_nll(evidence, known)}}, arrays)


def references(evidence: Evidence) -> dict[str, Ensemble]:
    """The two densities in the region of the target, by frames of chains that training has not seen."""
    run, molecule, problem = evidence.run, load_molecule(evidence.run), evidence.problem
    coords = load_coordinates(run, molecule, evidence.plan.options.learn)
    data = evidence.dataset.where(evidence.dataset.role == ASIDE)
    md = rebuilt_dynamics(run, coords, problem.target, roles=(ASIDE,))
    found = {}
    for name, density, known in (("slice", SLICE, data), ("dynamics", MARGINAL, md)):
        if problem.region is not None:
            known = known.where(problem.region(known.x))
        x = np.asarray(known.x).reshape(len(known.x), -1, 3)
        found[name] = Ensemble(name, density, x, known.u, known.chain)
    return found


def heldout_nll(evidence: Evidence, known: dict[str, Ensemble]) -> dict[str, Any]:
    """Mean -ln q(v) of frames set aside, of either density, with errors over chains, and that of the base alone.

    In the measure of v: whitened or standardised coordinates and angles in radians, exchangeable atoms folded. The
    base is what the coordinates know without a flow.

    Args:
        evidence: with the trained flow.
        known: from `references`.
    """
    run, problem = evidence.run, evidence.problem
    coords = load_coordinates(run, load_molecule(run), evidence.plan.options.learn)
    found: dict[str, Any] = {
        "measure": "v: whitened coordinates and circular angles in radians, exchangeable atoms folded"
    }
    for name, reference in known.items():
        v, _ = to_v(coords.bijector, reference.x.reshape(len(reference.x), -1))
        nll = -_in_pieces(lambda v: problem.flow.log_prob(evidence.params, v), v)
        base = -_in_pieces(problem.flow.base.log_prob, v)
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


def _in_pieces(of: Any, v: np.ndarray, batch: int = 512) -> np.ndarray:
    compiled = jax.jit(of)
    pieces = (np.resize(v[i : i + batch], (batch, v.shape[1])) for i in range(0, len(v), batch))
    return np.concatenate([np.asarray(compiled(jnp.asarray(p.T))) for p in pieces])[: len(v)]


def description(evidence: Evidence) -> Finding:
    """The description of the molecule, and the region that the target is restricted to."""
    molecule = load_molecule(evidence.run)
    native = near_start(molecule, evidence.plan.data.within)
    words = (
        f"The {evidence.plan.data.variables} kept coordinates of {3 * len(molecule.positions) - 6}, the others "
        "fixed at their means: weights lead to this density and not to that of all atoms. Exchangeable atoms are "
        "in one labelling"
    )
    if native is not None:
        words += f"; {native.definition}"
    return Finding({"molecule": molecule.description, "restriction": words + "."}, {})
