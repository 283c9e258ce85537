"""The stage between sampling and estimates: chains that correct what the weights of a flow cannot.

Chosen by numbers of the run itself, or by the user: nothing where importance sampling carries, else chains of the
target with flow moves, else a ladder between flow and target. The chains are written block by block, and go on at
the last one after a kill.
"""

from typing import NamedTuple

import numpy as np

from jbg.analysis import free_energy_difference
from jbg.analysis.chain_checks import accepted_share
from jbg.reweighting import relative_weights
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.sampling.ladder_rungs import UnreachableError
from jbg.studies.chain_files import Corrected, load_chains, make_chains
from jbg.studies.correction_plan import CorrectionPlan
from jbg.studies.correctors import CORRECTORS, MIN_ACCEPTED, Basis
from jbg.studies.evidence import Evidence
from jbg.studies.gap import gap_of

FOLDER = "corrected"
CHOICE = f"{FOLDER}/choice.json"

MAX_GAP = 2.0  # nats, up to which importance sampling carries
MAX_STDERR = 0.1  # kT, of every reweighted difference, likewise


class Choice(NamedTuple):
    """What is done, and why; ``refused`` says why it could not be done after all."""

    corrector: str
    reason: str
    largest_stderr: float | None = None
    accepted: float | None = None
    refused: str = ""


def choose(evidence: Evidence, asked: str) -> Choice:
    """What corrects the samples of a run.

    Importance sampling carries where the gap is MAX_GAP at most and reweighting gives every difference to
    MAX_STDERR. Else chains take flow moves where MIN_ACCEPTED of fresh samples would be accepted in place of a
    frame of the simulation, and else there are rungs in between. Where nothing was simulated no gap is known,
    samples resampled by weight stand for frames, and nothing is done where too few would be accepted.

    Args:
        evidence: of the run.
        asked: what the plan says.
    """
    if asked != "auto":
        return Choice(asked, "as asked")
    gap, frames, own = gap_of(evidence), evidence.frames, evidence.own
    stderr, simulated = _largest_stderr(evidence), gap is not None and frames is not None
    value = gap["value"] if gap is not None and simulated else None
    distance = "no known gap" if value is None else f"a gap of {value:.1f} nats"
    if not simulated:
        distance = "nothing was simulated"
    by = "does not give every difference" if stderr is None else f"has errors up to {stderr:.2f} kT"
    about = f"{distance}, reweighting of {len(own.log_w)} samples {by}"
    close = value is not None and value <= MAX_GAP if simulated else bool(evidence.problem.pairs)
    if close and stderr is not None and stderr <= MAX_STDERR:
        seen = "carries" if simulated else "carries, as far as weights show"
        return Choice("none", f"importance sampling {seen}: {about}", stderr)
    seed = evidence.seed_for("accepted share")
    known = _known_log_w(evidence, seed)
    accepted = accepted_share(known, own.log_w, seed) if known.size else 0.0
    farther = "ladder" if simulated else "none"
    corrector = "moves" if accepted >= MIN_ACCEPTED else farther
    about += f", {accepted:.1%} of fresh samples accepted"
    return Choice(corrector, about, stderr, accepted)


def _known_log_w(evidence: Evidence, seed: int) -> np.ndarray:
    """ln w of equilibrium configurations: of frames of the simulation, or of samples resampled by weight."""
    frames, log_w = evidence.frames, evidence.own.log_w
    if frames is not None:
        inside = frames.usable & np.isfinite(frames.log_q)
        return (-frames.u - frames.log_q)[inside]
    p = relative_weights(log_w)
    return np.random.default_rng(seed).choice(log_w, 10_000, p=p / p.sum())


def _largest_stderr(evidence: Evidence) -> float | None:
    """Of the reweighted differences; None where one is not given."""
    own, errors = evidence.own, []
    for a, b in evidence.problem.pairs:
        seed = evidence.seed_for(f"bootstrap {a.name} {b.name}")
        inside = (own.inside(a), own.inside(b))
        errors.append(free_energy_difference(own.log_w, *inside, seed=seed).stderr)
    known = [error for error in errors if error is not None]
    return max(known, default=0.0) if len(known) == len(errors) else None


def correct_in(run: Run, evidence: Evidence, plan: CorrectionPlan, *, quiet: bool) -> None:
    """Chooses once, and makes the chains, going on where an earlier call stopped.

    Args:
        run: where to.
        evidence: that of the run, with samples.
        plan: of the correction.
        quiet: no progress bar.
    """
    if not run.holds(CHOICE):
        with progress(None, "choose corrector", total=0, quiet=quiet):
            run.write_json(CHOICE, choose(evidence, plan.corrector)._asdict())
    choice = Choice(**run.read_json(CHOICE))
    if choice.corrector == "none" or choice.refused:
        return
    blocks = CORRECTORS[choice.corrector](_basis(run, evidence, choice.corrector), plan)
    try:
        make_chains(run, FOLDER, blocks, "correct", quiet=quiet)
    except UnreachableError as error:  # said, and nothing is given
        run.write_json(CHOICE, choice._replace(refused=str(error))._asdict())


def _basis(run: Run, evidence: Evidence, corrector: str) -> Basis:
    frames, own = evidence.frames, evidence.own
    if frames is not None:
        x, known = frames.x, frames.usable & np.isfinite(frames.log_q) & np.isfinite(frames.u)
    else:  # relaxed conformations: far from equilibrium, and from where the flow may be
        x = evidence.problem.frames
        known = np.isfinite(evidence.log_q(x)) & np.isfinite(evidence.problem.reduced_energies(x))
    good = x[known].astype(np.float32) if known.any() else None
    return Basis(
        problem=evidence.problem,
        params=(evidence.params, ()),
        key=run.key(f"correct by {corrector}"),
        seed=run.seed_for("starts of corrected chains"),
        samples=own.samples.positions,
        log_w=own.log_w,
        frames=good,
    )


def load_choice(run: Run) -> Choice | None:
    """What was chosen; None where nothing was to choose."""
    return Choice(**run.read_json(CHOICE)) if run.holds(CHOICE) else None


def load_corrected(run: Run, plan: CorrectionPlan | None) -> Corrected | None:
    """The chains of a run; None where there are none."""
    choice = load_choice(run)
    if plan is None or choice is None or choice.corrector == "none" or choice.refused:
        return None
    if not run.stage_done("correct"):  # interrupted
        return None
    return load_chains(run, FOLDER, choice.corrector, plan)
