"""What a study needs to know of its system, whichever system it is."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

from jbg import flows
from jbg.generator import Generator, pull_back
from jbg.interfaces import BaseDistribution, Bijector, Loss, State, System, Target
from jbg.losses import make_kl_loss, make_nll_loss, make_own_samples_loss, weighted_sum
from jbg.runs import Run
from jbg.sampling.generate import SampleSet
from jbg.targets import soften
from jbg.training import Stage
from jbg.training.step import AXIS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """System, densities, network and data of one run, ready to train.

    The flow lives in coordinates v that ``coords`` (no parameters) maps to x. ``train`` and ``heldout`` are data
    in v, batch first ``(n, dim_v)``. ``u_reference`` is the energy that softening is measured from, in kT.
    """

    system: System
    target: Target
    base: BaseDistribution
    flow: Bijector
    coords: Bijector
    train: np.ndarray
    heldout: np.ndarray
    u_reference: float
    simulation_evaluations: int

    @property
    def flow_generator(self) -> Generator:
        """Generates v; its parameters are what training returns."""
        return Generator(base=self.base, bijector=self.flow)

    @property
    def generator(self) -> Generator:
        """Generates x, with parameters ``(flow parameters, ())``."""
        return Generator(base=self.base, bijector=flows.chain(self.flow, self.coords))

    def make_loss(self, stage: Stage, n_devices: int) -> Loss:
        """The losses of a stage on v, with the target softened as the stage says."""
        generator = self.flow_generator
        softened = soften(
            self.target, e_high=stage.e_high, e_max=stage.e_max, offset=self.u_reference
        )
        target = pull_back(softened, self.coords)
        n = stage.batch_size // n_devices
        terms = [(stage.w_nll, make_nll_loss(generator))]
        if stage.w_kl:
            terms.append(
                (stage.w_kl, make_kl_loss(generator, target, n_samples=n, taus=stage.taus))
            )
        if stage.w_forward_kl or stage.w_log_variance:
            own = make_own_samples_loss(
                generator,
                target,
                n_samples=n,
                w_forward_kl=stage.w_forward_kl,
                w_log_variance=stage.w_log_variance,
                axis_name=AXIS,
            )
            terms.append((1.0, own))
        return weighted_sum(terms)

    def heldout_nll(self) -> Callable[[Any], jax.Array]:
        """Compiled (flow parameters) -> mean -ln q(v) over the held-out data."""
        data = jax.numpy.asarray(self.heldout.T)
        generator = self.flow_generator
        return jax.jit(lambda params: -jax.numpy.mean(generator.log_prob(params, data)))


class Recipe(Protocol):
    """How one kind of system is studied: a module of `jbg.presets` with these functions.

    DESCRIPTION: one line for `jbg systems`.
    """

    DESCRIPTION: str

    def make_config(self, *, preset: str, seed: int, **options: Any) -> dict[str, Any]:
        """The resolved configuration, plain JSON values, complete: nothing is looked up later."""

    def simulate(self, run: Run, *, quiet: bool) -> None:
        """Make the data and write them under ``data/``."""

    def load(self, run: Run) -> Problem:
        """The problem, from the config and the data of a run."""

    def reference_difference(
        self, run: Run, problem: Problem, a: State, b: State
    ) -> dict[str, Any]:
        """``reference`` and ``reference_stderr`` of F(b) - F(a) in kT, None where not known."""

    def evaluate(
        self, run: Run, problem: Problem, samples: SampleSet, log_w: np.ndarray
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What only this kind of system has: additions to results.json and arrays for the figures."""
