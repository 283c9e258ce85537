"""Umbrella sampling along a collective variable, at one or several temperatures.

Window i samples exp(-(u + b_i) / tau) with the harmonic bias b_i = k/2 (r - r_i)^2 in kT at the
reference temperature; the bias is divided by tau as the energy is. A replica is a grid of chains, all
temperatures by all windows, independent of the other replicas. Every chain makes one hybrid
Monte-Carlo trajectory; then neighbours on the grid try to swap configurations, along the windows and
along the temperatures in turn. What relaxes slowly in a window (a dense bath, say) then has a way
round, along r and through the highest temperature.

Replicas start from known configurations in turn and are pulled into their windows: replicas from
different ends that disagree show hysteresis. Time steps adapt during burn-in and are frozen
afterwards. Free energies come from :mod:`jbg.analysis.mbar`.

References: Torrie & Valleau 1977, doi:10.1016/0021-9991(77)90121-8; Sugita, Kitao & Okamoto 2000,
doi:10.1063/1.1308516 (exchange between windows and temperatures).
"""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jbg.interfaces import CollectiveVariable, ConfigError, Key, RunError, State, Target
from jbg.sampling.exchange import check_ladder
from jbg.sampling.umbrella_config import UmbrellaConfig, check_bounds
from jbg.sampling.umbrella_program import compiled

__all__ = ["UmbrellaConfig", "UmbrellaSamples", "umbrella_sampling"]

MIN_ACCEPTANCE = 0.2


class UmbrellaSamples(NamedTuple):
    """Host arrays. T temperatures, W windows, R replicas; n values and m frames of each chain."""

    taus: np.ndarray  # (T,)
    centres: np.ndarray  # (W,) rising
    force_constant: float  # k, kT at the reference temperature
    values: np.ndarray  # (n, T, W, R) of the collective variable
    in_state: np.ndarray  # (n, S, T, W, R) bool, for each of the states asked for
    frames: np.ndarray  # (m, T, W, R, dim)
    frame_values: np.ndarray  # (m, T, W, R)
    origin: np.ndarray  # (R,) int, the row of ``start`` that a replica was pulled from
    steps: np.ndarray  # (T, W) time steps, mean over the programs
    acceptance: np.ndarray  # (T, W) of trajectories, after burn-in
    window_swaps: np.ndarray  # (T, W - 1) accepted share of swaps along the windows
    tau_swaps: np.ndarray  # (T - 1, W) the same along the temperatures
    energy_evaluations: int  # with gradients


def umbrella_sampling(
    key: Key,
    target: Target,
    variable: CollectiveVariable,
    start: ArrayLike,
    *,
    taus: ArrayLike = (1.0,),
    states: tuple[State, ...] = (),
    config: UmbrellaConfig | None = None,
) -> UmbrellaSamples:
    """Sample every window of every replica at every temperature.

    The replicas are dealt to one, two or four programs, whichever divides them, which run in
    threads; the numbers do not depend on how many cores there are.

    Args:
        key: PRNG key.
        target: density, with a gradient; the same objects compile once.
        variable: r, with a gradient.
        start: ``(n, dim)`` known configurations, such as one closed and one open: replica j starts
            from row j mod n.
        taus: relative temperatures, rising; close enough to swap, if they are to help each other.
        states: S regions; membership is kept beside each value of r.
        config: what to simulate; the defaults if None.

    Returns:
        Values of r in each window, membership of the states, thinned frames, and what was accepted.

    Raises:
        ConfigError: start of the wrong shape or of infinite energy, bounds not rising, taus not
            rising or not > 0.
        RunError: a window whose trajectories are hardly ever accepted.
    """
    config = UmbrellaConfig() if config is None else config
    ladder = check_ladder("umbrella sampling", taus)
    bounds = variable.bounds if config.bounds is None else config.bounds
    check_bounds(bounds)
    start = jnp.asarray(start)
    if start.ndim != 2 or start.shape[1] != target.dim:
        raise ConfigError(
            f"umbrella sampling: start must be (n, {target.dim}), got {start.shape};"
            " give one configuration in each row"
        )
    if not np.isfinite([target.reduced_energy(start.T), variable.of(start.T)]).all():
        raise ConfigError(
            "umbrella sampling: energy or variable of a starting configuration is not finite;"
            " start elsewhere"
        )
    origin = np.arange(config.n_replicas) % len(start)
    centres = np.linspace(*bounds, config.n_windows)
    n_programs = math.gcd(config.n_replicas, 4)
    first = start.T[:, origin.reshape(-1, n_programs)]  # (dim, R / programs, programs)
    numbers = (jnp.asarray(centres, start.dtype), jnp.asarray(ladder, start.dtype))
    program = compiled(target, variable, states, config, key, first[..., 0], *numbers)
    with ThreadPoolExecutor(n_programs) as pool:
        jobs = [
            pool.submit(program, jax.random.fold_in(key, p), first[..., p], *numbers)
            for p in range(n_programs)
        ]
        parts = [jax.device_get(job.result()) for job in jobs]
    return _collected(parts, ladder, centres, origin, config)


def _collected(
    parts: list[tuple[np.ndarray, ...]],
    taus: np.ndarray,
    centres: np.ndarray,
    origin: np.ndarray,
    config: UmbrellaConfig,
) -> UmbrellaSamples:
    """Replica j came from program j mod n_programs."""

    def interleaved(arrays: tuple[np.ndarray, ...]) -> np.ndarray:
        joined = np.stack(arrays, axis=-1)
        return joined.reshape(*joined.shape[:-2], joined.shape[-2] * joined.shape[-1])

    columns = list(zip(*parts, strict=True))
    values, in_state, frames, frame_values = map(interleaved, columns[:4])
    steps, acceptance, window_swaps, tau_swaps = (np.mean(c, axis=0) for c in columns[4:])
    n_kept = config.n_steps // config.stride
    t, w = np.unravel_index(np.argmin(acceptance), acceptance.shape)
    if not acceptance[t, w] > MIN_ACCEPTANCE:
        raise RunError(
            f"umbrella sampling: {acceptance[t, w]:.0%} of the trajectories in the window at"
            f" {centres[w]:.4g}, tau={taus[t]:.4g} are accepted; lengthen n_pull and n_burn_in"
        )
    return UmbrellaSamples(
        taus=taus,
        centres=centres,
        force_constant=config.force_constant,
        values=values.reshape(n_kept, *values.shape[2:]),
        in_state=in_state.reshape(n_kept, *in_state.shape[2:]),
        frames=np.moveaxis(frames, 1, -1),
        frame_values=frame_values,
        origin=origin,
        steps=steps,
        acceptance=acceptance,
        window_swaps=window_swaps,
        tau_swaps=tau_swaps,
        energy_evaluations=len(taus) * config.evaluations_per_tau,
    )
