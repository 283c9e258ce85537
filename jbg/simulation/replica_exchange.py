"""Replica exchange with hybrid Monte-Carlo moves: the exact ensemble, whatever the time step.

Several independent ladders of temperatures run side by side; that they agree is the error
estimate. In each round every replica tries random torsion rotations, then one leapfrog trajectory
from fresh Maxwell-Boltzmann momenta, accepted with min(1, exp(-dH / kT)); then neighbours in
temperature try to swap with min(1, exp((1/kT_i - 1/kT_j) (U_i - U_j))), even and odd pairs in
turn. The momenta are an aid only, so masses may be any (see `heavy_hydrogen_masses`). All
random numbers of a round come from (seed, round): any round can be resumed bit-identically, with
any number of OpenMM workers; compiled energies repeat their bits on one machine and number of
cores.

References: Duane et al. 1987, doi:10.1016/0370-2693(87)91197-X; Sugita & Okamoto 1999,
doi:10.1016/S0009-2614(99)01123-9.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from jbg.interfaces import ConfigError, RunError
from jbg.simulation.replica_exchange_config import ReplicaExchangeConfig
from jbg.simulation.torsion_rotation import RotatableBond, rotate
from jbg.units import K_B


class DynamicsPool(Protocol):
    """Batched physics on host arrays (B, atoms, 3); nm, ps, dalton, kJ/mol. See ``ContextPool``."""

    masses: np.ndarray

    def energies_and_forces(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...

    def leapfrog(self, x, v, f, dt_ps: float, n_steps: int) -> tuple[np.ndarray, ...]:
        """``n_steps`` of velocity Verlet for each of B independent replicas.

        Args:
            x: positions.
            v: velocities at the same time, nm/ps.
            f: forces at ``x``, kJ/mol/nm.
            dt_ps: time step in ps.
            n_steps: number of steps.

        Returns:
            Positions, velocities, energies ``(B,)`` and forces at the end; not finite where a replica blew up.
        """
        ...


class ExchangeState(NamedTuple):
    """Everything a run needs to go on; plain arrays. L ladders, T temperatures, A atoms.

    The counters start again when burn-in is over.
    """

    round: int
    positions: np.ndarray  # (L, T, A, 3) nm
    energies: np.ndarray  # (L, T) kJ/mol
    forces: np.ndarray  # (L, T, A, 3)
    walkers: np.ndarray  # (L, T) int, which walker sits at each temperature
    # (L, T) int, of each walker: 1 after the lowest temperature, -1 after the highest
    heading: np.ndarray
    trajectories_accepted: np.ndarray  # (T,) int
    rotations_accepted: np.ndarray  # (T,) int
    swaps_accepted: np.ndarray  # (T - 1,) int
    # (L,) int, returns of walkers from the highest temperature to the lowest
    round_trips: np.ndarray
    # (n_records, L, A, 3) float32, at the lowest temperature; zero where still to come
    frames: np.ndarray
    frame_energies: np.ndarray  # (n_records, L)
    frame_walkers: np.ndarray  # (n_records, L) int, which walker each frame is of


def replica_exchange(
    pool: DynamicsPool,
    config: ReplicaExchangeConfig,
    start: np.ndarray,
    *,
    seed: int,
    rotatable: tuple[RotatableBond, ...] = (),
    state: ExchangeState | None = None,
    on_round: Callable[[ExchangeState], None] | None = None,
) -> ExchangeState:
    """Run to the end of ``config``, from ``start`` or from a saved ``state``.

    Args:
        pool: evaluates energies and trajectories.
        config: what to simulate.
        start: (atoms, 3) nm, where every replica begins, or (n_ladders, atoms, 3), one structure
            for the replicas of each ladder (`dispersed_starts`).
        seed: of all random numbers.
        rotatable: bonds for torsion rotations; none are tried if empty.
        state: as handed to ``on_round``, to go on from.
        on_round: called after each round; save or show the state. Its arrays are not changed later,
            except ``frames``, ``frame_energies`` and ``frame_walkers``, which fill up in place.

    Returns:
        The last state.

    Raises:
        RunError: the energy of ``start`` is not finite.
    """
    state = initial_state(pool, config, start) if state is None else state
    while state.round < config.total_rounds:
        rng = np.random.Generator(np.random.Philox(key=[seed, state.round]))
        state = _rotations(pool, config, rotatable, state, rng)
        state = _trajectories(pool, config, state, rng)
        state = _swaps(config, state, rng)
        state = _record(config, state)
        if on_round is not None:
            on_round(state)
    return state


def initial_state(
    pool: DynamicsPool, config: ReplicaExchangeConfig, start: np.ndarray
) -> ExchangeState:
    """All replicas of a ladder at ``start``, one for all ``(atoms, 3)`` or one for each; burn-in
    heats them.
    """
    shape = (config.n_ladders, len(config.temperatures))
    start = np.asarray(start, float)
    each = start if start.ndim == 3 else np.broadcast_to(start, (shape[0], *start.shape))
    if len(each) != config.n_ladders:
        raise ConfigError(
            f"replica exchange: start must be one structure or one for each of {config.n_ladders} "
            f"ladders, got {len(each)}"
        )
    positions = np.repeat(each[:, None], shape[1], axis=1)
    energy, force = pool.energies_and_forces(_flat(positions))
    if not (np.isfinite(energy).all() and np.isfinite(force).all()):
        raise RunError("replica exchange: the energy of a starting structure is not finite")
    n_temperatures = shape[1]
    return ExchangeState(
        round=0,
        positions=positions,
        energies=energy.reshape(shape),
        forces=force.reshape(positions.shape),
        walkers=np.broadcast_to(np.arange(n_temperatures), shape).copy(),
        heading=np.ones(shape, int),
        trajectories_accepted=np.zeros(n_temperatures, int),
        rotations_accepted=np.zeros(n_temperatures, int),
        swaps_accepted=np.zeros(n_temperatures - 1, int),
        round_trips=np.zeros(config.n_ladders, int),
        frames=np.zeros((config.n_records, config.n_ladders, *positions.shape[2:]), np.float32),
        frame_energies=np.zeros((config.n_records, config.n_ladders)),
        frame_walkers=np.zeros((config.n_records, config.n_ladders), int),
    )


def acceptance(config: ReplicaExchangeConfig, state: ExchangeState) -> dict[str, np.ndarray]:
    """Accepted fractions: ``trajectories`` (T,), ``rotations`` (T,), ``swaps`` (T - 1,).

    Of all rounds since burn-in, or of those so far while it lasts.
    """
    first = config.n_burn_in if state.round > config.n_burn_in else 0
    tried = max(state.round - first, 1) * config.n_ladders
    parity = np.arange(len(config.temperatures) - 1) % 2
    swaps_tried = (state.round + 1 - parity) // 2 - (first + 1 - parity) // 2
    swaps_tried = np.maximum(swaps_tried, 1) * config.n_ladders
    return {
        "trajectories": state.trajectories_accepted / tried,
        "rotations": state.rotations_accepted / (tried * max(config.n_rotations, 1)),
        "swaps": state.swaps_accepted / swaps_tried,
    }


def _rotations(pool, config, rotatable, state: ExchangeState, rng) -> ExchangeState:
    """Metropolis torsion rotations of every replica; forces come along for the trajectory after."""
    if not rotatable:
        return state
    beta = _betas(config)
    for _ in range(config.n_rotations):
        chosen = rng.integers(len(rotatable), size=state.energies.shape)
        angles = rng.uniform(-np.pi, np.pi, size=state.energies.shape)
        draw = rng.random(state.energies.shape)
        x = rotate(_flat(state.positions), rotatable, chosen.ravel(), angles.ravel())
        energy, force = pool.energies_and_forces(x)
        energy = energy.reshape(state.energies.shape)
        accept = _metropolis(draw, -beta * (energy - state.energies))
        state = _take(state, accept, x, energy, force)._replace(
            rotations_accepted=state.rotations_accepted + accept.sum(0)
        )
    return state


def _trajectories(pool, config, state: ExchangeState, rng) -> ExchangeState:
    """One hybrid Monte-Carlo trajectory of every replica at its own temperature."""
    beta = _betas(config)
    shape = state.positions.shape
    masses = pool.masses[:, None]
    velocities = rng.standard_normal(shape) / np.sqrt(beta[:, None, None] * masses)
    heated = min(1.0, 0.2 + 0.8 * (state.round + 1) / max(config.n_burn_in, 1))
    timestep = config.timestep_ps * heated * rng.uniform(0.9, 1.1)
    draw = rng.random(state.energies.shape)
    x, v, energy, force = pool.leapfrog(
        *map(_flat, (state.positions, velocities, state.forces)), timestep, config.n_steps
    )
    kinetic_before = 0.5 * (masses * velocities**2).sum((-2, -1))
    kinetic_after = 0.5 * (masses * v.reshape(shape) ** 2).sum((-2, -1))
    energy = energy.reshape(state.energies.shape)
    change = energy + kinetic_after - state.energies - kinetic_before
    accept = _metropolis(draw, -beta * change)
    return _take(state, accept, x, energy, force)._replace(
        trajectories_accepted=state.trajectories_accepted + accept.sum(0)
    )


def _swaps(config, state: ExchangeState, rng) -> ExchangeState:
    """Swap neighbours in temperature: pairs (0, 1), (2, 3), ... in even rounds, the rest in odd."""
    beta = _betas(config)
    lower = np.arange(state.round % 2, len(beta) - 1, 2)
    draw = rng.random((config.n_ladders, len(lower)))
    gain = (beta[lower] - beta[lower + 1]) * (
        state.energies[:, lower] - state.energies[:, lower + 1]
    )
    ladder, pair = np.nonzero(_metropolis(draw, gain))
    order = np.broadcast_to(np.arange(len(beta)), state.energies.shape).copy()
    order[ladder, lower[pair]] += 1
    order[ladder, lower[pair] + 1] -= 1
    rows = np.arange(config.n_ladders)[:, None]
    swaps_accepted = state.swaps_accepted + np.bincount(lower[pair], minlength=len(beta) - 1)
    return _count_round_trips(
        state._replace(
            positions=state.positions[rows, order],
            energies=state.energies[rows, order],
            forces=state.forces[rows, order],
            walkers=state.walkers[rows, order],
            swaps_accepted=swaps_accepted,
        )
    )


def _count_round_trips(state: ExchangeState) -> ExchangeState:
    """A walker turns round at either end of the ladder; back at the bottom it has made one trip."""
    rows = np.arange(len(state.walkers))
    heading = state.heading.copy()
    returned = heading[rows, state.walkers[:, 0]] == -1
    heading[rows, state.walkers[:, -1]] = -1
    heading[rows, state.walkers[:, 0]] = 1
    return state._replace(heading=heading, round_trips=state.round_trips + returned)


def _record(config, state: ExchangeState) -> ExchangeState:
    """Count the round; after burn-in keep the frames of the lowest temperature."""
    done = state.round + 1
    record, rest = divmod(done - config.n_burn_in, config.record_every)
    if rest == 0 and 0 < record <= config.n_records:
        state.frames[record - 1] = state.positions[:, 0]
        state.frame_energies[record - 1] = state.energies[:, 0]
        state.frame_walkers[record - 1] = state.walkers[:, 0]
    if done == config.n_burn_in:
        counters = ("trajectories_accepted", "rotations_accepted", "swaps_accepted", "round_trips")
        state = state._replace(**{name: np.zeros_like(getattr(state, name)) for name in counters})
    return state._replace(round=done)


def _take(state: ExchangeState, accept, x, energy, force) -> ExchangeState:
    """``state`` with the proposals ``x`` (L * T, A, 3) taken where ``accept`` (L, T)."""
    chosen = accept[:, :, None, None]
    return state._replace(
        positions=np.where(chosen, x.reshape(state.positions.shape), state.positions),
        energies=np.where(accept, energy, state.energies),
        forces=np.where(chosen, force.reshape(state.forces.shape), state.forces),
    )


def _metropolis(draw: np.ndarray, log_ratio: np.ndarray) -> np.ndarray:
    """Accept with probability min(1, exp(log_ratio)); never where it is nan (it blew up)."""
    with np.errstate(divide="ignore"):
        return np.log(draw) < log_ratio


def _betas(config: ReplicaExchangeConfig) -> np.ndarray:
    return 1.0 / (K_B * np.asarray(config.temperatures))


def _flat(x: np.ndarray) -> np.ndarray:
    """(L, T, A, 3) -> (L * T, A, 3)."""
    return x.reshape(-1, *x.shape[2:])
