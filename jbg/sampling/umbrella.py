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

import dataclasses
import functools
import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jbg.interfaces import CollectiveVariable, ConfigError, Key, RunError, State, Target
from jbg.sampling.exchange import check_ladder, swap_neighbours, tempering_ratio
from jbg.sampling.hmc import adapted, trajectory

MIN_ACCEPTANCE = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class UmbrellaConfig:
    """What to simulate. Windows lie at equal distances, the outer ones on the bounds.

    Attributes:
        n_windows: 2 or more.
        bounds: of the window centres; None for the variable's own.
        force_constant: k in kT (at the reference temperature) by squared unit of the variable.
        n_replicas: independent grids of chains; they give the error.
        n_leapfrog: leapfrog steps of one trajectory.
        n_pull: trajectories over which the bias travels from the start to the window's centre.
        n_burn_in: trajectories thrown away after that. The time step adapts in both.
        n_steps: trajectories after burn-in, in every window of every replica.
        stride: trajectories between values kept; divides ``frame_stride``.
        frame_stride: trajectories between frames kept; divides ``n_steps``.
        exchange: whether neighbouring windows, and temperatures, swap.
    """

    n_windows: int = 22
    bounds: tuple[float, float] | None = None
    force_constant: float = 300.0
    n_replicas: int = 16
    n_leapfrog: int = 4
    n_pull: int = 500
    n_burn_in: int = 1500
    n_steps: int = 15_000
    stride: int = 5
    frame_stride: int = 75
    exchange: bool = True

    def __post_init__(self) -> None:
        if self.bounds is not None:
            _check_bounds(self.bounds)
            object.__setattr__(self, "bounds", tuple(map(float, self.bounds)))  # hashable
        if not (math.isfinite(self.force_constant) and self.force_constant > 0):
            raise ConfigError(
                f"umbrella sampling: force_constant must be > 0, got {self.force_constant}"
            )
        least = {"n_windows": 2, "n_burn_in": 0}
        for field in dataclasses.fields(self):
            value, low = getattr(self, field.name), least.get(field.name, 1)
            if field.type is int and value < low:
                raise ConfigError(
                    f"umbrella sampling: {field.name} must be at least {low}, got {value}"
                )
        if self.frame_stride % self.stride or self.n_steps % self.frame_stride:
            raise ConfigError(
                "umbrella sampling: stride must divide frame_stride, and that n_steps, got"
                f" {self.stride}, {self.frame_stride} and {self.n_steps}"
            )

    @property
    def evaluations_per_tau(self) -> int:
        """Energies with gradients: one for each leapfrog step and each start of a trajectory."""
        n_trajectories = self.n_pull + self.n_burn_in + self.n_steps
        return self.n_windows * self.n_replicas * n_trajectories * (self.n_leapfrog + 1)


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
    _check_bounds(bounds)
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
    program = _program(target, variable, states, config, key, first[..., 0], *numbers)
    with ThreadPoolExecutor(n_programs) as pool:
        jobs = [
            pool.submit(program, jax.random.fold_in(key, p), first[..., p], *numbers)
            for p in range(n_programs)
        ]
        parts = [jax.device_get(job.result()) for job in jobs]
    return _collected(parts, ladder, centres, origin, config)


def _check_bounds(bounds: tuple[float, float]) -> None:
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(
            f"umbrella sampling: bounds must be finite and rising, got ({low}, {high});"
            " give (lowest, highest) centre"
        )


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


class _Chains(NamedTuple):
    """State of a run; the batch is (T, W, R)."""

    x: Array  # (dim, T, W, R)
    log_step: Array  # (T, W)
    accepted: Array  # (T, W)
    window_swaps: Array  # (T, W - 1)
    tau_swaps: Array  # (T - 1, W)


@functools.lru_cache(maxsize=8)
def _program_of_shapes(target, variable, states, config, key_dtype, shapes, dtype):
    run = functools.partial(_run, target=target, variable=variable, states=states, config=config)
    key = jax.ShapeDtypeStruct((), key_dtype)
    return jax.jit(run).lower(key, *(jax.ShapeDtypeStruct(s, dtype) for s in shapes)).compile()


def _program(target, variable, states, config, key: Key, *arrays: Array):
    """The compiled run, made once before threads ask for it."""
    shapes = tuple(a.shape for a in arrays)
    return _program_of_shapes(target, variable, states, config, key.dtype, shapes, arrays[0].dtype)


