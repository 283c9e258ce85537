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

A run goes in rounds of ``frame_stride`` trajectories. All random numbers of a trajectory come from
(key, its number), so that a run goes on bit-identically from the state after any round.

References: Torrie & Valleau 1977, doi:10.1016/0021-9991(77)90121-8; Sugita, Kitao & Okamoto 2000,
doi:10.1063/1.1308516 (exchange between windows and temperatures).
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jbg.interfaces import CollectiveVariable, ConfigError, Key, RunError, State, Target
from jbg.simulation.checks import check_start
from jbg.simulation.exchange import check_ladder
from jbg.simulation.umbrella_config import UmbrellaConfig, check_bounds
from jbg.simulation.umbrella_program import Chains, Program, compiled

__all__ = ["UmbrellaConfig", "UmbrellaSamples", "UmbrellaState", "umbrella_sampling"]

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


class UmbrellaState(NamedTuple):
    """Everything a run needs to go on; host arrays. P programs, n values and m frames of the whole run.

    Replica j belongs to program j mod P. The sums are over trajectories, and start again after burn-in.
    """

    done: int  # trajectories of each chain
    x: np.ndarray  # (dim, T, W, R)
    log_step: np.ndarray  # (P, T, W)
    accepted: np.ndarray  # (P, T, W)
    window_swaps: np.ndarray  # (P, T, W - 1)
    tau_swaps: np.ndarray  # (P, T - 1, W)
    values: np.ndarray  # (n, T, W, R); zero where still to come, as the next two
    in_state: np.ndarray  # (n, S, T, W, R) bool
    frames: np.ndarray  # (m, dim, T, W, R)


