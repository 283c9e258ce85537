"""The stage between sampling and estimates: chains that correct what the weights of a flow cannot.

Chosen by numbers of the run itself, or by the user: nothing where importance sampling carries, else chains of the
target with flow moves, else a ladder between flow and target. The chains are written block by block, and go on at
the last one after a kill.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbg import reweighting
from jbg.analysis.chain_checks import accepted_share
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.sampling.flow_moves import FlowMoves, MovedChains, make_flow_moves, start_chains
from jbg.studies.correction_plan import CorrectionPlan
from jbg.studies.evidence import Evidence
from jbg.studies.gap import gap_of

FOLDER = "corrected"
CHOICE, CHAINS = f"{FOLDER}/choice.json", f"{FOLDER}/chains.npz"

MAX_GAP = 2.0  # nats, up to which importance sampling carries
MIN_KISH = 200.0  # effective samples in a state, of reweighting
MIN_ACCEPTED = 0.02  # of fresh samples in place of frames, for flow moves


class Choice(NamedTuple):
    """What is done, and why."""

    corrector: str
    reason: str
    gap: float | None = None
    least_kish: float | None = None
    accepted: float | None = None


class Corrected(NamedTuple):
    """Frames of the chains ``(chains, frames, dim)`` with u and ln q ``(chains, frames)``, the number of fresh
    samples that arrived, the accepted shares of swaps, the mean acceptance of trajectories, and which chains
    started from simulated frames ``(chains,)`` bool."""

    corrector: str
    x: np.ndarray
    u: np.ndarray
    log_q: np.ndarray
    arrivals: int
    swaps: tuple[float, ...]
    acceptance: float
    from_frames: np.ndarray


def choose(evidence: Evidence, asked: str, gap: float | None) -> Choice:
    """What corrects the samples of a run.

    Importance sampling carries where the gap is MAX_GAP at most and reweighting has MIN_KISH effective samples in
    every state. Else flow moves are accepted often enough where MIN_ACCEPTED of fresh samples would be taken in
    place of a frame of the simulation.

    Args:
        evidence: of the run.
        asked: what the plan says.
        gap: KL(p|q) in nats, None where nothing was simulated.
    """
    if asked != "auto":
        return Choice(asked, "as asked")
    frames, own = evidence.frames, evidence.own
    if gap is None or frames is None:
        return Choice("none", "no gap to a simulation is known: reweighting alone", gap)
    kish = min(
        (reweighting.effective_samples(own.log_w[own.inside(state)]) for state in evidence.states),
        default=reweighting.effective_samples(own.log_w),
    )
    about = f"gap {gap:.1f} nats, at least {kish:.0f} effective samples in each state"
    if gap <= MAX_GAP and kish >= MIN_KISH:
        return Choice("none", f"importance sampling carries: {about}", gap, kish)
    inside = frames.usable & np.isfinite(frames.log_q)
    known = (-frames.u - frames.log_q)[inside]
    accepted = accepted_share(known, own.log_w, evidence.seed_for("accepted share"))
    return Choice(
        "moves", f"{about}, {accepted:.1%} of fresh samples accepted", gap, kish, accepted
    )


def correct_in(
    run: Run, evidence: Callable[[], Evidence], plan: CorrectionPlan, *, quiet: bool
) -> None:
    """Chooses once, and makes the chains, going on where an earlier call stopped.

    Args:
        run: where to.
        evidence: makes that of the run, with samples; asked for only while there is work.
        plan: of the correction.
        quiet: no progress bar.
    """
    if plan.corrector == "none":
        return
    known = evidence()
    if not run.holds(CHOICE):
        gap = gap_of(known)
        choice = choose(known, plan.corrector, gap["value"] if gap else None)
        run.write_json(CHOICE, choice._asdict())
    if run.read_json(CHOICE)["corrector"] == "moves":
        _move(run, known, plan.moves, quiet=quiet)


def load_choice(run: Run) -> Choice | None:
    """What was chosen; None where nothing was to choose."""
    return Choice(**run.read_json(CHOICE)) if run.holds(CHOICE) else None


def load_corrected(run: Run, plan: CorrectionPlan | None) -> Corrected | None:
    """The chains of a run; None where there are none."""
    choice = load_choice(run)
    if plan is None or choice is None or choice.corrector == "none":
        return None
    settings = plan.moves
    first = settings.n_burn_in // settings.block
    blocks = [run.load_arrays(_block(i)) for i in range(first, settings.n_blocks)]
    joined = {
        name: np.concatenate([block[name] for block in blocks]) for name in ("x", "u", "log_q")
    }
    return Corrected(
        corrector=choice.corrector,
        x=joined["x"].transpose(2, 0, 1),
        u=joined["u"].T.astype(np.float64),
        log_q=joined["log_q"].T.astype(np.float64),
        arrivals=int(sum(block["arrivals"].sum() for block in blocks)),
        swaps=(),
        acceptance=float(np.mean([block["acceptance"].mean() for block in blocks])),
        from_frames=run.load_arrays(CHAINS)["from_frames"],
    )


def _block(i: int) -> str:
    return f"{FOLDER}/block-{i:04d}.npz"


def _starts(evidence: Evidence, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Where n chains start ``(n, dim)``, and which of them do from simulated frames ``(n,)`` bool.

    Half of them, where there are any: two groups that disagree until both have forgotten their starts. The others
    are generated samples, resampled by weight.
    """
    rng = np.random.default_rng(evidence.seed_for("starts of corrected chains"))
    own, frames = evidence.own, evidence.frames
    n_frames = 0 if frames is None else n // 2
    p = reweighting.relative_weights(own.log_w)
    rows = rng.choice(len(p), n - n_frames, p=p / p.sum())
    x = [np.asarray(own.samples.positions[np.sort(rows)], np.float32)]
    if frames is not None:
        good = frames.x[frames.usable & np.isfinite(frames.log_q) & np.isfinite(frames.u)]
        x.append(good[rng.permutation(len(good))[:n_frames]].astype(np.float32))
    return np.concatenate(x), np.arange(n) >= n - n_frames


def _move(run: Run, evidence: Evidence, settings: FlowMoves, *, quiet: bool) -> None:
    problem, params = evidence.problem, (evidence.params, ())
    speed = 1.0 if problem.thermal_speed is None else problem.thermal_speed
    advance = make_flow_moves(problem.generator, problem.target, settings, speed=speed)
    if run.holds(CHAINS):
        kept = run.load_arrays(CHAINS)
        from_frames, done = kept.pop("from_frames"), int(kept.pop("block"))
        chains = MovedChains(**kept)
    else:
        x, from_frames = _starts(evidence, settings.n_chains)
        chains, done = start_chains(problem.generator, params, problem.target, x.T, settings), 0
    n_rounds, key = settings.block * settings.n_blocks, run.key("flow moves")
    with progress(run, "correct", total=n_rounds, quiet=quiet) as bar:
        bar.resume(done * settings.block)
        for block in range(done, settings.n_blocks):
            chains, frames = jax.device_get(advance(params, chains, key, jnp.int32(block)))
            run.save_arrays(_block(block), **frames._asdict())
            run.save_arrays(CHAINS, block=block + 1, from_frames=from_frames, **chains._asdict())
            arrived = frames.arrivals.mean() / settings.block
            bar.update(
                (block + 1) * settings.block,
                accepted=float(frames.acceptance.mean()),
                fresh=arrived,
            )
