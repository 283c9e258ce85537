"""What training, sampling and estimates need to know about any system."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import (
    Bijector,
    Key,
    Loss,
    Params,
    RunError,
    SignedPermutations,
    State,
    System,
    Target,
)
from jbg.losses.entropies import check_covered
from jbg.losses.reaction_coordinate import trains_along
from jbg.reweighting import (
    WeightedSamples,
    drop_non_finite,
    log_weights,
    restrict_log_weights,
)
from jbg.sampling.generate import make_draw
from jbg.training import Refill, Stage, device_mesh, stage_losses, stage_refills
from jbg.training.mesh import in_turn, replicate, spread

PIECE = 4096  # configurations mapped at once


class Examples(NamedTuple):
    """Data in the flow's coordinates v, batch first ``(n, dim_v)``.

    ``train`` are the training data. ``heldout`` monitor the training; they are empty where nothing was simulated,
    and ``train`` then holds conformations that sample no ensemble. ``u`` ``(n,)`` is the reduced energy of each
    row of ``train`` in the measure of v, u(x) - ln|det dx/dv|, not softened. ``copies`` ``(n,)`` int says how
    often training takes each row of ``train``, beside one copy of the others, and ``heldout_copies`` the same of
    those. ``hot`` are additional training data, simulated at the relative temperature ``hot_tau``.
    """

    train: np.ndarray
    heldout: np.ndarray
    u: np.ndarray | None = None
    hot: np.ndarray | None = None
    hot_tau: float = 1.0
    copies: np.ndarray | None = None
    heldout_copies: np.ndarray | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """What `rows` holds after the coordinates v (`losses.columns`)."""
        if self.hot is not None:
            return ("tau",)
        return () if self.u is None else ("u",)

    @property
    def rows(self) -> np.ndarray:
        """What training draws from: ``train`` with what is known of it (`columns`).

        A row with c copies comes c times, its energy lowered by ln c: the density that all are of is exp(-u) c.
        Where there are ``hot`` data, as many rows of these and of ``train`` with their tau; rows of the shorter
        are repeated evenly, so that the shares of states stay.
        """
        if self.hot is None and self.u is not None:
            known = np.column_stack([self.train, self.u]).astype(np.float32)
            if self.copies is None:
                return known
            known[:, -1] -= np.log(self.copies)
            return np.repeat(known, self.copies, axis=0)
        if self.hot is None:
            return self.train
        n = max(len(self.train), len(self.hot))
        parts = [
            np.column_stack([v[np.arange(n) * len(v) // n], np.full(n, tau)])
            for v, tau in ((self.train, 1.0), (self.hot, self.hot_tau))
        ]
        return np.concatenate(parts).astype(np.float32)


class Simulated(NamedTuple):
    """Frames that training did not learn from, chain by chain in order of time, and which of them lie in the
    coordinates' domain."""

    x: np.ndarray  # (n_chains, n_frames, dim)
    usable: np.ndarray  # (n_chains, n_frames) bool

    @classmethod
    def all_usable(cls, x: np.ndarray) -> "Simulated":
        return cls(x, np.ones(x.shape[:2], bool))


