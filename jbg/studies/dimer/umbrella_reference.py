"""A system's free-energy difference by umbrella sampling, MBAR and exchange between temperatures.

One call simulates, solves and checks: halves of the run and replicas pulled from different starting
configurations have to agree, or there is a reason in place of a number.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from jbg.analysis.free_energy import FreeEnergyDifference, Profile
from jbg.analysis.mbar import MbarWeights, umbrella_log_weights, umbrella_weights
from jbg.analysis.mbar_estimates import (
    mbar_difference,
    mbar_profile,
    replica_differences,
    umbrella_drift,
)
from jbg.interfaces import CollectiveVariable, ConfigError, Key, State, System
from jbg.reweighting import relative_weights, resample
from jbg.simulation.exchange import check_ladder
from jbg.simulation.umbrella import (
    UmbrellaConfig,
    UmbrellaSamples,
    UmbrellaState,
    umbrella_sampling,
)
from jbg.targets import make_target

MAX_RATIO = 1.5  # of neighbouring temperatures: the dimer in its bath swaps 15 % at 1.41
CHANCE = 1e-3  # of refusing a sound run, by each check
DIMER_UMBRELLA = UmbrellaConfig(bounds=(0.7, 2.3))
"""For ``lj_dimer()``: beyond these bounds F lies 15 kT and more above its minima at tau = 1."""


class TauReference(NamedTuple):
    """What one temperature says; free energies in kT at that temperature."""

    tau: float
    difference: FreeEnergyDifference  # F(second state) - F(first)
    profile: Profile  # along the collective variable
    drift: float  # second half of the run minus first; standard error 2 difference.stderr
    hysteresis: tuple[float, float] | None  # last origin minus first, and standard error
    frames: tuple[np.ndarray, np.ndarray]  # (n, dim) of each state, equilibrium within it
    least_overlap: float  # of neighbouring windows


class UmbrellaReference(NamedTuple):
    """``by_tau`` in the order asked for; ``samples`` also hold the temperatures put in between."""

    by_tau: tuple[TauReference, ...]
    states: tuple[State, State]
    samples: UmbrellaSamples


def umbrella_reference(
    key: Key,
    system: System,
    taus: ArrayLike = (1.0,),
    *,
    states: tuple[State, State] | None = None,
    config: UmbrellaConfig | None = None,
    edges: ArrayLike | None = None,
    n_frames: int = 10_000,
    state: UmbrellaState | None = None,
    on_round: Callable[[UmbrellaState], None] | None = None,
) -> UmbrellaReference:
    """F(second) - F(first state) of a system along its collective variable, at several temperatures.

    Neighbouring temperatures exchange configurations; where they are further apart than a factor
    MAX_RATIO, further ones are simulated between them.

    Args:
        key: PRNG key.
        system: energy in kT, written in JAX, with a collective variable.
        taus: relative temperatures, rising.
        states: the pair; the system's first two if None.
        config: what to simulate; the defaults over the variable's own bounds if None.
        edges: of the profile's bins; 100 bins between the outer windows if None.
        n_frames: frames of each state and temperature to return at most.
        state: of an earlier call that was interrupted, to resume from.
        on_round: told the state of the simulation after each of its rounds (`umbrella_sampling`).

    Returns:
        For each temperature the difference, profile and checks; frames drawn by weight from the kept
        ones of each state, none of them twice and in random order, for training by example.

    Raises:
        ConfigError: a system without collective variable or two states, not in kT, or bad settings.
        RunError: windows that do not overlap.
    """
    variable = system.collective_variable
    if not isinstance(variable, CollectiveVariable):
        raise ConfigError(
            f"umbrella reference: {system.name} has no collective variable; give its System one"
        )
    pair = _two(system, system.states[:2] if states is None else states)
    asked = check_ladder("umbrella reference", taus)
    ladder = filled_ladder(asked)
    samples = umbrella_sampling(
        key,
        make_target(system),
        variable,
        system.start,
        taus=ladder,
        states=pair,
        config=config,
        state=state,
        on_round=on_round,
    )
    if edges is None:
        edges = np.linspace(samples.centres[0], samples.centres[-1], 101)
    seeds = np.asarray(jax.random.key_data(key), np.uint32).ravel().tolist()
    rng = np.random.default_rng(seeds)
    by_tau = [
        _at(samples, int(t), pair, np.asarray(edges), n_frames, rng)
        for t in np.searchsorted(ladder, asked)
    ]
    return UmbrellaReference(tuple(by_tau), pair, samples)


def _two(system: System, states: Sequence[State]) -> tuple[State, State]:
    if len(states) != 2:
        raise ConfigError(
            f"umbrella reference: needs two states, {system.name} has {len(states)}; pass states"
        )
    return states[0], states[1]


def filled_ladder(taus: np.ndarray) -> np.ndarray:
    """``taus`` with as few more between them, geometrically, as keep ratios within MAX_RATIO."""
    ladder = [taus[:1]]
    for low, high in zip(taus[:-1], taus[1:], strict=True):
        n = math.ceil(math.log(high / low) / math.log(MAX_RATIO) - 1e-9)
        between = low * (high / low) ** (np.arange(1, n) / n)
        ladder += [between, [high]]  # ends stay bit for bit what was asked for
    return np.concatenate(ladder)


def _at(
    samples: UmbrellaSamples,
    t: int,
    states: tuple[State, State],
    edges: np.ndarray,
    n_frames: int,
    rng: np.random.Generator,
) -> TauReference:
    tau = float(samples.taus[t])
    windows = (samples.centres, samples.force_constant)
    values = samples.values[:, t]
    in_a, in_b = samples.in_state[:, 0, t], samples.in_state[:, 1, t]
    weights = umbrella_weights(values, *windows, tau=tau)
    difference = mbar_difference(weights, in_a, in_b)
    drift, hysteresis = math.nan, None
    if difference.value is not None:
        drift = umbrella_drift(values, in_a, in_b, *windows, tau=tau)
        hysteresis = _hysteresis(replica_differences(weights, in_a, in_b), samples.origin)
        difference = _checked(difference, drift, hysteresis, n_replicas=values.shape[2])
    in_first, in_second = (_drawn(samples, t, weights, state, n_frames, rng) for state in states)
    return TauReference(
        tau=tau,
        difference=difference,
        profile=mbar_profile(weights, values, edges),
        drift=drift,
        hysteresis=hysteresis,
        frames=(in_first, in_second),
        least_overlap=float(np.diag(weights.overlap, 1).min()),
    )


def _hysteresis(differences: np.ndarray, origin: np.ndarray) -> tuple[float, float] | None:
    groups = [differences[origin == o] for o in (origin.min(), origin.max())]
    if origin.min() == origin.max() or min(map(len, groups)) < 2:
        return None
    stderr = math.sqrt(sum(g.var(ddof=1) / len(g) for g in groups))
    return float(groups[1].mean() - groups[0].mean()), stderr


def _checked(
    difference: FreeEnergyDifference,
    drift: float,
    hysteresis: tuple[float, float] | None,
    *,
    n_replicas: int,
) -> FreeEnergyDifference:
    """The difference, or a reason if the run contradicts itself; unchanged where its error is unknown."""
    if difference.stderr is None:
        return difference
    checks = [("the halves of the run", drift, 2 * difference.stderr, n_replicas - 1)]
    if hysteresis is not None:
        what = "replicas from different starting configurations"
        checks.append((what, *hysteresis, n_replicas - 2))
    for what, value, stderr, freedom in checks:
        if abs(value) > stats.t.ppf(1 - CHANCE / 2, freedom) * stderr:
            reason = f"{what} differ by {value:.2f} +- {stderr:.2f} kT; lengthen n_burn_in"
            return FreeEnergyDifference(None, None, None, reason)
    return difference


def _drawn(
    samples: UmbrellaSamples,
    t: int,
    weights: MbarWeights,
    state: State,
    n_frames: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Frames ``(n, dim)`` of a state; as many as can be drawn by weight without a repeat."""
    log_w = umbrella_log_weights(
        weights,
        samples.frame_values[:, t],
        samples.centres,
        samples.force_constant,
        tau=float(samples.taus[t]),
    ).ravel()
    frames = samples.frames[:, t].reshape(len(log_w), -1)
    log_w = np.where(state.contains(frames.T), log_w, -np.inf)
    if not np.isfinite(log_w).any():
        return frames[:0]
    n = min(n_frames, math.floor(relative_weights(log_w).sum()))
    return frames[rng.permutation(resample(rng, log_w, n))]
