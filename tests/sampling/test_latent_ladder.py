"""A ladder between a poor flow and its target against exact densities by quadrature; the search for its rungs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import ConfigError, RunError, Target
from jbg.sampling.corrected import latent_ladder
from jbg.sampling.ladder_rounds import ladders_of, make_round
from jbg.sampling.ladder_rungs import find_rungs, starts_of
from jbg.sampling.latent_ladder import LatentLadder, make_programs, wrapped
from jbg.targets import make_target
from tests.losses.affine import affine_flow
from tests.sampling.test_latent_mcmc import CASES, deviation, random_flow, wrong_sign

SETTINGS = LatentLadder(
    n_rounds=300, n_burn_in=60, block=60, n_walkers=600, n_fresh=1200, step=0.3, overdrawn=4
)


def ladder_of(name: str, generator, params, key, b=(0.3, 0.6, 1.0), settings=SETTINGS):
    """Frames of the last rung ``(R, n, dim)`` after burn-in, and the sums of the counts."""
    target, k = make_target(CASES[name][0]), len(b)
    r = settings.n_walkers // k
    programs = make_programs(generator, target, settings)
    drawn = programs.draw(params, jax.random.fold_in(key, 1))
    start = jax.tree.map(lambda a: a[..., : k * r].reshape(*a.shape[:-1], k, r), drawn)
    ladders = ladders_of(start, np.array(b, np.float32), np.full(k, -1.2, np.float32))
    advance = make_round(programs, settings)
    frames, sums = [], None
    for i in range(settings.n_burn_in + settings.n_rounds):
        ladders, counts = advance(params, ladders, key, i)
        if i < settings.n_burn_in:
            continue
        sums = counts if sums is None else jax.tree.map(jnp.add, sums, counts)
        if i % 5 == 0:
            frames.append(np.asarray(ladders.walkers.x[:, -1]).T)
    return np.stack(frames, axis=1), jax.device_get(sums)


@pytest.mark.parametrize("name", CASES)
def test_the_last_rung_has_the_exact_density_whatever_the_flow(name, key):
    *_, centre, width = CASES[name]
    generator, params = random_flow(12, centre, 1.4 * np.asarray(width, np.float32))
    frames, sums = ladder_of(name, generator, params, key)
    found, bound = deviation(name, frames, 1.0)
    assert found < bound
    assert sums.arrivals.sum() > 600
    swaps = sums.swapped / sums.tried
    assert np.all((swaps > 0.3) & (swaps < 1.0))
    acceptance = sums.acceptance / SETTINGS.n_rounds
    assert np.all((acceptance > 0.5) & (acceptance < 0.85))


def test_a_wrong_density_of_the_flow_shows(key):
    name = "double well"
    *_, centre, width = CASES[name]
    generator, params = random_flow(12, centre, 1.4 * np.asarray(width, np.float32))
    wrong = dataclasses.replace(generator, bijector=wrong_sign(generator.bijector))
    frames, _ = ladder_of(name, wrong, params, key)
    found, bound = deviation(name, frames, 1.0)
    assert found > bound


def test_a_single_rung_is_refreshed_by_the_generator(key):
    name = "double well"
    *_, centre, width = CASES[name]
    generator, params = random_flow(12, centre, 1.4 * np.asarray(width, np.float32))
    frames, sums = ladder_of(name, generator, params, key, b=(1.0,))
    found, bound = deviation(name, frames, 1.0)
    assert found < bound
    assert sums.tried.size == 0
    np.testing.assert_allclose(sums.arrivals.sum() / SETTINGS.n_walkers, sums.refreshed, rtol=1e-4)


def test_circular_variables_move_round_the_circle(key):
    """One angle and one linear variable: density exp(3 cos a - (y - sin a)^2 / 2 / 0.3^2)."""
    base = flows.product(flows.uniform(1), flows.normal(1))
    flow = flows.spline_flow(
        1, 1, flows.SplineFlowConfig(n_blocks=1, n_circular_blocks=1, n_bins=4)
    )
    generator = Generator(base=base, bijector=flow)
    params = generator.init(jax.random.fold_in(key, 7))
    target = Target(
        dim=2,
        reduced_energy=lambda x: (
            -3 * jnp.cos(x[0] - 3.0) + 0.5 * ((x[1] - jnp.sin(x[0])) / 0.3) ** 2
        ),
    )
    settings = dataclasses.replace(SETTINGS, n_rounds=240)
    programs = make_programs(generator, target, settings)
    drawn = programs.draw(params, key)
    start = jax.tree.map(lambda a: a[..., :600].reshape(*a.shape[:-1], 2, 300), drawn)
    ladders = ladders_of(start, np.array([0.4, 1.0]), np.array([-1.2, -1.2]))
    advance, kept = make_round(programs, settings), []
    for i in range(300):
        ladders, _ = advance(params, ladders, key, i)
        if i >= 60 and i % 5 == 0:
            kept.append(np.asarray(ladders.walkers.x[:, -1]))
    angle, y = np.stack(kept, axis=-1)  # (R, n)
    grid = np.linspace(-np.pi, np.pi, 4001)[:-1]
    p = np.exp(3 * np.cos(grid - 3.0))
    p /= p.sum()
    found = {"cos": np.cos(angle), "sin": np.sin(angle), "y": y, "y sin": y * np.sin(angle)}
    exact = {
        "cos": p @ np.cos(grid),
        "sin": p @ np.sin(grid),
        "y": p @ np.sin(grid),
        "y sin": p @ np.sin(grid) ** 2,
    }
    for what, values in found.items():
        of_chains = values.mean(1)
        error = of_chains.std(ddof=1) / np.sqrt(len(of_chains))
        assert abs(of_chains.mean() - exact[what]) < 4.5 * error, what


def test_wrapping_keeps_the_base_density():
    base = flows.product(flows.uniform(1), flows.normal(1))
    z = jnp.array([[3.5, -3.5, 0.2], [5.0, 0.0, -1.0]])
    new = np.asarray(wrapped(z, base))
    np.testing.assert_allclose(new[0], [3.5 - 2 * np.pi, 2 * np.pi - 3.5, 0.2], rtol=1e-6)
    np.testing.assert_array_equal(new[1], z[1])


def far_target(dim: int = 8, shift: float = 2.0) -> tuple[Generator, object, Target]:
    """A normal generator and a normal target ``shift`` away in each of the variables."""
    bijector = affine_flow(dim) if dim != 2 else affine_flow()
    generator = Generator(base=flows.normal(dim), bijector=bijector)
    params = {"a": jnp.zeros(dim), "b": jnp.zeros(dim)}
    target = Target(dim=dim, reduced_energy=lambda x: 0.5 * ((x - shift) ** 2).sum(0))
    return generator, params, target


def test_rungs_lead_from_the_generator_to_the_target(key):
    """Each step keeps the conditional ESS, and the walkers of the last rung are those of the target."""
    generator, params, target = far_target()
    settings = LatentLadder(n_rounds=20, n_walkers=512, n_fresh=1024, step=0.5)
    programs = make_programs(generator, target, settings)
    rungs = find_rungs(key, params, programs, settings)
    assert np.all(np.diff(rungs.b) > 0)
    assert rungs.b[-1] == 1.0
    # ln w = sum of shift x: the weights from b to b' are log-normal with variance dim shift^2 (b' - b)^2
    found = np.exp(-32 * np.diff(rungs.b)[:-1] ** 2)  # walkers are few, and scatter
    assert np.median(found) == pytest.approx(settings.conditional_ess, abs=0.06)
    assert found.min() > settings.conditional_ess - 0.25
    start = starts_of(rungs, settings)
    assert start.log_w.shape == (len(rungs.b), 512 // len(rungs.b))
    assert rungs.walkers.x[-1].mean() == pytest.approx(2.0, abs=0.15)
    assert np.all(rungs.acceptance > 0.3)


def test_time_steps_follow_the_width_of_each_coordinate(key):
    """A target a hundred times narrower than the generator in one of four coordinates."""
    generator, params, target = far_target(dim=4, shift=0.0)
    width = np.float32([[1.0], [0.01], [1.0], [1.0]])
    narrow = dataclasses.replace(
        target, reduced_energy=lambda x: 0.5 * jnp.sum((x / width) ** 2, axis=0)
    )
    settings = LatentLadder(n_rounds=20, n_walkers=256, n_fresh=512, step=0.3)
    rungs = find_rungs(key, params, make_programs(generator, narrow, settings), settings)
    of_target = rungs.log_step[:, -1]
    assert of_target[1] - of_target[0] == pytest.approx(np.log(0.01), abs=0.3)
    np.testing.assert_allclose(of_target[[2, 3]], of_target[0], atol=0.2)
    assert np.exp(of_target[0]) > 0.3  # not held back by the narrow one
    assert rungs.acceptance[-1] > 0.4


def test_from_a_generator_alone_to_chains_of_the_target(key):
    """Rungs, burn-in and frames in one call: mean and variance of a normal far from the generator."""
    generator, params, target = far_target(dim=4)
    settings = LatentLadder(n_rounds=200, n_walkers=300, n_fresh=600, step=0.5, overdrawn=8)
    found = latent_ladder(key, generator, params, target, settings=settings)
    k, n = len(found.rungs), 300 // len(found.rungs)
    assert found.frames.shape == (n, 200, 4)
    assert (len(found.acceptance), len(found.swaps)) == (k, k - 1)
    np.testing.assert_allclose(found.u, 0.5 * ((found.frames - 2.0) ** 2).sum(-1), rtol=1e-4)
    log_q = -0.5 * (found.frames**2).sum(-1) - 2 * np.log(2 * np.pi)
    np.testing.assert_allclose(found.log_q, log_q, atol=1e-3)
    for values, exact in ((found.frames, 2.0), ((found.frames - 2.0) ** 2, 1.0)):
        of_chains = values.mean((1, 2))
        error = of_chains.std(ddof=1) / np.sqrt(n)
        assert abs(of_chains.mean() - exact) < 4 * error
    assert found.arrivals.sum() > 500


def test_a_generator_that_is_too_far_is_refused(key):
    generator, params, target = far_target(shift=8.0)
    settings = LatentLadder(n_rounds=20, n_walkers=64, n_fresh=128, max_rungs=3)
    programs = make_programs(generator, target, settings)
    with pytest.raises(RunError, match="3 rungs lead to b = "):
        find_rungs(key, params, programs, settings)
    nowhere = dataclasses.replace(target, reduced_energy=lambda x: jnp.full(x.shape[1:], jnp.inf))
    with pytest.raises(RunError, match="hardly any sample"):
        find_rungs(key, params, make_programs(generator, nowhere, settings), settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_rounds": 150},
        {"n_burn_in": 50},
        {"conditional_ess": 1.0},
        {"max_rungs": 400},
        {"n_fresh": 100, "overdrawn": 1},
    ],
)
def test_settings_that_cannot_be_run_are_refused(wrong):
    with pytest.raises(ConfigError, match="latent ladder"):
        dataclasses.replace(SETTINGS, **wrong)
