"""Chains of a corrector in a run folder: made block by block, and read again."""

from typing import NamedTuple

import numpy as np

from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.studies.correction_plan import CorrectionPlan
from jbg.studies.correctors import Blocks

CHAINS = "chains.npz"


def make_chains(run: Run, folder: str, blocks: Blocks, about: str, *, quiet: bool) -> None:
    """Makes the chains block by block, going on at the last one that ``folder`` holds.

    Args:
        run: where to.
        folder: inside of the run.
        blocks: what to make.
        about: what the bar calls it.
        quiet: no progress bar.

    Raises:
        RunError: no rungs lead to the target.
    """
    chains = f"{folder}/{CHAINS}"
    with progress(run, about, total=blocks.rounds * blocks.n_blocks, quiet=quiet) as bar:
        if run.holds(chains):
            state = run.load_arrays(chains)
            done = int(state.pop("block"))
        else:
            state, done = blocks.start(), 0
        bar.resume(done * blocks.rounds)
        for i in range(done, blocks.n_blocks):
            state, found = blocks.advance(state, i)
            if i >= blocks.n_burn_in:
                run.save_arrays(_block(folder, i), **found)
            run.save_arrays(chains, block=i + 1, **state)
            swaps = found["swapped"].sum() / max(found["tried"].sum(), 1)
            shown = {"swaps": float(swaps)} if found["tried"].size else {}
            arrived = float(found["arrivals"].mean() / blocks.rounds)
            accepted = float(found["acceptance"].mean())
            bar.update((i + 1) * blocks.rounds, accepted=accepted, arrivals=arrived, **shown)


class Corrected(NamedTuple):
    """Frames of the chains ``(chains, frames, dim)`` with u and ln q ``(chains, frames)``, the number of fresh
    samples that arrived, the accepted shares of swaps, the mean acceptance of trajectories by rung, the accepted
    share of torsion moves (0 of ladders), and which chains started from frames ``(chains,)`` bool."""

    corrector: str
    x: np.ndarray
    u: np.ndarray
    log_q: np.ndarray
    arrivals: int
    swaps: tuple[float, ...]
    acceptance: tuple[float, ...]
    turned: float
    from_frames: np.ndarray
    walkers: int


def load_chains(run: Run, folder: str, corrector: str, plan: CorrectionPlan) -> Corrected:
    """The chains in ``folder`` after burn-in.

    Args:
        run, folder: where they are.
        corrector: what made them.
        plan: with its settings.
    """
    settings = getattr(plan, corrector)
    first = settings.n_burn_in // settings.block
    blocks = [run.load_arrays(_block(folder, i)) for i in range(first, settings.n_blocks)]
    joined = {name: np.concatenate([b[name] for b in blocks]) for name in ("x", "u", "log_q")}
    swapped, tried = (np.sum([b[name] for b in blocks], axis=0) for name in ("swapped", "tried"))
    acceptance = np.mean([block["acceptance"] for block in blocks], axis=0)
    return Corrected(
        corrector=corrector,
        x=joined["x"].transpose(2, 0, 1),
        u=joined["u"].T.astype(np.float64),
        log_q=joined["log_q"].T.astype(np.float64),
        arrivals=int(sum(block["arrivals"].sum() for block in blocks)),
        swaps=tuple((swapped / np.maximum(tried, 1)).tolist()),
        # one number for chains, one for each rung of ladders
        acceptance=(float(acceptance.mean()),)
        if corrector == "moves"
        else tuple(acceptance.tolist()),
        turned=float(np.mean([block["turned"] for block in blocks])),
        from_frames=run.load_arrays(f"{folder}/{CHAINS}")["from_frames"],
        walkers=joined["u"].shape[1] * (len(swapped) + 1),
    )


def _block(folder: str, i: int) -> str:
    return f"{folder}/block-{i:04d}.npz"
