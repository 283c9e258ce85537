"""The rungs of a ladder between a generator and its target, found by annealing a few hundred walkers once.

The first rung is where the weights of an overdrawn set of samples still have as many effective samples as there
are walkers, which drops clashes exactly; each next one is where the weights from the last keep a given effective
sample size. Walkers are resampled and moved on every rung, and time steps adapt on the way: that of a coordinate
is in proportion to its width, 1/s with s = sqrt(pi/2) <|d ln pi/dz|> (for a normal distribution
its standard deviation). The annealing serves to choose rungs, time steps and starts: nothing is estimated from it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jbg.interfaces import Key, Params, RunError
from jbg.sampling.latent_ladder import ACCEPTANCE, LadderPrograms, LatentLadder, Walkers
from jbg.training.mesh import device_mesh, fetch, replicate

MOVES = 6  # trajectories of each walker on each rung
HALVINGS = 40


class UnreachableError(RunError):
    """No rungs lead from the generator to the target."""


class Rungs(NamedTuple):
    """b ``(K,)``, ln of the time steps of the coordinates ``(dim_z, K)``, where the walkers of each rung are,
    ``(K, features, n_walkers)`` arrays, and the mean acceptance on each."""

    b: np.ndarray
    log_step: np.ndarray
    walkers: Walkers
    acceptance: np.ndarray


def find_rungs(
    key: Key,
    params: Params,
    programs: LadderPrograms,
    settings: LatentLadder,
    mesh: Mesh | None = None,
) -> Rungs:
    """The rungs from the generator to the target.

    Args:
        key: PRNG key.
        params: of the generator.
        programs: from `latent_ladder.make_programs`.
        settings: of the ladder.
        mesh: devices; all there are by default.

    Raises:
        UnreachableError: no sample has a weight, or more than ``max_rungs`` rungs would be needed.
    """
    mesh, n = mesh or device_mesh(), settings.n_walkers
    rng = np.random.default_rng(int(jax.random.randint(key, (), 0, 2**31 - 1)))
    params = replicate(params, mesh)
    walkers = _overdrawn(key, params, programs, settings, mesh)
    if np.count_nonzero(np.isfinite(walkers.log_w)) < n:
        raise UnreachableError(
            "latent ladder: hardly any sample of the flow has a finite energy: train longer"
        )
    b = _next_rung(walkers.log_w, 0.0, n)
    walkers = _resampled(rng, walkers, b * walkers.log_w, n)
    log_step, found = float(np.log(settings.step)), []
    while True:
        width = _log_width(programs, params, walkers, b, mesh)
        key_rung = jax.random.fold_in(key, len(found) + 1)
        walkers, log_step, acceptance = _settle(
            key_rung, params, programs, walkers, b, log_step, width, mesh
        )
        found.append((b, log_step + width, walkers, acceptance))
        if b >= 1.0:
            break
        if len(found) == settings.max_rungs:
            raise UnreachableError(
                f"latent ladder: {settings.max_rungs} rungs lead to b = {b:.2f} only: the flow is too far from "
                "the target; train longer on more data"
            )
        last, log_w = b, walkers.log_w
        b = _next_rung(log_w, last, settings.conditional_ess * n)
        walkers = _resampled(rng, walkers, (b - last) * log_w, n)
    bs, steps, rungs, accepted = zip(*found, strict=True)
    stacked = Walkers(*(np.stack(parts) for parts in zip(*rungs, strict=True)))
    return Rungs(np.array(bs), np.stack(steps, axis=1), stacked, np.array(accepted))


def starts_of(rungs: Rungs, settings: LatentLadder) -> Walkers:
    """Walkers of every rung ``(features, K, R)``, R = n_walkers // K different ones of each."""
    k = len(rungs.b)
    r = settings.n_walkers // k
    return Walkers(*(np.moveaxis(a[..., :r], 0, -2) for a in rungs.walkers))


def _overdrawn(key, params, programs, settings, mesh) -> Walkers:
    n_draws = settings.overdrawn * settings.n_walkers // settings.n_fresh
    keys = (replicate(jax.random.fold_in(key, 1000 + i), mesh) for i in range(n_draws))
    parts = [fetch(programs.draw(params, k)) for k in keys]
    return Walkers(*(np.concatenate(part, axis=-1) for part in zip(*parts, strict=True)))


def _log_width(programs, params, walkers: Walkers, b: float, mesh: Mesh) -> np.ndarray:
    """ln of the widths of the coordinates ``(dim_z,)``, 0 at most; clashes count as ten times the 90 %
    quantile."""
    placed = replicate((jnp.asarray(walkers.z), jnp.full(len(walkers.log_w), b, jnp.float32)), mesh)
    force = np.abs(fetch(programs.force(params, *placed)))
    most = 10 * np.quantile(force, 0.9, axis=1, keepdims=True)
    s = np.sqrt(np.pi / 2) * np.minimum(force, most).mean(axis=1)
    return -np.log(np.maximum(s, 1.0))


def _settle(
    key, params, programs, walkers, b, log_step, log_width, mesh
) -> tuple[Walkers, float, float]:
    """MOVES trajectories of each walker, whose time step adapts; the mean acceptance of the later half."""
    n, accepted = len(walkers.log_w), []
    for i in range(MOVES):
        steps = np.repeat((log_step + log_width)[:, None], n, axis=1).astype(np.float32)
        arrays = (walkers, jnp.full(n, b, jnp.float32), jnp.asarray(steps))
        placed = replicate((*arrays, jax.random.fold_in(key, i)), mesh)
        walkers, probability = programs.move(params, *placed)
        accepted.append(float(probability.mean()))
        log_step += (1 + i) ** -0.6 * (accepted[-1] - ACCEPTANCE)
    return fetch(walkers), log_step, float(np.mean(accepted[MOVES // 2 :]))


def _resampled(rng: np.random.Generator, walkers: Walkers, log_w: np.ndarray, n: int) -> Walkers:
    """n walkers by systematic resampling in proportion to exp(log_w), in random order."""
    w = np.exp(log_w - np.max(log_w))
    edges = np.cumsum(w) / w.sum()
    rows = np.minimum(np.searchsorted(edges, (np.arange(n) + rng.random()) / n), len(w) - 1)
    rows = rng.permutation(rows)
    return Walkers(*(np.asarray(a)[..., rows] for a in walkers))


def _kish(log_w: np.ndarray) -> float:
    finite = np.where(np.isfinite(log_w), log_w, -np.inf)
    w = np.exp(finite - finite.max())
    return float(w.sum() ** 2 / np.sum(w**2))


def _next_rung(log_w: np.ndarray, last: float, enough: float) -> float:
    """The largest b in (last, 1] whose weights from the last rung have ``enough`` effective samples, by halving; a
    little above the last where none has."""
    if _kish((1.0 - last) * log_w) >= enough:
        return 1.0
    low, high = last, 1.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        good = _kish((middle - last) * log_w) >= enough
        low, high = (middle, high) if good else (low, middle)
    return max(low, last + 1e-4)