def _run(
    key: Key,
    start: Array,
    centres: Array,
    taus: Array,
    *,
    target: Target,
    variable: CollectiveVariable,
    states: tuple[State, ...],
    config: UmbrellaConfig,
) -> tuple[Array, ...]:
    """Values, membership, frames, values of the frames, time steps and accepted shares from start ``(dim, R)``."""
    shape = (len(taus), len(centres), start.shape[1])
    n_adapt = config.n_pull + config.n_burn_in
    first_centre = jnp.broadcast_to(variable.of(start), shape)
    last_centre = jnp.broadcast_to(centres[None, :, None], shape)

    def advance(i: Array, chains: _Chains) -> _Chains:
        key_move, key_swap = jax.random.split(jax.random.fold_in(key, i))
        pulled = jnp.minimum((i + 1) / config.n_pull, 1.0).astype(start.dtype)
        centre = first_centre + pulled * (last_centre - first_centre)
        x, energy, probability = trajectory(
            key_move,
            lambda x: target.reduced_energy(x) + bias(variable.of(x), centre, config),
            chains.x,
            step=jnp.exp(chains.log_step)[..., None],
            tau=taus[:, None, None],
            n_leapfrog=config.n_leapfrog,
        )
        acceptance = probability.mean(-1)
        chains = chains._replace(
            x=x,
            log_step=adapted(chains.log_step, acceptance, i, n_adapt=n_adapt),
            accepted=chains.accepted + acceptance,
        )
        if not config.exchange:
            return chains
        along_windows = functools.partial(
            _swap_windows, taus=taus, centre=centre, variable=variable, config=config
        )
        if len(taus) == 1:
            return along_windows(key_swap, chains, energy, i % 2)
        return jax.lax.cond(
            i % 2 == 0, along_windows, functools.partial(_swap_taus, taus=taus),
            key_swap, chains, energy, (i // 2) % 2,
        )  # fmt: skip

    def measure(chains: _Chains, first: Array) -> tuple[_Chains, tuple[Array, Array]]:
        chains = jax.lax.fori_loop(first, first + config.stride, advance, chains)
        inside = [state.contains(chains.x) for state in states]
        inside = jnp.stack(inside) if inside else jnp.zeros((0, *shape), bool)
        return chains, (variable.of(chains.x), inside)

    def record(chains: _Chains, first: Array) -> tuple[_Chains, tuple[Array, ...]]:
        starts = first + config.stride * jnp.arange(config.frame_stride // config.stride)
        chains, (values, inside) = jax.lax.scan(measure, chains, starts)
        return chains, (values, inside, chains.x, values[-1])

    counters = {
        "accepted": jnp.zeros(shape[:2], start.dtype),
        "window_swaps": jnp.zeros((shape[0], shape[1] - 1), start.dtype),
        "tau_swaps": jnp.zeros((shape[0] - 1, shape[1]), start.dtype),
    }
    # a twentieth of the bias's own width: safe to start from, and adapted upwards
    step = 0.05 * jnp.sqrt(taus / config.force_constant)[:, None]
    chains = _Chains(
        x=jnp.broadcast_to(start[:, None, None], (start.shape[0], *shape)),
        log_step=jnp.broadcast_to(jnp.log(step), shape[:2]),
        **counters,
    )
    chains = jax.lax.fori_loop(0, n_adapt, advance, chains)._replace(**counters)
    starts = n_adapt + config.frame_stride * jnp.arange(config.n_steps // config.frame_stride)
    chains, kept = jax.lax.scan(record, chains, starts)
    # each pair is tried in every second turn, of which there is one kind or two
    n_tried = config.n_steps / (2 if len(taus) == 1 else 4)
    return (
        *kept,
        jnp.exp(chains.log_step),
        chains.accepted / config.n_steps,
        chains.window_swaps / n_tried,
        chains.tau_swaps / n_tried,
    )


def bias(value: Array, centre: Array, config: UmbrellaConfig) -> Array:
    """k/2 (r - r_i)^2 in kT at the reference temperature."""
    return 0.5 * config.force_constant * (value - centre) ** 2


def _swap_windows(key, chains: _Chains, _, parity, *, taus, centre, variable, config) -> _Chains:
    """Windows i and i + 1 swap; u cancels, the change of the biases is divided by tau."""
    value = variable.of(chains.x)
    b = lambda value, centre: bias(value, centre, config)
    before = b(value[:, :-1], centre[:, :-1]) + b(value[:, 1:], centre[:, 1:])
    after = b(value[:, 1:], centre[:, :-1]) + b(value[:, :-1], centre[:, 1:])
    log_ratio = (before - after) / taus[:, None, None]
    x, swapped = swap_neighbours(key, chains.x, log_ratio, axis=1, parity=parity)
    total = chains.window_swaps + swapped.mean(-1, dtype=x.dtype)
    return chains._replace(x=x, window_swaps=total)


def _swap_taus(key, chains: _Chains, energy, parity, *, taus) -> _Chains:
    """Temperatures i and i + 1 swap within a window; ``energy`` is u + bias."""
    log_ratio = tempering_ratio(energy, taus)
    x, swapped = swap_neighbours(key, chains.x, log_ratio, axis=0, parity=parity)
    return chains._replace(x=x, tau_swaps=chains.tau_swaps + swapped.mean(-1, dtype=x.dtype))