class Symmetry(NamedTuple):
    """Symmetries of x that the generated density is averaged over, and the region that the target is restricted
    to, such as one labelling of identical particles: ``in_cell`` says which x ``(n, dim)`` lie in it, ``(n,)``
    bool. Samples outside have weight zero and are counted."""

    group: SignedPermutations
    in_cell: Callable[[np.ndarray], np.ndarray]

    def not_averaged(self) -> "Symmetry":
        """The same region, and the density as the flow gives it: the group is the identity alone."""
        return self._replace(group=SignedPermutations(*(part[:1] for part in self.group)))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """System, densities, network and data, ready to train.

    Attributes:
        system: the system that is studied.
        target: its reduced energy, not softened.
        flow: generates v; its parameters are what training returns.
        coords: maps v to x, without parameters.
        examples: data in v.
        u_reference: energy in kT that softening is measured from.
        batch: number of samples drawn, or configurations evaluated, at once.
        simulated: frames that estimates are made from; None where nothing was simulated.
        symmetry: of the target; None for none.
        copies_of: x ``(n, dim)`` -> how often training takes each, ``(n,)`` int; None for once.
        region: which x ``(n, dim)`` belong to the target, ``(n,)`` bool; None for all. ``target`` itself goes on
            beyond, so that forces lead back; samples outside have weight zero and are counted.
        torsion_groups: pairs and links of rows of v on the circle [-pi, pi) that chains may set anew together
            (`sampling.torsion_moves`); None for none.
        jump: (key, v) -> v after a jump as likely as its return, tried while annealing; None where nothing jumps.
        thermal_speed: sqrt(kT/m) of each coordinate ``(dim,)``, nm/ps, for dynamics; None where it has no masses.
        backbone: numbers of the backbone atoms ``(n_bb,)``, for `losses.Wasserstein`; None where there are none.
        n_circular: so many of the first variables v are angles, for `losses.TorsionRange`.
    """

    system: System
    target: Target
    flow: Generator
    coords: Bijector
    examples: Examples
    u_reference: float
    batch: int
    simulated: Simulated | None = None
    symmetry: Symmetry | None = None
    region: Callable[[np.ndarray], np.ndarray] | None = None
    copies_of: Callable[[np.ndarray], np.ndarray] | None = None
    torsion_groups: tuple[np.ndarray, np.ndarray] | None = None
    jump: Callable[[Key, jax.Array], jax.Array] | None = None
    thermal_speed: np.ndarray | None = None
    backbone: np.ndarray | None = None
    n_circular: int | None = None

    @functools.cached_property
    def generator(self) -> Generator:
        """Generates x, with parameters ``(flow parameters, ())``."""
        bijector = flows.chain(self.flow.bijector, self.coords)
        generator = Generator(base=self.flow.base, bijector=bijector)
        return flows.symmetrised(generator, self.symmetry.group) if self.symmetry else generator

    @property
    def restriction(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """Which x ``(n, dim)`` have a weight, ``(n,)`` bool: those in the symmetry's cell, or in the region."""
        return self.region if self.symmetry is None else self.symmetry.in_cell

    @functools.cached_property
    def init(self) -> Callable[[Key], Params]:
        """Compiled key -> initial parameters of the flow."""
        return jax.jit(self.flow.init)

    @property
    def pairs(self) -> list[tuple[State, State]]:
        """Pairs of states to report a free-energy difference for."""
        return state_pairs(self.system.states)

    @property
    def frames(self) -> np.ndarray:
        """The training data as configurations x ``(n, dim)``."""
        x, _ = self.coords.forward((), jnp.asarray(self.examples.train.T))
        return np.asarray(x).T

    def draw(self, key: Key, params: Params, n: int, tau: float = 1.0) -> WeightedSamples:
        """n samples with their weights, drawn in blocks of ``batch``; block i uses fold_in(key, i).

        Samples outside the region that the target is restricted to (`Symmetry`) have weight zero.

        Args:
            key: of all blocks.
            params: of ``generator``.
            n: samples.
            tau: relative temperature.

        Raises:
            RunError: no sample has a finite energy.
        """
        x, log_q, u = self.drawn(key, params, n, tau)
        log_w, n_invalid = drop_non_finite(log_weights(u, log_q, tau=tau))
        if n_invalid == n:
            raise RunError(f"draw: all {n} samples have non-finite energies: train the flow first")
        if self.restriction is not None:
            log_w, _ = restrict_log_weights(log_w, self.restriction(x))
        return WeightedSamples(x, log_q, u, log_w, tau)

    def drawn(self, key: Key, params: Params, n: int, tau: float = 1.0) -> list[np.ndarray]:
        """x ``(n, dim)``, ln q and the true u ``(n,)`` of the samples of `draw`, whatever their energies.

        Args:
            key, params, n, tau: as for `draw`.
        """
        keys = (jax.random.fold_in(key, i) for i in range(-(-n // self.batch)))
        blocks = in_turn(self.draw_at(tau), params, keys)
        return [np.concatenate(part)[:n] for part in zip(*blocks, strict=True)]

    @functools.cache  # noqa: B019, a problem lives as long as its run is worked on
    def draw_at(self, tau: float = 1.0) -> Callable[[Any, jax.Array], tuple[jax.Array, ...]]:
        """Compiled (generator parameters, key) -> ``batch`` samples x at tau, ln q and the true u."""
        return make_draw(self.generator, self.target, self.batch, tau)

    def log_probs(self, params: Any, x: np.ndarray, taus: Sequence[float]) -> np.ndarray:
        """ln q ``(len(taus), n)`` of x ``(n, dim)`` with the base at each of ``taus``; one inversion serves all.

        ``params`` are those of ``generator``; float64 on the host, computed in pieces of ``batch``.
        """
        at = jnp.asarray(taus)
        return self._in_pieces(self._log_probs, (params, at), x)

    def reduced_energies(self, x: np.ndarray) -> np.ndarray:
        """The true u ``(n,)`` of x ``(n, dim)``, float64 on the host, computed in pieces of ``batch``."""
        return self._in_pieces(self._reduced_energies, (), x)

    @functools.cached_property
    def _log_probs(self) -> Callable[[Any, jax.Array], jax.Array]:
        of_tau = jax.vmap(self.generator.log_prob, in_axes=(None, None, 0))
        return jax.jit(lambda known, x: of_tau(known[0], x, known[1]))

    @functools.cached_property
    def _reduced_energies(self) -> Callable[[tuple[()], jax.Array], jax.Array]:
        return jax.jit(lambda _, x: self.target.reduced_energy(x))

    def _in_pieces(self, of: Callable[..., jax.Array], known: Any, x: np.ndarray) -> np.ndarray:
        """``of`` (known, (dim, batch)) -> (..., batch) on x ``(n, dim)``, the last piece filled up."""
        (n, dim), size = x.shape, self.batch
        pieces = (np.resize(x[i : i + size], (size, dim)).T for i in range(0, n, size))
        found = list(in_turn(of, known, pieces))
        return np.concatenate(found, axis=-1)[..., :n].astype(np.float64)

    def make_loss(self, stage: Stage, mesh: Mesh) -> Loss:
        """The losses of a stage on v, with the target softened as the stage says."""
        variable = self.system.collective_variable
        if variable is not None and trains_along(stage.losses):
            few = jnp.asarray(self.examples.train[:: max(1, len(self.examples.train) // PIECE)].T)
            check_covered(variable.bounds, variable.of(self.coords.forward((), few)[0]))
        losses = stage_losses(
            self.flow,
            self.target,
            self.coords,
            variable,
            columns=self.examples.columns,
            u_reference=self.u_reference,
            backbone=self.backbone,
            n_circular=self.n_circular,
        )
        return losses(stage, mesh)

    def make_refill(self, stage: Stage, mesh: Mesh) -> Refill:
        """What fills the buffer of a stage with configurations v."""
        refills = stage_refills(self.flow, self.target, self.coords, u_reference=self.u_reference)
        return refills(stage, mesh)

    def heldout_nll(self) -> Callable[[Any], jax.Array] | None:
        """Compiled (flow parameters) -> mean -ln q(v) over the held-out data, each counted as often as training
        would take it; None where there are none."""
        if not len(self.examples.heldout):
            return None
        data, mesh = jnp.asarray(self.examples.heldout.T), device_mesh()
        copies = self.examples.heldout_copies
        share = jnp.asarray(np.ones(data.shape[1]) if copies is None else copies, data.dtype)
        share = share / share.sum()
        mean = jax.jit(lambda params: -share @ self.flow.log_prob(params, spread(data, mesh)))
        return lambda params: mean(replicate(params, mesh))


def state_pairs(states: Sequence[State]) -> list[tuple[State, State]]:
    """States listed two by two, as systems define them."""
    return list(zip(states[::2], states[1::2], strict=True))


def to_v(coords: Bijector, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Configurations ``(n, dim)`` in the flow's coordinates ``(n, dim_v)``, and ln|det dv/dx| ``(n,)``; ``coords``
    maps v to x."""
    inverse = jax.jit(lambda x: coords.inverse((), x))
    if not len(x):
        return np.zeros((0, coords.dim_in), np.float32), np.zeros(0, np.float32)
    pieces = np.array_split(x, max(1, len(x) // PIECE))
    parts = [jax.device_get(inverse(jnp.asarray(piece.T, jnp.float32))) for piece in pieces]
    v, log_det = zip(*parts, strict=True)
    return np.concatenate([part.T for part in v]), np.concatenate(log_det)
