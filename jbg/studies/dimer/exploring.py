"""An exploration inside a run folder, saved part by part, so that it can be resumed."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jbg.generator import Generator
from jbg.interfaces import State, Target
from jbg.runs import Run
from jbg.sampling.exploration import (
    Exploration,
    ExplorationHistory,
    ExplorationState,
    begin,
    explore,
)
from jbg.training import Checkpoints

N_PARTS = 10
CHECKPOINTS, HISTORY = "exploration", "history.npz"


class Course(NamedTuple):
    """An exploration as it went, and its buffers ``(parts + 1, n, dim)`` before each part and at the end.

    ``spent (parts + 1,)`` are the energies until then.
    """

    history: ExplorationHistory
    buffers: np.ndarray
    spent: np.ndarray


def explore_in(
    run: Run,
    generator: Generator,
    target: Target,
    start: ArrayLike,
    *,
    settings: Exploration,
    states: tuple[State, ...],
    on_part: Callable[[ExplorationState, ExplorationHistory], None] = lambda state, history: None,
) -> ExplorationState:
    """Run `sampling.exploration.explore` to its end in ten parts, each saved in the run folder when it is done.

    Called again, it resumes after the last part that was saved, and ends with the numbers of an unbroken run.

    Args:
        run: gives the PRNG key, and keeps checkpoints and history.
        generator, target, start, settings, states: as for `sampling.exploration.begin`.
        on_part: told the state and this part's history after each part.

    Returns:
        The last state; `load_course` reads the rest.

    Raises:
        ConfigError: as `explore`.
    """

    what = {"settings": settings, "states": states}

    def advance(state: ExplorationState, n: int):
        return explore(state, generator, target, n_iterations=n, **what)

    state, _ = advance(begin(run.key("explore"), generator, target, start, **what), 0)
    checkpoints = Checkpoints(run.path / CHECKPOINTS)
    try:
        if checkpoints.latest():
            state = checkpoints.restore(state)
            kept = run.load_arrays(HISTORY)
        else:
            spent = np.array([int(state.n_evaluations)])
            kept = {"buffers": np.asarray(state.buffer)[None], "spent": spent}
        while int(state.iteration) < settings.n_iterations:
            before = int(state.iteration)
            state, history = advance(state, -(-settings.n_iterations // N_PARTS))
            kept = _longer(kept, before, state, history, settings.n_iterations)
            run.save_arrays(HISTORY, **kept)
            checkpoints.save(int(state.iteration), state)
            on_part(state, history)
    finally:
        checkpoints.close()
    return state


def load_course(run: Run) -> Course:
    """The course that `explore_in` wrote, without losses.

    Raises:
        ConfigError: there is no exploration in the run folder.
    """
    kept = run.load_arrays(HISTORY)
    buffers, spent = kept.pop("buffers"), kept.pop("spent")
    return Course(ExplorationHistory(**kept, losses={}), buffers, spent)


def _longer(
    kept: dict[str, np.ndarray],
    before: int,
    state: ExplorationState,
    history: ExplorationHistory,
    n_iterations: int,
) -> dict[str, np.ndarray]:
    """The arrays with one more part; rows that a kill left beyond the checkpoint, at iteration ``before``, are
    discarded."""
    new = {name: values for name, values in history._asdict().items() if name != "losses"}
    n_parts = -(-before // -(-n_iterations // N_PARTS)) + 1
    return {
        name: np.concatenate([kept[name][:before], values]) if name in kept else values
        for name, values in new.items()
    } | {
        "buffers": np.concatenate([kept["buffers"][:n_parts], np.asarray(state.buffer)[None]]),
        "spent": np.append(kept["spent"][:n_parts], int(state.n_evaluations)),
    }
