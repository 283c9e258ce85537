"""The stage between sampling and estimates: chains that correct what the weights of a flow cannot.

Chosen by numbers of the run itself, or by the user: nothing where importance sampling carries, else chains of the
target with flow moves, else a ladder between flow and target. The chains are written block by block, and go on at
the last one after a kill.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jbg import reweighting
from jbg.analysis.chain_checks import accepted_share
from jbg.interfaces import RunError
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.studies.correction_plan import CorrectionPlan
from jbg.studies.correctors import Blocks, flow_moves, latent_ladder
from jbg.studies.evidence import Evidence
from jbg.studies.gap import gap_of

FOLDER = "corrected"
CHOICE, CHAINS = f"{FOLDER}/choice.json", f"{FOLDER}/chains.npz"

MAX_GAP = 2.0  # nats, up to which importance sampling carries
MIN_KISH = 200.0  # effective samples in a state, of reweighting
MIN_ACCEPTED = 0.02  # of fresh samples in place of frames, for flow moves

BLOCKS: dict[str, Callable[[Evidence, CorrectionPlan], Blocks]] = {
    "moves": lambda evidence, plan: flow_moves(evidence, plan.moves),
    "ladder": lambda evidence, plan: latent_ladder(evidence, plan.ladder),
}


class Choice(NamedTuple):
    """What is done, and why; ``refused`` says why it could not be done after all."""

    corrector: str
    reason: str
    least_kish: float | None = None
    accepted: float | None = None
    refused: str = ""


class Corrected(NamedTuple):
    """Frames of the chains ``(chains, frames, dim)`` with u and ln q ``(chains, frames)``, the number of fresh
    samples that arrived, the accepted shares of swaps, the mean acceptance of trajectories by rung, and which
    chains started from simulated frames ``(chains,)`` bool."""

    corrector: str
    x: np.ndarray
    u: np.ndarray
    log_q: np.ndarray
    arrivals: int
    swaps: tuple[float, ...]
    acceptance: tuple[float, ...]
    from_frames: np.ndarray


def choose(evidence: Evidence, asked: str) -> Choice:
    """What corrects the samples of a run.

    Importance sampling carries where the gap is MAX_GAP at most and reweighting has MIN_KISH effective samples in
    every state. Else chains take flow moves where MIN_ACCEPTED of fresh samples would be accepted in place of a
    frame of the simulation, and else there are rungs in between.

    Args:
        evidence: of the run.
        asked: what the plan says.
    """
    if asked != "auto":
        return Choice(asked, "as asked")
    gap, frames, own = gap_of(evidence), evidence.frames, evidence.own
    if gap is None or frames is None:
        return Choice("none", "nothing was simulated, so no gap is known: reweighting alone")
    kish = min(
        (reweighting.effective_samples(own.log_w[own.inside(state)]) for state in evidence.states),
        default=reweighting.effective_samples(own.log_w),
    )
    distance = f"a gap of {gap['value']:.1f} nats" if gap["value"] is not None else "no known gap"
    about = f"{distance} and {kish:.0f} effective samples in the least sampled state"
    if gap["value"] is not None and gap["value"] <= MAX_GAP and kish >= MIN_KISH:
        return Choice("none", f"importance sampling carries: {about}", kish)
    inside = frames.usable & np.isfinite(frames.log_q)
    known = (-frames.u - frames.log_q)[inside]
    seed = evidence.seed_for("accepted share")
    accepted = accepted_share(known, own.log_w, seed) if known.size else 0.0
    corrector = "moves" if accepted >= MIN_ACCEPTED else "ladder"
    return Choice(corrector, f"{about}, {accepted:.1%} of fresh samples accepted", kish, accepted)


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
    blocks = BLOCKS[choice.corrector](evidence, plan)
    try:
        _make(run, blocks, quiet=quiet)
    except RunError as error:  # too far from the target for any rungs: said, and nothing is given
        run.write_json(CHOICE, choice._replace(refused=str(error))._asdict())


def _make(run: Run, blocks: Blocks, *, quiet: bool) -> None:
    with progress(run, "correct", total=blocks.rounds * blocks.n_blocks, quiet=quiet) as bar:
        if run.holds(CHAINS):
            state = run.load_arrays(CHAINS)
            done = int(state.pop("block"))
        else:
            state, done = blocks.start(), 0
        bar.resume(done * blocks.rounds)
        for i in range(done, blocks.n_blocks):
            state, found = blocks.advance(state, i)
            if i >= blocks.n_burn_in:
                run.save_arrays(_block(i), **found)
            run.save_arrays(CHAINS, block=i + 1, **state)
            swaps = found["swapped"].sum() / max(found["tried"].sum(), 1)
            shown = {"swaps": float(swaps)} if found["tried"].size else {}
            arrived = float(found["arrivals"].mean() / blocks.rounds)
            accepted = float(found["acceptance"].mean())
            bar.update((i + 1) * blocks.rounds, accepted=accepted, arrivals=arrived, **shown)


def load_choice(run: Run) -> Choice | None:
    """What was chosen; None where nothing was to choose."""
    return Choice(**run.read_json(CHOICE)) if run.holds(CHOICE) else None


def load_corrected(run: Run, plan: CorrectionPlan | None) -> Corrected | None:
    """The chains of a run; None where there are none."""
    choice = load_choice(run)
    if plan is None or choice is None or choice.corrector == "none" or choice.refused:
        return None
    settings = getattr(plan, choice.corrector)
    first = settings.n_burn_in // settings.block
    blocks = [run.load_arrays(_block(i)) for i in range(first, settings.n_blocks)]
    joined = {name: np.concatenate([b[name] for b in blocks]) for name in ("x", "u", "log_q")}
    swapped, tried = (sum(block[name] for block in blocks) for name in ("swapped", "tried"))
    return Corrected(
        corrector=choice.corrector,
        x=joined["x"].transpose(2, 0, 1),
        u=joined["u"].T.astype(np.float64),
        log_q=joined["log_q"].T.astype(np.float64),
        arrivals=int(sum(block["arrivals"].sum() for block in blocks)),
        swaps=tuple((swapped / np.maximum(tried, 1)).tolist()),
        acceptance=_acceptance(choice.corrector, [block["acceptance"] for block in blocks]),
        from_frames=run.load_arrays(CHAINS)["from_frames"],
    )


def _acceptance(corrector: str, of_blocks: list[np.ndarray]) -> tuple[float, ...]:
    """Mean acceptance of trajectories: one number for chains, one for each rung of ladders."""
    mean = np.mean(of_blocks, axis=0)
    return (float(mean.mean()),) if corrector == "moves" else tuple(mean.tolist())


def _block(i: int) -> str:
    return f"{FOLDER}/block-{i:04d}.npz"
