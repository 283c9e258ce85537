"""Jumps between rotamers while annealing: a flow that makes one of two too rarely, behind a barrier of 8 kT."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from jbg import flows
from jbg.analysis.annealed_weights import two_sided
from jbg.coords.torsions import wrap
from jbg.generator import Generator
from jbg.interfaces import Bijector, ConfigError, Target
from jbg.reweighting import ess_fraction, log_z_estimate
from jbg.sampling.annealing import anneal, anneal_back
from jbg.sampling.annealing_pilot import find_steps
from jbg.sampling.annealing_program import make_annealer
from jbg.sampling.annealing_settings import Annealing
from jbg.studies.annealed import annealer_of

BARRIER, TILT = 4.0, 1.5
OFTEN = 0.97  # share of the rotamer around 0 in the flow
BASE = flows.product(flows.uniform(1), flows.normal(1))
SETTINGS = Annealing(n_particles=4096, batch=1024, n_levels=12, n_jumps=4, step=0.5)


def energy(x):
    """Rotamers near 0 and pi, half of the density or more in each, and a number that follows."""
    a, y = x
    return (
        -BARRIER * jnp.cos(2 * a)
        - TILT * jnp.sin(a + 0.5)
        + 0.5 * ((y - 0.25 * jnp.cos(a)) / 0.5) ** 2
    )


TARGET = Target(dim=2, reduced_energy=energy)


def exact_log_z() -> float:
    of_a = lambda a: np.exp(BARRIER * (np.cos(2 * a) - 1) + TILT * np.sin(a + 0.5))
    z, _ = integrate.quad(of_a, -np.pi, np.pi, points=[-3.1, 0, 3.1], limit=200)
    return float(np.log(z) + BARRIER + 0.5 * np.log(2 * np.pi * 0.25))


LN_Z = exact_log_z()


def uneven() -> Generator:
    """97 % around 0 and 3 % around pi, few between; then y -> 0.6 y + cos a / 4."""

    def stretched(a, inner, outer, until):
        """Slopes for |a| < until, and beyond."""
        beyond = jnp.sign(a) * (np.pi - outer * (np.pi - jnp.abs(a)))
        return jnp.where(jnp.abs(a) < until, inner * a, beyond)

    inner, outer = 0.5 / OFTEN, 0.5 / (1 - OFTEN)

    def forward(params, z):
        b = stretched(z[0], inner, outer, OFTEN * np.pi)
        slope = jnp.where(jnp.abs(b) < np.pi / 2, inner, outer)
        a = b - 0.48 * jnp.sin(2 * b)
        log_det = jnp.log(slope) + jnp.log1p(-0.96 * jnp.cos(2 * b)) + np.log(0.6)
        return flows.wrapped(BASE, jnp.stack([a, 0.6 * z[1] + 0.25 * jnp.cos(a)])), log_det

    def inverse(params, x):
        low, high = jnp.full_like(x[0], -jnp.pi), jnp.full_like(x[0], jnp.pi)
        for _ in range(40):
            middle = 0.5 * (low + high)
            above = middle - 0.48 * jnp.sin(2 * middle) > x[0]
            low, high = jnp.where(above, low, middle), jnp.where(above, middle, high)
        z = stretched(0.5 * (low + high), 1 / inner, 1 / outer, np.pi / 2)
        z = jnp.stack([z, (x[1] - 0.25 * jnp.cos(x[0])) / 0.6])
        return z, -forward(params, z)[1]

    bijector = Bijector(dim_in=2, dim_out=2, init=lambda key: (), forward=forward, inverse=inverse)
    return Generator(base=BASE, bijector=bijector)


def turned(key, v):
    """Half a turn and a little."""
    by = jnp.pi + 0.3 * jax.random.normal(key, v.shape[1:], v.dtype)
    return v.at[0].set(wrap(v[0] + by))


def frames(n_chains: int, n: int) -> np.ndarray:
    """Independent draws by rejection."""
    rng, found, most = np.random.default_rng(3), [], BARRIER + TILT
    while sum(map(len, found)) < n_chains * n:
        a = rng.uniform(-np.pi, np.pi, 20_000)
        height = BARRIER * np.cos(2 * a) + TILT * np.sin(a + 0.5)
        found.append(a[np.log(rng.uniform(size=a.size)) < height - most])
    a = np.concatenate(found)[: n_chains * n]
    y = 0.25 * np.cos(a) + 0.5 * rng.normal(size=a.size)
    return np.stack([a, y], -1).reshape(n_chains, n, 2)


def made(settings, jump=turned):
    jump = jump if settings.n_jumps else None
    return make_annealer(uneven(), TARGET, settings, reference=-BARRIER, jump=jump)


def both_ways(annealer):
    params = ()
    steps = find_steps(jax.random.key(1), params, annealer)
    found = anneal(jax.random.key(2), params, annealer, steps)
    back = anneal_back(jax.random.key(3), params, annealer, steps, frames(32, 64))
    return found, back


@pytest.fixture(scope="module")
def jumping():
    annealer = made(SETTINGS)
    return annealer, *both_ways(annealer)


def deviation(log_w) -> float:
    """Standard errors between ln Z and what it is."""
    found = log_z_estimate(log_w)
    return (found.value - LN_Z) / found.stderr


def test_ln_z_and_populations_are_exact_in_both_directions(jumping):
    _, found, back = jumping
    assert abs(deviation(found.log_w)) < 4
    sides = two_sided(found.log_w, back.log_w, seed=0)
    assert sides.backward_stderr < 0.05
    assert abs(sides.backward - LN_Z) < 4 * sides.backward_stderr
    assert abs(sides.gap) < 4 * sides.gap_stderr
    w = np.exp(found.log_w - found.log_w.max())
    rare = np.abs(found.x[:, 0]) > np.pi / 2
    exact = np.mean(np.abs(frames(32, 2048)[..., 0]) > np.pi / 2)
    off = w * (rare - exact)
    assert abs(off.sum()) < 4 * np.sqrt(np.sum(off**2))
    np.testing.assert_allclose(found.u, TARGET.reduced_energy(found.x.T), rtol=1e-4, atol=1e-4)


def test_jumps_fill_what_the_flow_makes_too_rarely(jumping):
    _, found, back = jumping
    without, without_back = both_ways(made(dataclasses.replace(SETTINGS, n_jumps=0)))
    rare = lambda x: np.mean(np.abs(x[:, 0]) > np.pi / 2)
    exact = rare(frames(32, 2048).reshape(-1, 2))
    assert rare(without.x) < 0.3 * exact
    assert rare(found.x) == pytest.approx(exact, abs=0.03)
    assert ess_fraction(found.log_w) > 1.5 * ess_fraction(without.log_w)
    of, before = (
        two_sided(a.log_w, b.log_w, seed=0) for a, b in ((found, back), (without, without_back))
    )
    assert of.mean_backward - of.mean_forward < 0.6 * (before.mean_backward - before.mean_forward)


def test_jumps_less_likely_than_their_return_show():
    """To 0 from anywhere: all would end in one rotamer."""
    to_zero = lambda key, v: v.at[0].set(0.3 * jax.random.normal(key, v.shape[1:], v.dtype))
    found, back = both_ways(made(SETTINGS, to_zero))
    sides = two_sided(found.log_w, back.log_w, seed=0)
    assert abs(deviation(found.log_w)) > 6
    assert abs(sides.backward - LN_Z) > 6 * sides.backward_stderr


def test_the_way_back_undoes_each_step_of_the_way_forth(jumping):
    """Ln W grows, jumps, a trajectory; then a trajectory, jumps, ln W: the acceptance ratio rests on it."""
    annealer, passed = jumping[0], []

    def level(params, particles, level, key, k):
        if not level.first:
            grown = [("ln W", float(level.before))] * bool(level.before)
            moves = [("jumps", float(level.b))] * bool(level.n_jumps)
            moves += [("trajectory", float(level.b))] * bool(level.n_leapfrog)
            passed.extend(grown + moves + [("ln W", float(level.after))] * bool(level.after))
        return annealer.level(params, particles, level, key, k)

    steps = find_steps(jax.random.key(1), (), annealer)
    one = dataclasses.replace(SETTINGS, n_particles=SETTINGS.batch)
    watched = dataclasses.replace(annealer, level=level, settings=one)
    anneal(jax.random.key(2), (), watched, steps)
    forth, passed[:] = list(passed), []
    anneal_back(jax.random.key(3), (), watched, steps, frames(16, 64))
    assert len(forth) == 3 * SETTINGS.n_levels
    assert passed == forth[::-1]


def test_it_is_one_program_and_energies_are_counted(jumping):
    assert jumping[0].level._cache_size() == 1
    counted = []

    def spying(x):
        jax.debug.callback(lambda: counted.append(x.shape[-1]))
        return energy(x)

    settings = Annealing(n_particles=64, batch=32, n_levels=3, n_leapfrog=2, n_jumps=3)
    mesh = jax.sharding.Mesh(
        np.array(jax.devices()[:1]), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
    )
    annealer = make_annealer(
        uneven(),
        Target(dim=2, reduced_energy=spying),
        settings,
        jump=turned,
        mesh=mesh,
    )
    steps = find_steps(jax.random.key(1), (), annealer)
    anneal(jax.random.key(2), (), annealer, steps)
    jax.effects_barrier()
    each = 1 + 3 * (2 + 3 + 1)
    assert settings.evaluations_each == each
    assert sum(counted) == settings.evaluations == 32 * (1 + 3 * 2 * 6) + 64 * each


def test_a_study_whose_system_has_nothing_to_jump_anneals_without():
    problem = types.SimpleNamespace(
        flow=uneven(), coords=flows.permute(range(2)), target=TARGET, u_reference=0.0, jump=None
    )
    assert annealer_of(problem, SETTINGS).settings == dataclasses.replace(SETTINGS, n_jumps=0)
    problem.jump = turned
    assert annealer_of(problem, SETTINGS).settings == SETTINGS


def test_jumps_with_nothing_to_jump_are_refused():
    with pytest.raises(ConfigError, match="n_jumps is 4, and there is nothing to jump"):
        make_annealer(uneven(), TARGET, SETTINGS)
    with pytest.raises(ConfigError, match="n_jumps must be a whole number >= 0, got -1"):
        dataclasses.replace(SETTINGS, n_jumps=-1)
