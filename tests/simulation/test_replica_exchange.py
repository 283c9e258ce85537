"""Replica exchange samples every temperature exactly, and goes on bit-identically."""

import numpy as np
import pytest
from scipy.special import iv

from jbg.interfaces import ConfigError, RunError, Topology
from jbg.simulation import replica_exchange as module
from jbg.simulation.replica_exchange import acceptance, replica_exchange
from jbg.simulation.replica_exchange_config import (
    ReplicaExchangeConfig,
    geometric_ladder,
    heavy_hydrogen_masses,
    suggested_config,
)
from jbg.simulation.torsion_rotation import rotatable_bonds
from jbg.units import K_B, kt

CHAIN = Topology(
    elements=("C",) * 4,
    atom_names=("C",) * 4,
    residue_names=("X",) * 4,
    residue_ids=(0,) * 4,
    bonds=np.array([(0, 1), (1, 2), (2, 3)]),
)


class NumpyPool:
    """Velocity Verlet in numpy for any ``energies_and_forces``."""

    def __init__(self, energies_and_forces, masses):
        self.energies_and_forces = energies_and_forces
        self.masses = np.asarray(masses, float)

    def leapfrog(self, x, v, f, dt_ps, n_steps):
        m = self.masses[:, None]
        for _ in range(n_steps):
            v = v + 0.5 * dt_ps * f / m
            x = x + dt_ps * v
            energy, f = self.energies_and_forces(x)
            v = v + 0.5 * dt_ps * f / m
        return x, v, energy, f


SPRINGS = np.array([100.0, 250.0, 500.0])  # kJ/mol/nm^2 along x, y, z


def harmonic_pool() -> NumpyPool:
    return NumpyPool(lambda x: (0.5 * (SPRINGS * x**2).sum((1, 2)), -SPRINGS * x), [2.0])


def harmonic_config(**changes) -> ReplicaExchangeConfig:
    # omega dt of the stiffest spring is 1.2: without the Metropolis rule its variance is far off
    settings = dict(temperatures=(200.0, 300.0, 450.0), n_ladders=3000, n_burn_in=10, n_rounds=30)
    settings |= dict(n_steps=3, timestep_ps=1.2 * np.sqrt(2.0 / SPRINGS[2]), record_every=30)
    return ReplicaExchangeConfig(**{**settings, **changes})


def variances_over_exact() -> np.ndarray:
    """(temperature, axis): sampled variance over kT / k, from the last round of all ladders."""
    config = harmonic_config()
    state = replica_exchange(harmonic_pool(), config, np.zeros((1, 3)), seed=1)
    exact = K_B * np.array(config.temperatures)[:, None] / SPRINGS
    return (state.positions[:, :, 0] ** 2).mean(0) / exact


def test_every_temperature_has_the_exact_variance():
    # 3000 independent ladders: standard error of a variance sqrt(2/3000) = 2.6 %
    np.testing.assert_allclose(variances_over_exact(), 1.0, atol=4 * 0.026)


def test_the_variance_tells_when_trajectories_are_all_accepted(monkeypatch):
    original = module._metropolis
    monkeypatch.setattr(
        module, "_metropolis", lambda draw, ratio: original(draw, ratio) | (draw.shape[1] == 3)
    )
    assert abs(variances_over_exact()[:, 2] - 1).max() > 0.2


def test_the_variance_tells_when_swaps_are_all_accepted(monkeypatch):
    original = module._metropolis
    monkeypatch.setattr(
        module, "_metropolis", lambda draw, ratio: original(draw, ratio) | (draw.shape[1] == 1)
    )
    assert abs(variances_over_exact() - 1).max() > 0.15


def test_energies_and_forces_travel_with_their_positions():
    config = harmonic_config(n_ladders=20)
    pool = harmonic_pool()
    state = replica_exchange(pool, config, np.zeros((1, 3)), seed=2)
    energy, force = pool.energies_and_forces(state.positions.reshape(-1, 1, 3))
    np.testing.assert_allclose(state.energies.ravel(), energy, rtol=1e-12)
    np.testing.assert_allclose(state.forces.reshape(-1, 1, 3), force, rtol=1e-12)
    assert (np.sort(state.walkers, axis=1) == np.arange(3)).all()


def torsion_pool(strength: float) -> NumpyPool:
    """Four atoms, U = strength * cos(torsion); no forces, the time step is next to nothing."""

    def energies_and_forces(x):
        b0, b1, b2 = x[:, 0] - x[:, 1], x[:, 2] - x[:, 1], x[:, 3] - x[:, 2]
        n0, n1 = np.cross(b0, b1), np.cross(-b2, b1)
        cos = (n0 * n1).sum(-1) / np.linalg.norm(n0, axis=-1) / np.linalg.norm(n1, axis=-1)
        return strength * cos, np.zeros_like(x)

    return NumpyPool(energies_and_forces, np.ones(4))


