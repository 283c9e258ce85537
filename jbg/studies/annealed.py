"""Annealing from the flow of a run to its target: after sampling, in blocks that survive a kill.

Forward from the flow gives weights for the target; backward from frames that training did not see gives ln Z from
the other side, so that a part of the target that no particle finds shows as a gap.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jbg.analysis import free_energy_difference
from jbg.analysis.annealed_weights import annealed_weights, two_sided
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.sampling.annealing import anneal, anneal_back, annealed_positions
from jbg.sampling.annealing_pilot import find_steps
from jbg.sampling.annealing_program import Annealer, make_annealer
from jbg.sampling.annealing_settings import Annealing
from jbg.studies.difference import SPREAD, Difference, relation
from jbg.studies.evidence import Evidence
from jbg.studies.problem import Problem
from jbg.studies.study import Finding

FOLDER, WEIGHTS = "annealed", "annealed/weights.npz"
ANNEALED = "annealed"
BACK = 8  # at most one frame annealed back for so many particles
GROUPS = 4  # independent groups of blocks, whose ln Z are compared


class Weights(NamedTuple):
    """ln W of the particles, -inf of those that ended outside of the target, the block of each ``(n,)``, and ln W
    of frames annealed back ``(chains, frames)``."""

    log_w: np.ndarray
    block: np.ndarray
    log_w_back: np.ndarray


def annealer_of(problem: Problem, settings: Annealing) -> Annealer:
    """From the flow of a problem to its target, as if it were not restricted, nor symmetric."""
    return make_annealer(
        problem.flow,
        problem.target,
        _possible(problem, settings),
        coords=problem.coords,
        reference=problem.u_reference,
        jump=problem.jump,
    )


def _possible(problem: Problem, settings: Annealing) -> Annealing:
    """The settings, without jumps where there is nothing to jump."""
    return settings if problem.jump is not None else dataclasses.replace(settings, n_jumps=0)


def anneal_in(run: Run, evidence: Evidence, settings: Annealing, *, quiet: bool) -> None:
    """Anneals particles to the target and frames back, resuming at the last block.

    Args:
        run: where to.
        evidence: that of the run, with the trained flow and frames set aside.
        settings: of the annealing.
        quiet: no progress bar.
    """
    if run.holds(WEIGHTS):
        return
    problem, folder = evidence.problem, run.path / FOLDER
    params, annealer = evidence.params, annealer_of(problem, settings)
    with progress(run, "anneal", total=settings.n_particles, quiet=quiet) as bar:
        bar.resume(0)
        steps = find_steps(run.key("annealing steps"), params, annealer, folder=folder)
        found = anneal(
            run.key("annealing"), params, annealer, steps, folder=folder, on_block=bar.update
        )
    # the path goes on beyond the region of the target, which enters with its last weight
    log_w = found.log_w
    if problem.restriction is not None:
        log_w = np.where(problem.restriction(found.x), log_w, -np.inf)
    frames, log_w_back = _frames_back(evidence, settings), np.zeros((0, 0))
    if frames is not None:
        with progress(None, "anneal back", total=0, quiet=quiet):
            back = anneal_back(
                run.key("annealing back"), params, annealer, steps, frames, folder=folder
            )
        log_w_back = back.log_w
    run.save_arrays(WEIGHTS, **Weights(log_w, found.block, log_w_back)._asdict())


def _frames_back(evidence: Evidence, settings: Annealing) -> np.ndarray | None:
    """Usable frames set aside, as many of each chain, evenly in time ``(chains, frames, dim)``; None without."""
    frames = evidence.frames
    if frames is None:
        return None
    chains = [x[good] for x, good in zip(frames.x, frames.usable, strict=True)]
    n = min(len(x) for x in chains)
    n = min(n, max(1, settings.n_particles // BACK // len(chains)))
    if not n:
        return None
    return np.stack([x[np.linspace(0, len(x) - 1, n).astype(int)] for x in chains])


def annealing(evidence: Evidence) -> Finding:
    """``annealing``: effective samples of plain and of annealed weights, and ln Z from both sides; nothing where a
    run does not anneal."""
    settings = evidence.plan.annealing
    if settings is None or not evidence.run.holds(WEIGHTS):
        return Finding({}, {})
    settings = _possible(evidence.problem, settings)
    kept, own = Weights(**evidence.run.load_arrays(WEIGHTS)), evidence.own
    spent, n = settings.evaluations, min(GROUPS, settings.n_blocks)
    annealed = annealed_weights(kept.log_w, kept.block, evaluations=spent, n_groups=n)
    blocks = np.arange(len(own.log_w)) * GROUPS // len(own.log_w)
    plain = annealed_weights(own.log_w, blocks, evaluations=len(own.log_w))
    filled = -(-kept.log_w_back.size // settings.batch) * settings.batch
    numbers: dict[str, Any] = {
        "particles": len(kept.log_w),
        "levels": settings.n_levels,
        "energy_evaluations": spent + filled * settings.evaluations_each,
        "annealed": annealed._asdict(),
        "plain": plain._asdict(),
        "frames_back": list(kept.log_w_back.shape),
    }
    if kept.log_w_back.size:
        sides = two_sided(kept.log_w, kept.log_w_back, seed=evidence.seed_for("annealing sides"))
        numbers["ln_z"] = _plain(sides)
    else:
        numbers["ln_z_reason"] = "no frames set aside"
    return Finding({"annealing": _plain(numbers)}, {"annealed_log_weights": kept.log_w})


def by_annealing(evidence: Evidence, plain: Sequence[Difference]) -> list[Difference]:
    """The differences from the annealed particles, where the run has them and plain reweighting gives none or one
    of a larger error."""
    settings = evidence.plan.annealing
    if settings is None or not plain or not evidence.run.holds(WEIGHTS):
        return list(plain)
    log_w = Weights(**evidence.run.load_arrays(WEIGHTS)).log_w
    x = annealed_positions(evidence.run.path / FOLDER, settings.n_blocks)
    found = []
    for entry in plain:
        inside = (np.asarray(state.contains(x.T), bool) for state in (entry.a, entry.b))
        seed = evidence.seed_for(f"annealed {entry.a.name} {entry.b.name}")
        better = free_energy_difference(log_w, *inside, seed=seed)
        if better.stderr is not None and (entry.stderr is None or better.stderr < entry.stderr):
            method = SPREAD.format(of=" of particles annealed from the flow to the target")
            entry = entry.by(ANNEALED, better, method, relation=relation(entry.a, entry.b))
        elif better.stderr is None and entry.value is None:
            entry = entry.refused(f"{entry.reason}; annealed: {better.reason}")
        found.append(entry)
    return found


def _plain(value: Any) -> Any:
    """NamedTuples and arrays as JSON has them; what is not finite as null."""
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray | tuple | list):
        return [_plain(entry) for entry in np.asarray(value).tolist()]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
