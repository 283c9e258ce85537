"""Annealing between a poor flow and targets with circular variables whose Z is known, in both directions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jbg import flows
from jbg.analysis.annealed_weights import two_sided
from jbg.generator import Generator
from jbg.interfaces import Bijector, ConfigError, Target
from jbg.reweighting import ess_fraction, log_z_estimate
from jbg.sampling.annealing import anneal, anneal_back
from jbg.sampling.annealing_pilot import find_steps
from jbg.sampling.annealing_program import make_annealer
from jbg.sampling.annealing_settings import Annealing
from jbg.targets import restrict
from tests.sampling.test_latent_mcmc import wrong_sign

BASE = flows.product(flows.uniform(2), flows.normal(2))
KAPPA, WIDTH = 2.0, 0.5
SETTINGS = Annealing(n_particles=4096, batch=1024, n_levels=16, step=0.5)
# of one pair of angle and number, exp(2 cos(a - 3) - (y - sin a)^2 / 2 / 0.5^2)
LN_Z_PAIR = np.log(2 * np.pi * special.i0(KAPPA)) + 0.5 * np.log(2 * np.pi * WIDTH**2)


def pair_energy(a, y):
    return -KAPPA * jnp.cos(a - 3.0) + 0.5 * ((y - jnp.sin(a)) / WIDTH) ** 2


def two_pairs() -> Target:
    """Two angles and two numbers; across the seam of the circle, narrow beside the flow."""
    energy = lambda x: pair_energy(x[0], x[2]) + pair_energy(x[1], x[3])
    return Target(dim=4, reduced_energy=energy)


def frames_of_two_pairs(n_chains: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    a = rng.vonmises(3.0, KAPPA, size=(n_chains, n, 2))
    return np.concatenate([a, np.sin(a) + WIDTH * rng.normal(size=a.shape)], axis=-1)


def poor_flow() -> Generator:
    """Two angles and two numbers: a -> a - 0.3 sin a, the wrong way round, and y -> 1.2 y + 0.5."""

    def forward(params, z):
        x = jnp.concatenate([z[:2] - 0.3 * jnp.sin(z[:2]), 1.2 * z[2:] + 0.5])
        return flows.wrapped(BASE, x), jnp.log1p(-0.3 * jnp.cos(z[:2])).sum(0) + 2 * np.log(1.2)

    def inverse(params, x):
        a = x[:2]
        for _ in range(60):
            a = x[:2] + 0.3 * jnp.sin(a)
        z = flows.wrapped(BASE, jnp.concatenate([a, (x[2:] - 0.5) / 1.2]))
        return z, -forward(params, z)[1]

    bijector = Bijector(dim_in=4, dim_out=4, init=lambda key: (), forward=forward, inverse=inverse)
    return Generator(base=BASE, bijector=bijector)


def plain_map(n: int = 1) -> Generator:
    """n angles and n numbers as they are."""
    same = lambda params, z: (z, jnp.zeros(z.shape[1:], z.dtype))
    bijector = dataclasses.replace(flows.permute(range(2 * n)), forward=same, inverse=same)
    base = flows.product(flows.uniform(n), flows.normal(n))
    return Generator(base=base, bijector=bijector)


@pytest.fixture(scope="module")
def annealed():
    """Both directions of the same levels with the same steps."""
    generator, params = poor_flow(), ()
    annealer = make_annealer(generator, two_pairs(), SETTINGS, reference=-3.0)
    steps = find_steps(jax.random.key(1), params, annealer)
    found = anneal(jax.random.key(2), params, annealer, steps)
    frames = frames_of_two_pairs(40, 51)
    back = anneal_back(jax.random.key(3), params, annealer, steps, frames)
    return annealer, params, steps, found, back, frames


def deviation(log_w, exact) -> float:
    """Standard errors between ln Z and what it is."""
    found = log_z_estimate(log_w)
    return (found.value - exact) / found.stderr


def test_ln_z_and_averages_are_exact(annealed):
    _, _, _, found, _, _ = annealed
    assert abs(deviation(found.log_w, 2 * LN_Z_PAIR)) < 4
    w = np.exp(found.log_w - found.log_w.max())
    a, y = found.x[:, :2], found.x[:, 2:]
    mean = special.i1(KAPPA) / special.i0(KAPPA)
    for values, exact in (
        (np.cos(a - 3.0).mean(1), mean),
        (np.sin(a - 3.0).mean(1), 0.0),
        ((y - np.sin(a)).mean(1), 0.0),
        (((y - np.sin(a)) ** 2).mean(1), WIDTH**2),
    ):
        off = w * (values - exact)
        assert abs(off.sum()) < 4 * np.sqrt(np.sum(off**2))
    np.testing.assert_allclose(found.u, two_pairs().reduced_energy(found.x.T), rtol=1e-4, atol=1e-4)
    assert found.acceptance.shape == (16,)
    assert np.all((found.acceptance > 0.5) & (found.acceptance < 0.97))


def test_plain_weights_are_those_of_the_flow(annealed):
    _, _, _, found, back, frames = annealed
    assert abs(deviation(found.log_w_plain, 2 * LN_Z_PAIR)) < 4
    assert ess_fraction(found.log_w) > 3 * ess_fraction(found.log_w_plain)
    generator, params = poor_flow(), ()
    rows = frames.reshape(-1, 4).T.astype(np.float32)
    log_w = -two_pairs().reduced_energy(rows) - generator.log_prob(params, rows)
    np.testing.assert_allclose(back.log_w_plain.ravel(), log_w, atol=2e-3)
    np.testing.assert_allclose(back.u.ravel(), two_pairs().reduced_energy(rows), atol=2e-3)


def test_both_directions_and_the_acceptance_ratio_agree(annealed):
    _, _, _, found, back, frames = annealed
    assert back.log_w.shape == frames.shape[:2]
    sides = two_sided(found.log_w, back.log_w, seed=0)
    assert abs(sides.backward - 2 * LN_Z_PAIR) < 4 * sides.backward_stderr
    assert abs(sides.gap) < 4 * sides.gap_stderr
    assert sides.mean_forward < 2 * LN_Z_PAIR < sides.mean_backward
    assert sides.backward_stderr < 0.1
    assert abs(sides.bar.value - 2 * LN_Z_PAIR) < 4 * sides.bar.stderr
    assert sides.bar.stderr < 0.05


def changed(annealer, change):
    """The annealer whose program is given other levels."""
    level = lambda params, particles, level, key, k: annealer.level(
        params, particles, change(level), key, k
    )
    return dataclasses.replace(annealer, level=level)


def test_moves_that_leave_another_density_invariant_show(annealed):
    annealer, params, steps, *_ = annealed
    wrong = changed(annealer, lambda level: level._replace(b=np.float32(0.7 * level.b)))
    found = anneal(jax.random.key(2), params, wrong, steps)
    assert abs(deviation(found.log_w, 2 * LN_Z_PAIR)) > 6


def test_a_path_run_backwards_in_the_wrong_order_shows(annealed):
    """Growth before the move instead of after it."""
    annealer, params, steps, *_, frames = annealed
    share = dict(zip(np.float32(SETTINGS.b[1:]), np.float32(np.diff(SETTINGS.b)), strict=True))

    def swap(level):
        before = share.get(level.b, np.float32(0)) if level.n_leapfrog else np.float32(0)
        return level._replace(before=before, after=np.float32(0))

    back = anneal_back(jax.random.key(3), params, changed(annealer, swap), steps, frames)
    sides = two_sided(np.zeros(8), back.log_w, seed=0)
    assert abs(sides.backward - 2 * LN_Z_PAIR) > 6 * sides.backward_stderr


def test_softening_does_not_bias_and_without_the_true_energy_at_the_end_ln_z_is_wrong():
    """Most particles end where energies are softened."""
    settings = dataclasses.replace(SETTINGS, n_levels=16, e_high=3.0)
    annealer = make_annealer(poor_flow(), two_pairs(), settings, reference=-3.0)
    steps = find_steps(jax.random.key(1), (), annealer)
    found = anneal(jax.random.key(2), (), annealer, steps)
    assert abs(deviation(found.log_w, 2 * LN_Z_PAIR)) < 4
    assert np.mean(found.u > 0) > 0.5
    soft = np.where(found.u > 0, np.log1p(np.maximum(found.u, 0)), found.u)
    without = found.log_w + np.float64(found.u) - soft
    assert abs(deviation(without, 2 * LN_Z_PAIR)) > 8


def test_a_wrong_log_determinant_shows(annealed):
    generator, params = poor_flow(), ()
    wrong = dataclasses.replace(generator, bijector=wrong_sign(generator.bijector))
    annealer = make_annealer(wrong, two_pairs(), SETTINGS, reference=-3.0)
    found = anneal(jax.random.key(2), params, annealer, annealed[2])
    assert abs(deviation(found.log_w, 2 * LN_Z_PAIR)) > 6


def test_effective_samples_rise_with_the_number_of_levels(annealed):
    generator, params = poor_flow(), ()
    few = dataclasses.replace(SETTINGS, n_particles=1024, n_levels=2)
    annealer = make_annealer(generator, two_pairs(), few, reference=-3.0)
    steps = find_steps(jax.random.key(1), params, annealer)
    found = anneal(jax.random.key(2), params, annealer, steps)
    ess = [ess_fraction(w) for w in (found.log_w_plain, found.log_w, annealed[3].log_w)]
    assert ess[0] < 0.8 * ess[1] < 0.4 * ess[2]


def test_all_levels_of_both_directions_are_one_program_and_no_energy_is_wasted(annealed):
    annealer = annealed[0]
    assert annealer.level._cache_size() == 1
    generator, params = plain_map(), ()
    counted = []

    def energy(x):
        jax.debug.callback(lambda: counted.append(x.shape[-1]))
        return pair_energy(x[0], x[1])

    settings = Annealing(n_particles=64, batch=32, n_levels=3, n_leapfrog=2)
    mesh = jax.sharding.Mesh(
        np.array(jax.devices()[:1]), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
    )
    annealer = make_annealer(generator, Target(dim=2, reduced_energy=energy), settings, mesh=mesh)
    steps = find_steps(jax.random.key(1), params, annealer)
    anneal(jax.random.key(2), params, annealer, steps)
    jax.effects_barrier()
    assert sum(counted) == settings.evaluations == 32 * (1 + 3 * 2 * 2) + 64 * (1 + 3 * 2)


def test_trajectories_follow_the_width_of_each_direction():
    """A target a hundred times narrower than the generator along a diagonal of two numbers."""
    turn = np.float32([[np.cos(0.6), np.sin(0.6)], [-np.sin(0.6), np.cos(0.6)]])
    width = np.float32([[0.01], [1.0]])
    energy = lambda x: 0.5 * jnp.sum((turn @ x[2:] / width) ** 2, axis=0)  # angles are free
    settings = Annealing(n_particles=256, batch=256, n_levels=20, power=4.0, e_high=1e4)
    annealer = make_annealer(plain_map(2), Target(dim=4, reduced_energy=energy), settings)
    steps = find_steps(jax.random.key(1), (), annealer)
    step, metric = steps.of(20)
    w, directions = np.linalg.eigh(metric[2:, 2:])
    assert w[0] == pytest.approx(0.01, rel=0.4)
    assert w[1] == pytest.approx(1.0, rel=0.2)
    assert abs(directions[:, 0] @ turn[0]) > 0.999
    np.testing.assert_allclose(metric[:2, :2], np.eye(2), atol=0.1)
    assert step > 0.3
    assert steps.acceptance[-1] == pytest.approx(0.65, abs=0.25)


def test_many_coordinates_have_a_metric_of_their_own_each(monkeypatch):
    monkeypatch.setattr("jbg.sampling.annealing_program.DENSE", 3)
    annealer = make_annealer(poor_flow(), two_pairs(), SETTINGS, reference=-3.0)
    steps = find_steps(jax.random.key(1), (), annealer)
    assert steps.metric.shape == (SETTINGS.n_levels, 4)
    found = anneal(jax.random.key(2), (), annealer, steps)
    assert abs(deviation(found.log_w, 2 * LN_Z_PAIR)) < 4


def test_what_the_coordinates_do_not_reach_has_weight_zero_and_stays():
    """No log-determinant above y = 0.5: the target is what lies below; a frame from above has no path."""
    generator = plain_map()
    inside = lambda z: jnp.where(z[1] < 0.5, 0.0, -jnp.inf)
    cut = dataclasses.replace(
        generator.bijector,
        forward=lambda params, z: (z, inside(z)),
        inverse=lambda params, x: (x, inside(x)),
    )
    target = Target(dim=2, reduced_energy=lambda x: pair_energy(x[0], x[1]))
    settings = dataclasses.replace(SETTINGS, n_leapfrog=3)
    annealer = make_annealer(
        dataclasses.replace(generator, bijector=cut), target, settings, reference=-2.0
    )
    steps = find_steps(jax.random.key(1), (), annealer)
    found = anneal(jax.random.key(2), (), annealer, steps)
    a = np.linspace(-np.pi, np.pi, 4001)[:-1]
    below = np.exp(KAPPA * np.cos(a - 3.0)) * special.ndtr((0.5 - np.sin(a)) / WIDTH)
    exact = np.log(below.mean() * 2 * np.pi * WIDTH * np.sqrt(2 * np.pi))
    assert abs(deviation(found.log_w, exact)) < 4
    outside = found.x[:, 1] >= 0.5
    assert outside.mean() == pytest.approx(special.ndtr(-0.5), abs=0.04)  # of the base, as drawn
    np.testing.assert_array_equal(np.isneginf(found.log_w), outside)
    frames = np.stack([np.linspace(-3, 3, 20), np.linspace(-0.4, 0.9, 20)], axis=-1)[None]
    back = anneal_back(jax.random.key(3), (), annealer, steps, frames)
    np.testing.assert_array_equal(np.isposinf(back.log_w), frames[..., 1] > 0.5)
    assert np.isfinite(back.log_w[frames[..., 1] < 0.5]).all()


def test_particles_that_end_outside_of_a_restricted_target_have_weight_zero():
    target = restrict(
        Target(dim=2, reduced_energy=lambda x: pair_energy(x[0], x[1])), lambda x: x[1] > 0
    )
    settings = dataclasses.replace(SETTINGS, n_particles=1024, e_high=3.0, e_max=12.0)
    annealer = make_annealer(plain_map(), target, settings, reference=-2.0)
    steps = find_steps(jax.random.key(1), (), annealer)
    found = anneal(jax.random.key(2), (), annealer, steps)
    np.testing.assert_array_equal(np.isfinite(found.log_w), found.x[:, 1] > 0)
    a = np.linspace(-np.pi, np.pi, 4001)[:-1]
    above = np.exp(KAPPA * np.cos(a - 3.0)) * special.ndtr(np.sin(a) / WIDTH)
    exact = np.log(above.mean() * 2 * np.pi * WIDTH * np.sqrt(2 * np.pi))
    assert abs(deviation(found.log_w, exact)) < 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_particles": 100},
        {"n_levels": 0},
        {"n_leapfrog": 1.5},
        {"power": 0.0},
        {"step": float("nan")},
        {"e_high": 1e21},
        {"pilot_moves": 0},
        {"batch": True},
    ],
)
def test_settings_that_cannot_be_run_are_refused(wrong):
    with pytest.raises(ConfigError, match="annealing: .*got"):
        dataclasses.replace(SETTINGS, **wrong)


def test_frames_of_another_shape_are_refused():
    target = Target(dim=2, reduced_energy=lambda x: pair_energy(x[0], x[1]))
    annealer = make_annealer(plain_map(), target, Annealing(n_particles=8, batch=8, n_levels=1))
    for frames in (np.zeros((5, 2)), np.zeros((1, 5, 3)), np.full((1, 5, 2), np.nan)):
        with pytest.raises(ConfigError, match="annealing: frames must be"):
            anneal_back(jax.random.key(0), (), annealer, None, frames)
