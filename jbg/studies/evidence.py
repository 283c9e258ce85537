"""What a simulation that training did not see says of the flow: ln q and u of its frames."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jbg.studies.problem import Problem


class Evidence(NamedTuple):
    """Frames of independent chains with the flow's density and the true energy, both in the measure of x."""

    x: np.ndarray  # (n_chains, n_frames, dim)
    usable: np.ndarray  # (n_chains, n_frames) bool, inside of the coordinates' domain
    log_q: np.ndarray  # (n_chains, n_frames)
    u: np.ndarray  # (n_chains, n_frames) reduced

    @property
    def chain(self) -> np.ndarray:
        """The chain of every frame, ``(n_chains, n_frames)``."""
        return np.broadcast_to(np.arange(len(self.x))[:, None], self.u.shape)

    def inside(self, contains) -> np.ndarray:
        """Which usable frames lie in a state, ``(n_chains, n_frames)`` bool; ``contains`` takes ``(dim, n)``."""
        flat = self.x.reshape(-1, self.x.shape[-1])
        return self.usable & np.asarray(contains(flat.T), bool).reshape(self.usable.shape)


def evidence(problem: Problem, params: Any) -> Evidence | None:
    """Of the frames set aside for this (`Problem.simulated`), else of those held out for the choice of parameters;
    None where nothing was simulated.

    Energies are computed anew, at the positions as stored, as those of the generated samples were.

    Args:
        problem: whose generator and energy both are measured with.
        params: of the flow.
    """
    if problem.simulated is not None:
        x, usable = problem.simulated
    elif len(problem.heldout):
        flat, _ = problem.coords.forward((), jnp.asarray(problem.heldout.T))
        x = np.asarray(flat).T[None]
        usable = np.ones(x.shape[:2], bool)
    else:
        return None
    flat = x.reshape(-1, x.shape[-1])
    return Evidence(
        x,
        usable,
        problem.log_probs((params, ()), flat, (1.0,))[0].reshape(usable.shape),
        problem.reduced_energies(flat).reshape(usable.shape),
    )
