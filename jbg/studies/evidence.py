"""The input of every estimator and observable: weighted samples, and frames that training did not use."""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jbg import reweighting
from jbg.interfaces import Params, RunError, State
from jbg.runs import Run
from jbg.sampling.generate import Ensemble, SampleSet
from jbg.studies.dataset import Dataset, load_dataset
from jbg.studies.problem import Problem
from jbg.studies.study import Plan
from jbg.studies.wanted import NOTHING, Wanted


class Weighted(NamedTuple):
    """Samples of one ensemble with their log-weights ``(n,)``, -inf where one has no weight."""

    tau: float
    samples: SampleSet
    log_w: np.ndarray
    counts: dict[str, Any]  # samples without weight, by reason

    @property
    def usable(self) -> np.ndarray:
        """Which samples have a weight, ``(n,)`` bool."""
        return np.isfinite(self.log_w)

    def inside(self, state: State) -> np.ndarray:
        """Which samples lie in a state, ``(n,)`` bool."""
        return np.asarray(state.contains(self.samples.positions.T), bool)


def weigh(problem: Problem, samples: SampleSet, tau: float) -> Weighted:
    """The samples with ln w = -u/tau - ln q; those outside the region of the target have weight zero.

    Raises:
        RunError: no sample has a finite energy.
    """
    log_w = reweighting.log_weights(samples.reduced_energy, samples.log_q, tau=tau)
    log_w, n_invalid = reweighting.drop_non_finite(log_w)
    if n_invalid == len(log_w):
        raise RunError(
            f"all {len(log_w)} samples have non-finite energies: train longer, or check the system"
        )
    if problem.restriction is None:
        return Weighted(tau, samples, log_w, {"n_invalid": n_invalid})
    inside = problem.restriction(np.asarray(samples.positions))
    n_invalid = int(np.count_nonzero(inside & ~np.isfinite(log_w)))
    log_w, outside = reweighting.restrict_log_weights(log_w, inside)
    name = "outside_region_share" if problem.symmetry is None else "outside_cell_share"
    return Weighted(tau, samples, log_w, {"n_invalid": n_invalid, name: outside})


class Frames(NamedTuple):
    """Frames of independent chains with the flow's density and the true energy, both in the measure of x."""

    x: np.ndarray  # (n_chains, n_frames, dim)
    usable: np.ndarray  # (n_chains, n_frames) bool, inside of the coordinates' domain
    log_q: np.ndarray  # (n_chains, n_frames)
    u: np.ndarray  # (n_chains, n_frames) reduced

    @property
    def chain(self) -> np.ndarray:
        """The chain of every frame, ``(n_chains, n_frames)``."""
        return np.broadcast_to(np.arange(len(self.x))[:, None], self.u.shape)

    def inside(self, contains: Callable[[Any], Any]) -> np.ndarray:
        """Which usable frames lie in a state, ``(n_chains, n_frames)`` bool; ``contains`` takes ``(dim, n)``."""
        flat = self.x.reshape(-1, self.x.shape[-1])
        return self.usable & np.asarray(contains(flat.T), bool).reshape(self.usable.shape)


class Evidence:
    """Everything that the numbers of a run are computed from.

    Attributes:
        run: the folder, for seeds and for files of the study's source.
        plan: the settings of the run.
        problem: system, densities and network.
        params: of the trained flow.
        weighted: the samples of each ensemble.
        states: that numbers are given for.
        pairs: of them, that free energies differ between.
        wanted: what the user asked for beside these.
    """

    def __init__(
        self,
        run: Run,
        plan: Plan,
        problem: Problem,
        params: Params,
        drawn: Mapping[Ensemble, SampleSet],
        wanted: Wanted = NOTHING,
    ):
        self.run, self.plan, self.problem, self.params = run, plan, problem, params
        self.weighted = {at: weigh(problem, samples, at.tau) for at, samples in drawn.items()}
        self.states: tuple[State, ...] = problem.system.states
        self.pairs: Sequence[tuple[State, State]] = problem.pairs
        self.wanted = wanted

    def asking(self, wanted: Wanted) -> "Evidence":
        """The same evidence with other questions."""
        found = copy.copy(self)
        found.wanted = wanted
        return found

    def of_user(self) -> "Evidence":
        """The same evidence about the states of the user alone."""
        found = copy.copy(self)
        asked = {each.name: each for pair in self.wanted.pairs for each in pair}
        found.states, found.pairs = tuple(asked.values()), self.wanted.pairs
        return found

    @property
    def own(self) -> Weighted:
        """The samples at tau = 1."""
        return self.weighted[Ensemble()]

    def seed_for(self, name: str) -> int:
        return self.run.seed_for(name)

    @functools.cached_property
    def dataset(self) -> Dataset:
        return load_dataset(self.run)

    def log_q(self, x: np.ndarray, tau: float = 1.0) -> np.ndarray:
        """The generator's ln q ``(n,)`` of x ``(n, dim)``."""
        return self.problem.log_probs((self.params, ()), x, (tau,))[0]

    @functools.cached_property
    def frames(self) -> Frames | None:
        """The frames set aside for estimates (`Problem.simulated`), else those held out for the choice of
        parameters; None where nothing was simulated.

        Energies are computed anew, at the positions as stored, as those of the generated samples were.
        """
        problem = self.problem
        if problem.simulated is not None:
            x, usable = problem.simulated
        elif len(problem.examples.heldout):
            flat, _ = problem.coords.forward((), jnp.asarray(problem.examples.heldout.T))
            x = np.asarray(flat).T[None]
            usable = np.ones(x.shape[:2], bool)
        else:
            return None
        flat = x.reshape(-1, x.shape[-1])
        return Frames(
            x,
            usable,
            self.log_q(flat).reshape(usable.shape),
            problem.reduced_energies(flat).reshape(usable.shape),
        )