def umbrella_sampling(
    key: Key,
    target: Target,
    variable: CollectiveVariable,
    start: ArrayLike,
    *,
    taus: ArrayLike = (1.0,),
    states: tuple[State, ...] = (),
    config: UmbrellaConfig | None = None,
    state: UmbrellaState | None = None,
    on_round: Callable[[UmbrellaState], None] | None = None,
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
        state: as handed to ``on_round`` of the same call, to go on from.
        on_round: called after each round; save or show the state. Its arrays are not changed later, except
            ``values``, ``in_state`` and ``frames``, which fill up in place.

    Returns:
        Values of r in each window, membership of the states, thinned frames, and what was accepted.

    Raises:
        ConfigError: start of the wrong shape or of infinite energy, bounds not rising, taus not
            rising or not > 0, a state whose shapes or rounds are not this run's.
        RunError: a window whose trajectories are hardly ever accepted.
    """
    config = UmbrellaConfig() if config is None else config
    ladder = check_ladder("umbrella sampling", taus)
    bounds = variable.bounds if config.bounds is None else config.bounds
    check_bounds(bounds)
    start = jnp.asarray(start, float)
    _check_starts(start, target, variable)
    origin = np.arange(config.n_replicas) % len(start)
    centres = np.linspace(*bounds, config.n_windows)
    n_programs = math.gcd(config.n_replicas, 4)
    first = start.T[:, origin.reshape(-1, n_programs)]  # (dim, R / programs, programs)
    numbers = (jnp.asarray(centres, start.dtype), jnp.asarray(ladder, start.dtype))
    settings = [(first[..., p], *numbers) for p in range(n_programs)]
    program = compiled(target, variable, states, config, key, *settings[0])
    begun = _initial_state(program, settings, len(states), config)
    state = begun if state is None else _checked(state, begun, config)
    keys = [jax.random.fold_in(key, p) for p in range(n_programs)]
    with ThreadPoolExecutor(n_programs) as pool:
        while state.done < config.n_trajectories:
            state = _round(pool, program, keys, settings, state, config)
            if on_round is not None:
                on_round(state)
    return _collected(state, ladder, centres, origin, config)


def _check_starts(start: Array, target: Target, variable: CollectiveVariable) -> None:
    check_start("umbrella sampling", start, target.dim, "n")
    if not np.isfinite([target.reduced_energy(start.T), variable.of(start.T)]).all():
        raise ConfigError(
            "umbrella sampling: energy or variable of a starting configuration is not finite;"
            " start elsewhere"
        )


def _initial_state(
    program: Program, settings: list[tuple], n_states: int, config: UmbrellaConfig
) -> UmbrellaState:
    chains = _joined([jax.device_get(program.begin(*setting)) for setting in settings])
    x = chains["x"]
    batch, n_kept = x.shape[1:], config.n_steps // config.stride
    return UmbrellaState(
        done=0,
        **chains,
        values=np.zeros((n_kept, *batch), x.dtype),
        in_state=np.zeros((n_kept, n_states, *batch), bool),
        frames=np.zeros((config.n_steps // config.frame_stride, *x.shape), x.dtype),
    )


def _checked(state: UmbrellaState, begun: UmbrellaState, config: UmbrellaConfig) -> UmbrellaState:
    """``state``, of the shapes that this run has."""
    for name, found, ours in zip(state._fields, state, begun, strict=True):
        if np.shape(found) != np.shape(ours):
            raise ConfigError(
                f"umbrella sampling: {name} of the state to go on from has shape {np.shape(found)}, this run"
                f" {np.shape(ours)}; give the key, start and config it was made with"
            )
    done, since = int(state.done), int(state.done) - config.n_adapt
    if since > 0 and since % config.frame_stride or done > config.n_trajectories:
        raise ConfigError(
            f"umbrella sampling: the state to go on from has {done} trajectories, which is no round of this run;"
            " give the key, start and config it was made with"
        )
    return state._replace(done=done)


def _round(
    pool: ThreadPoolExecutor,
    program: Program,
    keys: list[Key],
    settings: list[tuple],
    state: UmbrellaState,
    config: UmbrellaConfig,
) -> UmbrellaState:
    """The next ``frame_stride`` trajectories, or what is left of burn-in; each program in its thread."""
    n_programs = len(settings)
    burn_in = state.done < config.n_adapt
    last = state.done + config.frame_stride
    if burn_in:
        last = min(last, config.n_adapt)

    def run(p: int):
        sums = (state.log_step, state.accepted, state.window_swaps, state.tau_swaps)
        parts = (state.x[..., p::n_programs], *(of_programs[p] for of_programs in sums))
        chains = Chains(*map(jnp.asarray, parts))
        first = np.int32(state.done)
        if burn_in:
            done = program.adapt(keys[p], chains, first, np.int32(last), *settings[p])
            return jax.device_get(done), None
        return jax.device_get(program.sample(keys[p], chains, first, *settings[p]))

    chains, kept = zip(*pool.map(run, range(n_programs)), strict=True)
    state = state._replace(done=last, **_joined(chains))
    if last == config.n_adapt:
        sums = ("accepted", "window_swaps", "tau_swaps")
        state = state._replace(**{name: np.zeros_like(getattr(state, name)) for name in sums})
    if not burn_in:
        frame = (last - config.n_adapt) // config.frame_stride - 1
        n_values = config.frame_stride // config.stride
        rows = slice(frame * n_values, (frame + 1) * n_values)
        state.frames[frame] = state.x
        for p, (values, in_state) in enumerate(kept):
            state.values[rows, ..., p::n_programs] = values
            state.in_state[rows, ..., p::n_programs] = in_state
    return state


def _joined(parts: Sequence[Chains]) -> dict[str, np.ndarray]:
    """Host arrays of all programs by name, as `UmbrellaState` has them."""
    x, *sums = (np.stack(arrays) for arrays in zip(*parts, strict=True))
    joined = np.moveaxis(x, 0, -1).reshape(*x.shape[1:-1], -1)
    return dict(zip(Chains._fields, (joined, *sums), strict=True))


def _collected(
    state: UmbrellaState,
    taus: np.ndarray,
    centres: np.ndarray,
    origin: np.ndarray,
    config: UmbrellaConfig,
) -> UmbrellaSamples:
    acceptance = np.mean(state.accepted / config.n_steps, axis=0)
    t, w = np.unravel_index(np.argmin(acceptance), acceptance.shape)
    if not acceptance[t, w] > MIN_ACCEPTANCE:
        raise RunError(
            f"umbrella sampling: {acceptance[t, w]:.0%} of the trajectories in the window at"
            f" {centres[w]:.4g}, tau={taus[t]:.4g} are accepted; lengthen n_pull and n_burn_in"
        )
    # each pair is tried in every second turn, of which there is one kind or two
    n_tried = config.n_steps / (2 if len(taus) == 1 else 4)
    n_values = config.frame_stride // config.stride
    return UmbrellaSamples(
        taus=taus,
        centres=centres,
        force_constant=config.force_constant,
        values=state.values,
        in_state=state.in_state,
        frames=np.moveaxis(state.frames, 1, -1),
        frame_values=state.values[n_values - 1 :: n_values],
        origin=origin,
        steps=np.mean(np.exp(state.log_step), axis=0),
        acceptance=acceptance,
        window_swaps=np.mean(state.window_swaps / n_tried, axis=0),
        tau_swaps=np.mean(state.tau_swaps / n_tried, axis=0),
        energy_evaluations=len(taus) * config.evaluations_per_tau,
    )