def cosine(state, pool, strength):
    return pool.energies_and_forces(state.positions.reshape(-1, 4, 3))[0] / strength


def test_torsion_rotations_sample_the_boltzmann_distribution():
    strength, start = 4.0, np.array([[0, 1, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0.3]])
    pool = torsion_pool(strength)
    config = ReplicaExchangeConfig(
        temperatures=(300.0,),
        n_ladders=4000,
        n_burn_in=0,
        n_rounds=10,
        n_steps=1,
        timestep_ps=1e-9,
        n_rotations=3,
    )
    state = replica_exchange(pool, config, start, seed=3, rotatable=rotatable_bonds(CHAIN))
    beta_a = strength / kt(300.0)
    # <cos> = -I1 / I0; standard deviation of cos below 0.7, so 4 standard errors are 0.045
    assert cosine(state, pool, strength).mean() == pytest.approx(
        -iv(1, beta_a) / iv(0, beta_a), abs=0.045
    )


@pytest.mark.parametrize("stop", [1, 7, 13])
def test_a_run_goes_on_bit_identically(stop):
    config = harmonic_config(n_ladders=4, n_burn_in=5, n_rounds=15, record_every=2)
    pool, start = harmonic_pool(), np.zeros((1, 3))
    saved = []

    def save(state):
        if state.round == stop:
            saved.append(type(state)(*(np.copy(a) if np.ndim(a) else a for a in state)))

    whole = replica_exchange(pool, config, start, seed=5, on_round=save)
    resumed = replica_exchange(pool, config, start, seed=5, state=saved[0])
    for name, a, b in zip(whole._fields, whole, resumed, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
    other = replica_exchange(pool, config, start, seed=6)
    assert not np.array_equal(other.positions, whole.positions)


def test_frames_of_the_lowest_temperature_are_kept_after_burn_in():
    config = harmonic_config(n_ladders=3, n_burn_in=4, n_rounds=9, record_every=3)
    seen = {}
    state = replica_exchange(
        harmonic_pool(),
        config,
        np.zeros((1, 3)),
        seed=0,
        on_round=lambda s: seen.update(
            {s.round: (s.positions[:, 0], s.energies[:, 0], s.walkers[:, 0])}
        ),
    )
    assert sorted(seen) == list(range(1, 14))
    assert state.frames.shape == (3, 3, 1, 3)
    for k, done in enumerate((7, 10, 13)):
        np.testing.assert_array_equal(state.frames[k], seen[done][0].astype(np.float32))
        np.testing.assert_array_equal(state.frame_energies[k], seen[done][1])
        np.testing.assert_array_equal(state.frame_walkers[k], seen[done][2])


def test_each_ladder_may_have_its_own_start():
    config = harmonic_config(n_ladders=3, n_burn_in=0, n_rounds=1)
    start = np.arange(9.0).reshape(3, 1, 3)
    state = module.initial_state(harmonic_pool(), config, start)
    np.testing.assert_array_equal(state.positions, np.repeat(start[:, None], 3, axis=1))
    np.testing.assert_allclose(state.energies[:, 0], 0.5 * (SPRINGS * start**2).sum((1, 2)))
    with pytest.raises(ConfigError, match="one for each of 3 ladders, got 2"):
        module.initial_state(harmonic_pool(), config, start[:2])


def test_acceptance_and_round_trips_are_counted():
    config = harmonic_config(n_ladders=50, temperatures=(300.0, 300.001), timestep_ps=1e-4)
    state = replica_exchange(harmonic_pool(), config, np.zeros((1, 3)), seed=0)
    rates = acceptance(config, state)
    np.testing.assert_allclose(rates["trajectories"], 1.0, atol=0.01)
    np.testing.assert_allclose(rates["swaps"], 1.0, atol=0.01)
    # each swap, in 15 of the 30 rounds, brings one walker from the top to the bottom
    assert abs(state.round_trips - 15).max() <= 1


def test_counted_energy_evaluations_are_those_made():
    made = 0
    inner = harmonic_pool().energies_and_forces

    def counting(x):
        nonlocal made
        made += len(x)
        return inner(x)

    config = harmonic_config(n_ladders=2, n_burn_in=1, n_rounds=4, n_rotations=0)
    replica_exchange(NumpyPool(counting, [2.0]), config, np.zeros((1, 3)), seed=0)
    replicas = 6
    assert config.energy_evaluations == made + 5 * replicas  # OpenMM: the start of each trajectory


def test_trajectories_that_blow_up_are_rejected():
    def broken(x):
        energy, force = harmonic_pool().energies_and_forces(x)
        return np.where(np.abs(x).max((1, 2)) > 0, np.nan, energy), force

    config = harmonic_config(n_ladders=2)
    state = replica_exchange(NumpyPool(broken, [2.0]), config, np.zeros((1, 3)), seed=0)
    assert (state.positions == 0).all()
    assert (state.trajectories_accepted == 0).all()


def test_a_start_without_finite_energy_is_refused():
    with pytest.raises(RunError, match="a starting structure is not finite"):
        replica_exchange(harmonic_pool(), harmonic_config(), np.full((1, 3), np.nan), seed=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"temperatures": ()},
        {"temperatures": (300.0, 200.0)},
        {"temperatures": (-1.0, 200.0)},
        {"temperatures": (float("nan"),)},
        {"n_ladders": 0},
        {"n_steps": 0},
        {"timestep_ps": 0.0},
        {"n_burn_in": -1},
    ],
)
def test_bad_settings_are_refused(changes):
    with pytest.raises(ConfigError, match="replica exchange: "):
        harmonic_config(**changes)


