"""What a study needs to know of its system, whichever system it is."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import (
    BaseDistribution,
    Bijector,
    Loss,
    SignedPermutations,
    State,
    System,
    Target,
)
from jbg.losses.reaction_coordinate import check_covered, trains_along
from jbg.runs import Run
from jbg.sampling.generate import SampleSet, make_draw
from jbg.training import Refill, Stage, stage_losses, stage_refills


class Simulated(NamedTuple):
    """Frames of independent chains in order of time, and which of them lie in the coordinates' domain."""

    x: np.ndarray  # (n_chains, n_frames, dim)
    usable: np.ndarray  # (n_chains, n_frames) bool

    @classmethod
    def all_usable(cls, x: np.ndarray) -> "Simulated":
        return cls(x, np.ones(x.shape[:2], bool))


class LocalChains(NamedTuple):
    """Frames of short chains, each near its start: ``x (n, dim)``, reduced energies ``u (n,)``, the ``chain (n,)``
    of each, and the energies spent."""

    x: np.ndarray
    u: np.ndarray
    chain: np.ndarray
    evaluations: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """System, densities, network and data of one run, ready to train.

    The flow lives in coordinates v that ``coords`` (no parameters) maps to x. ``train`` and ``heldout`` are data
    in v, batch first ``(n, dim_v)``. ``u_reference`` is the energy that softening is measured from, in kT;
    ``batch`` the number of samples drawn at once. ``in_cell`` says of samples ``(n, dim)`` which lie in the
    region that the target is restricted to, ``(n,)`` bool, such as one labelling of identical particles: what
    lies outside has weight zero and is counted (`targets.restrict_to_cell`). None: there is no such region.
    ``group`` holds symmetries of x that the generated density is averaged over. ``differences(run, problem,
    params, weighted, plain, frames)`` estimates the free-energy differences better than the ``plain`` reweighted
    ones, as entries of ``results.json``, from the weighted samples of each temperature and the frames that
    training did not see (`evidence.Evidence`). None: plain reweighting serves.
    ``heldout`` is empty where nothing was simulated; ``train`` then holds conformations without an ensemble.
    ``hot`` holds further training data, simulated at the relative temperature ``hot_tau``; None: there are none.
    ``train_u`` ``(n,)`` is the reduced energy of each row of ``train`` in the measure of v, u(x) - ln|det dx/dv|,
    not softened; None: not known.
    ``simulated`` holds frames, chain by chain, that training did not learn from; of a molecule, those of ladders
    that the choice of its best parameters did not use either. None: ``heldout`` has to serve. ``chains`` are short
    simulations from random conformations, where nothing else was simulated.
    """

    system: System
    target: Target
    base: BaseDistribution
    flow: Bijector
    coords: Bijector
    train: np.ndarray
    heldout: np.ndarray
    u_reference: float
    batch: int
    simulation_evaluations: int
    in_cell: Callable[[np.ndarray], np.ndarray] | None = None
    group: SignedPermutations | None = None
    differences: Callable[..., list[dict[str, Any]]] | None = None
    hot: np.ndarray | None = None
    hot_tau: float = 1.0
    train_u: np.ndarray | None = None
    simulated: Simulated | None = None
    chains: LocalChains | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """What ``examples`` holds after the coordinates v (`losses.columns`)."""
        if self.hot is not None:
            return ("tau",)
        return () if self.train_u is None else ("u",)

    @property
    def examples(self) -> np.ndarray:
        """What training by example draws from: ``train`` with what is known of it (``columns``).

        Where there are ``hot`` data, as many rows of these and of ``train`` with their tau; rows of the shorter
        are repeated evenly, so that the shares of states stay.
        """
        if self.columns == ("u",):
            return np.column_stack([self.train, self.train_u]).astype(np.float32)
        if self.hot is None:
            return self.train
        n = max(len(self.train), len(self.hot))
        parts = [
            np.column_stack([v[np.arange(n) * len(v) // n], np.full(n, tau)])
            for v, tau in ((self.train, 1.0), (self.hot, self.hot_tau))
        ]
        return np.concatenate(parts).astype(np.float32)

    @functools.cached_property
    def flow_generator(self) -> Generator:
        """Generates v; its parameters are what training returns."""
        return Generator(base=self.base, bijector=self.flow)

    @functools.cached_property
    def generator(self) -> Generator:
        """Generates x, with parameters ``(flow parameters, ())``."""
        generator = Generator(base=self.base, bijector=flows.chain(self.flow, self.coords))
        return generator if self.group is None else flows.symmetrised(generator, self.group)

    @functools.cache  # noqa: B019, a problem lives as long as its run is worked on
    def draw_at(self, tau: float = 1.0) -> Callable[[Any, jax.Array], tuple[jax.Array, ...]]:
        """Compiled (generator parameters, key) -> ``batch`` samples x at tau, ln q and the true u."""
        return make_draw(self.generator, self.target, self.batch, tau)

    def log_probs(self, params: Any, x: np.ndarray, taus: Sequence[float]) -> np.ndarray:
        """ln q ``(len(taus), n)`` of x ``(n, dim)`` with the base at each of ``taus``; one inversion serves all.

        ``params`` are those of ``generator``; float64 on the host, computed in pieces of ``batch``.
        """
        at = jnp.asarray(taus)
        return self._in_pieces(lambda piece: self._log_probs(params, piece, at), x)

    def reduced_energies(self, x: np.ndarray) -> np.ndarray:
        """The true u ``(n,)`` of x ``(n, dim)``, float64 on the host, computed in pieces of ``batch``."""
        return self._in_pieces(self._reduced_energies, x)

    @functools.cached_property
    def _log_probs(self) -> Callable[[Any, jax.Array, jax.Array], jax.Array]:
        of_tau = jax.vmap(self.generator.log_prob, in_axes=(None, None, 0))
        return jax.jit(of_tau)

    @functools.cached_property
    def _reduced_energies(self) -> Callable[[jax.Array], jax.Array]:
        return jax.jit(self.target.reduced_energy)

    def _in_pieces(self, of: Callable[[jax.Array], jax.Array], x: np.ndarray) -> np.ndarray:
        """``of`` (dim, batch) -> (..., batch) on x ``(n, dim)``, the last piece filled up: compiled once."""
        (n, dim), size = x.shape, self.batch
        pieces = (np.resize(x[i : i + size], (size, dim)) for i in range(0, n, size))
        found = [np.asarray(of(jnp.asarray(piece.T))) for piece in pieces]
        return np.concatenate(found, axis=-1)[..., :n].astype(np.float64)

    def make_loss(self, stage: Stage, n_devices: int) -> Loss:
        """The losses of a stage on v, with the target softened as the stage says."""
        variable = self.system.collective_variable
        if variable is not None and trains_along(stage.losses):
            x, _ = self.coords.forward((), jnp.asarray(self.train.T))
            check_covered(variable.bounds, variable.of(x))
        losses = stage_losses(
            self.flow_generator,
            self.target,
            self.coords,
            variable,
            columns=self.columns,
            u_reference=self.u_reference,
        )
        return losses(stage, n_devices)

    def make_refill(self, stage: Stage, mesh: Mesh) -> Refill:
        """What fills the buffer of a stage with configurations v."""
        refills = stage_refills(
            self.flow_generator, self.target, self.coords, u_reference=self.u_reference
        )
        return refills(stage, mesh)

    def heldout_nll(self) -> Callable[[Any], jax.Array] | None:
        """Compiled (flow parameters) -> mean -ln q(v) over the held-out data; None where there are none."""
        if not len(self.heldout):
            return None
        data = jnp.asarray(self.heldout.T)
        generator = self.flow_generator
        return jax.jit(lambda params: -jnp.mean(generator.log_prob(params, data)))


class Recipe(Protocol):
    """How one kind of system is studied: a module of `jbg.studies` with these functions.

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
        self, run: Run, problem: Problem, a: State, b: State, tau: float
    ) -> dict[str, Any]:
        """``reference`` and ``reference_stderr`` of F(b) - F(a) in kT at relative temperature tau, None where
        not known."""

    def evaluate(
        self, run: Run, problem: Problem, samples: SampleSet, log_w: np.ndarray
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What only this kind of system has: additions to results.json and arrays for the figures."""
