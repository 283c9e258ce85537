"""Chains with flow moves against exact densities by quadrature: a poor flow makes them slow, never wrong."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.interfaces import ConfigError
from jbg.sampling.corrected import flow_moves
from jbg.sampling.flow_moves import FlowMoves, make_flow_moves, start_chains
from jbg.targets import make_target
from tests.sampling.test_latent_mcmc import CASES, deviation, random_flow, wrong_sign

SETTINGS = FlowMoves(
    n_rounds=400,
    n_burn_in=200,
    block=100,
    stride=2,
    n_chains=200,
    n_leapfrog=4,
    n_fresh=3,
    timestep=0.1,
)


def chains_of(name: str, generator, params, key, settings=SETTINGS, speed=1.0):
    """Frames ``(n_chains, n_frames, dim)`` after burn-in, arrivals in all and mean acceptance."""
    target = make_target(CASES[name][0])
    start = generator.sample(jax.random.fold_in(key, 1), params, settings.n_chains).frames
    found = flow_moves(key, generator, params, target, start, settings=settings, speed=speed)
    n_frames = settings.n_rounds // settings.stride
    assert found.frames.shape == (settings.n_chains, n_frames, 2)
    assert found.u.shape == found.log_q.shape == found.frames.shape[:2]
    return found.frames, found.arrivals.sum(), found.acceptance.mean()


@pytest.mark.parametrize("name", CASES)
def test_chains_have_the_exact_density_whatever_the_flow(name, key):
    *_, centre, width = CASES[name]
    generator, params = random_flow(3, centre, width)
    frames, arrivals, acceptance = chains_of(name, generator, params, key)
    found, bound = deviation(name, frames, 1.0)
    assert found < bound
    assert arrivals > 1000
    assert 0.6 < acceptance < 0.95


def test_a_wrong_density_of_the_flow_shows(key):
    """The same test sees a generator whose ln q has the determinant upside down."""
    name = "double well"
    *_, centre, width = CASES[name]
    generator, params = random_flow(3, centre, width)
    wrong = dataclasses.replace(generator, bijector=wrong_sign(generator.bijector))
    frames, *_ = chains_of(name, wrong, params, key)
    found, bound = deviation(name, frames, 1.0)
    assert found > bound


def test_masses_change_the_pace_alone(key):
    name = "double well"
    *_, centre, width = CASES[name]
    generator, params = random_flow(3, centre, width)
    frames, *_ = chains_of(name, generator, params, key, speed=np.array([1.5, 0.5]))
    found, bound = deviation(name, frames, 1.0)
    assert found < bound


def test_where_the_generator_gives_nothing_is_outside_of_the_target(key):
    """A map that reaches x0 > 0 alone: chains hold the density restricted to it."""
    name = "double well"
    *_, centre, width = CASES[name]
    generator, params = random_flow(3, centre, width)
    whole = generator.bijector

    def inverse(params, x):
        z, log_det = whole.inverse(params, x)
        return z, jnp.where(x[0] > 0, log_det, -jnp.inf)

    half = dataclasses.replace(generator, bijector=dataclasses.replace(whole, inverse=inverse))
    target = make_target(CASES[name][0])
    start = generator.sample(key, params, 2000).x
    start = start[:, np.flatnonzero(start[0] > 0)[: SETTINGS.n_chains]]
    chains = start_chains(half, params, target, start, SETTINGS)
    # samples that the map makes outside cannot be found back by it: they have to be refused as well
    restricted = dataclasses.replace(
        target, reduced_energy=lambda x: jnp.where(x[0] > 0, target.reduced_energy(x), jnp.inf)
    )
    advance = make_flow_moves(half, restricted, SETTINGS)
    chains, frames = advance(params, chains, key, 0)
    assert np.asarray(frames.x)[:, 0].min() > 0
    assert np.asarray(frames.arrivals).sum() > 0


def test_blocks_go_on_where_the_last_one_ended_and_compile_once(key):
    name = "double well"
    generator, params = random_flow(3, *CASES[name][3:])
    target = make_target(CASES[name][0])
    traced = []

    def counting(x):
        traced.append(x.shape)
        return target.reduced_energy(x)

    counted = dataclasses.replace(target, reduced_energy=counting)
    start = generator.sample(key, params, SETTINGS.n_chains).x
    first = start_chains(generator, params, target, start, SETTINGS)
    advance = make_flow_moves(generator, counted, SETTINGS)
    after, _ = advance(params, first, key, 0)
    n = len(traced)
    again, frames = advance(params, after, key, 1)
    assert len(traced) == n
    saved = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), after)  # as read from a file
    chex.assert_trees_all_equal(advance(params, saved, key, 1), (again, frames))
    assert len(traced) == n


def test_starts_without_density_are_refused(key):
    name = "double well"
    generator, params = random_flow(3, *CASES[name][3:])
    target = make_target(CASES[name][0])
    start = np.full((2, 4), np.nan, np.float32)
    with pytest.raises(ConfigError, match="4 of 4 starting configurations"):
        start_chains(generator, params, target, start, SETTINGS)


def test_starts_of_another_shape_are_refused(key):
    generator, params = random_flow(3, *CASES["double well"][3:])
    target = make_target(CASES["double well"][0])
    with pytest.raises(
        ConfigError, match=r"flow_moves: start must be \(n_chains, 2\), got \(2, 5\)"
    ):
        flow_moves(key, generator, params, target, np.zeros((2, 5)), settings=SETTINGS)


@pytest.mark.parametrize(
    "wrong",
    [{"stride": 3}, {"n_rounds": 150}, {"n_burn_in": 150}, {"n_fresh": 0}, {"timestep": 0.0}],
)
def test_settings_that_cannot_be_run_are_refused(wrong):
    with pytest.raises(ConfigError, match="flow moves"):
        dataclasses.replace(SETTINGS, **wrong)