def test_ladders_and_masses():
    np.testing.assert_allclose(geometric_ladder(300, 600, 3), (300, 300 * 2**0.5, 600))
    assert geometric_ladder(300, 600, 1) == (300.0,)
    np.testing.assert_array_equal(heavy_hydrogen_masses([1.008, 12.0], 6.0), [6.0, 12.0])
    assert suggested_config(22, temperature=300.0).temperatures[0] == 300.0
    assert len(suggested_config(138, temperature=300.0).temperatures) > len(
        suggested_config(22, temperature=300.0).temperatures
    )
    assert suggested_config(22, temperature=300.0, n_rounds=7).n_rounds == 7


@pytest.fixture(scope="module")
def dipeptide():
    from jbg.systems.molecule import molecule_from_sequence

    return molecule_from_sequence("ACE-ALA-NME")


def run_dipeptide(molecule, config, n_workers, on_round=None):
    from jbg.systems.openmm_pool import ContextPool

    masses = heavy_hydrogen_masses(molecule.masses)
    with ContextPool(
        molecule.system_xml, platform="Reference", n_workers=n_workers, masses=masses
    ) as pool:
        return replica_exchange(
            pool,
            config,
            molecule.positions,
            seed=0,
            rotatable=rotatable_bonds(molecule.topology),
            on_round=on_round,
        )


@pytest.mark.openmm
def test_the_number_of_workers_changes_nothing(dipeptide):
    short = suggested_config(22, temperature=300.0, n_ladders=2, n_burn_in=2, n_rounds=3)
    one, three = (run_dipeptide(dipeptide, short, n) for n in (1, 3))
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.openmm
def test_alanine_dipeptide_has_the_right_configurational_temperature(dipeptide):
    """<|grad U|^2> = kT <laplacian U> for the Boltzmann distribution, stiff bonds and all."""
    from jbg.systems.openmm_pool import ContextPool

    config = suggested_config(
        22, temperature=300.0, temperatures=(300.0, 360.0), n_burn_in=60, n_rounds=120
    )
    frames, squares = [], []

    def keep(state):
        if state.round > config.n_burn_in and state.round % 10 == 0:
            frames.append(state.positions)
            squares.append((state.forces**2).sum((-2, -1)))

    run_dipeptide(dipeptide, config, 2, keep)
    step = 1e-4
    shifts = step * np.eye(66).reshape(66, 1, 22, 3)
    x = np.array(frames).reshape(1, -1, 22, 3)
    with ContextPool(dipeptide.system_xml, platform="Reference") as pool:

        def slope(shifted):
            force = pool.energies_and_forces(shifted.reshape(-1, 22, 3))[1]
            return -np.einsum("inn->i", force.reshape(66, -1, 66).transpose(1, 0, 2))

        laplacian = (slope(x + shifts) - slope(x - shifts)) / (2 * step)
    laplacian = laplacian.reshape(np.shape(squares))
    measured = np.mean(squares, axis=0) / laplacian.mean((0, 1))  # (ladders, temperatures), kT
    ratio = measured / (K_B * np.array(config.temperatures))
    stderr = ratio.std(axis=0, ddof=1) / np.sqrt(config.n_ladders)
    assert (stderr < 0.03).all()
    assert (abs(ratio.mean(0) - 1) < 4 * stderr).all()
