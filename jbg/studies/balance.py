"""Rare states in the training data: frames of a state with 2 % of the ensemble count five times.

A flow that learns an ensemble as it is makes of a rare state what is rare, and a free-energy difference rests on
that little. Frames of rare states are repeated instead, with energies lowered to match, so that likelihood and
log-dispersion agree on one density: q ~ exp(-u) c, c the copies of a frame. Weights w = exp(-u)/q stay exact,
and are smaller by c in the states that have more samples for it.
"""

from collections.abc import Callable, Sequence

import numpy as np

from jbg.interfaces import State

MOST = 8  # copies; frames of a state that is rarer still would be learnt by heart


def copies_for(
    states: Sequence[State], x: np.ndarray, share: float
) -> Callable[[np.ndarray], np.ndarray]:
    """A function of configurations ``(n, dim)``: how many copies of each training takes, ``(n,)`` int.

    A state that holds less than ``share`` of the frames x gets as many copies as bring it there, MOST at most; of
    several states the rarest decides.

    Args:
        states: of the system.
        x: frames as simulated, ``(m, dim)``.
        share: that no state should be under; 0 for one copy of each frame.
    """
    of_states = []
    for state in states:
        held = float(np.mean(np.asarray(state.contains(x.T), bool)))
        n = min(MOST, round(share / held)) if held > 0 else 1
        if n > 1:
            of_states.append((state, n))

    def copies(x: np.ndarray) -> np.ndarray:
        found = np.ones(len(x), int)
        for state, n in of_states:
            found = np.where(np.asarray(state.contains(x.T), bool), np.maximum(found, n), found)
        return found

    return copies
