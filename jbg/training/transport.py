"""Constrained mass transport: own samples, resampled towards a target that the generator can follow.

Each refill draws n samples x of the generator q, and resamples them to the density q' that is closest to the
target p = exp(-u)/Z in KL divergence among those with

    KL(q' | q) <= max_kl   and   H(q) - H(q') <= max_entropy_drop.

It is q' ~ (p q^l)^(1/(1 + l + m)), with multipliers l and m that are found from the samples themselves; where
the bounds do not bind, both are zero and q' = p. The first bound keeps the weights usable, the second keeps modes:
the closest density of a given distance is a colder one, and a generator that freezes too early never sees again
what it gave up (von Klitzing et al. 2025, arXiv:2510.18460, Eqs. 9-14). Needs energies, no forces.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from jbg.generator import Generator
from jbg.interfaces import Key, Params, Target
from jbg.losses.proposals import systematic
from jbg.training.buffer import Refill, check_numbers
from jbg.training.mesh import spread_generator, spread_target

BISECTIONS = 30
PIECE = 2048  # samples drawn at once, bounds memory


class Step(NamedTuple):
    """An intermediate target, as log-weights ``(n,)`` of samples of the generator, and how far it goes."""

    log_w: Array
    kl: Array
    entropy_drop: Array
    multipliers: Array  # l and m


def constrained_step(log_q: Array, u: Array, *, max_kl: float, max_entropy_drop: float) -> Step:
    """The weights of q' for samples of q.

    The dual is concave, and in each multiplier what its bound holds falls steadily, so that two nested
    bisections of l/(1 + l) and m/(1 + m) solve it.

    Args:
        log_q: ln q of the samples, ``(n,)``.
        u: their reduced energies, ``(n,)``; samples where either is not finite have weight zero.
        max_kl: bound of KL(q' | q), nats.
        max_entropy_drop: bound of H(q) - H(q'), nats.
    """
    usable = jnp.isfinite(u) & jnp.isfinite(log_q)
    log_q, u = jnp.where(usable, log_q, 0.0), jnp.where(usable, u, 0.0)
    n = jnp.maximum(usable.sum(), 1)
    entropy = -log_q.sum() / n

    def at(a: Array, b: Array) -> Step:
        """l = a/(1 - a), m = b/(1 - b)."""
        l, m = a / (1 - a), b / (1 - b)
        log_w = jnp.where(usable, (l * log_q - u) / (1 + l + m) - log_q, -jnp.inf)
        log_z = jax.nn.logsumexp(log_w) - jnp.log(n)
        w = jax.nn.softmax(log_w)
        mean_log_w = jnp.sum(w * jnp.where(usable, log_w, 0.0))
        drop = entropy + jnp.sum(w * log_q) + mean_log_w - log_z
        return Step(log_w, mean_log_w - log_z, drop, jnp.stack([l, m]))

    def least(bad, start):
        """The smallest place in [0, 1) from which on ``bad`` is false."""

        def halve(_, bracket):
            low, high = bracket
            middle = 0.5 * (low + high)
            wrong = bad(middle)
            return jnp.where(wrong, middle, low), jnp.where(wrong, high, middle)

        low, high = jax.lax.fori_loop(0, BISECTIONS, halve, (start, start + 1 - 1e-6))
        return jnp.where(bad(start), high, start)

    zero = jnp.zeros((), u.dtype)

    def closest(b: Array) -> Step:
        return at(least(lambda a: at(a, b).kl > max_kl, zero), b)

    return closest(least(lambda b: closest(b).entropy_drop > max_entropy_drop, zero))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transport:
    """A buffer of own samples, resampled to the intermediate target; see the module's text.

    Attributes:
        n: samples drawn for each refill, and rows of the buffer.
        every: steps between refills.
        max_kl: nats by which the intermediate target may differ from the generator, as KL divergence.
        max_entropy_drop: the same, as loss of entropy.

    Raises:
        ConfigError: a number out of range.
    """

    n: int = 20_000
    every: int = 200
    max_kl: float = 0.5
    max_entropy_drop: float = 0.5

    def __post_init__(self):
        check_numbers(self, whole=("n", "every"), positive=("max_kl", "max_entropy_drop"))

    @property
    def columns(self) -> tuple[str, ...]:
        return ()

    @property
    def energies(self) -> int:
        """Energy evaluations of one refill."""
        return self.n

    def make(self, generator: Generator, target: Target, mesh: Mesh) -> Refill:
        """What refills a stage's ``(n, dim)``.

        Args:
            generator: of what is trained.
            target: density of the same variables.
            mesh: devices that share the samples.
        """
        draw = _shared_draw(generator, target, self.n, mesh)
        bounds = {"max_kl": self.max_kl, "max_entropy_drop": self.max_entropy_drop}

        @jax.jit
        def run(params: Params, store: tuple, key: Key):
            key_draw, key_pick = jax.random.split(key)
            x, log_q, u = draw(params, key_draw)
            u = jnp.where(jnp.isfinite(x).all(1), u, jnp.inf)
            step = constrained_step(log_q, u, **bounds)
            best = step.log_w.max()
            picked = systematic(key_pick, jnp.exp(step.log_w - best), self.n)
            # nothing to learn from: steps are skipped
            rows = jnp.where(jnp.isfinite(best), x[picked], jnp.nan)
            logs = {"transport_kl": step.kl, "entropy_drop": step.entropy_drop}
            logs |= {"power": 1 / (1 + step.multipliers.sum()), "ess": _ess(-u - log_q)}
            return store, rows, logs

        return Refill(empty=lambda: ((), jnp.zeros((self.n, generator.bijector.dim_out))), run=run)


def _shared_draw(
    generator: Generator, target: Target, n: int, mesh: Mesh
) -> Callable[[Params, Key], tuple[Array, Array, Array]]:
    """(params, key) -> x ``(n, dim)``, ln q and u ``(n,)``, drawn in pieces."""
    n_pieces = max(1, -(-n // PIECE))
    piece = -(-n // n_pieces)
    generator, target = spread_generator(generator, mesh), spread_target(target, mesh)

    def draw(params: Params, key: Key):
        keys = jax.random.split(jax.random.fold_in(key, 0), n_pieces)

        def one(key):
            drawn = generator.sample(key, params, piece)
            return drawn.x.T, drawn.log_prob, target.reduced_energy(drawn.x)

        x, log_q, u = jax.lax.map(one, keys)
        return x.reshape(-1, x.shape[-1])[:n], log_q.ravel()[:n], u.ravel()[:n]

    return draw


def _ess(log_w: Array) -> Array:
    """Kish's fraction under the target itself."""
    log_w = jnp.where(jnp.isfinite(log_w), log_w, -jnp.inf)
    total, square = jax.nn.logsumexp(log_w), jax.nn.logsumexp(2 * log_w)
    return jnp.exp(2 * total - square) / len(log_w)
