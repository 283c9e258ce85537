"""Exploration from one configuration: it finds the other well, counts its energies, and can be resumed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import flows
from jbg.analysis import free_energy_difference
from jbg.generator import Generator
from jbg.interfaces import ConfigError, Target
from jbg.reweighting import log_weights
from jbg.sampling import exploration
from jbg.sampling.exploration import Exploration, begin, explore
from jbg.systems import double_well, mueller_brown
from jbg.targets import (
    find_bounds,
    free_energy_difference_quadrature,
    make_target,
    restrict,
)
from jbg.training import Checkpoints
from tests.losses.affine import generator

SYSTEM = double_well()
TARGET = make_target(SYSTEM)
FLOW = generator()  # affine: quick to compile
SHORT = Exploration(
    budget=12_000,
    buffer=300,
    batch=50,
    moves=5,
    first_steps=20,
    train_steps=5,
    data_batch=64,
    energy_batch=32,
)


def whole_of(key, generator, target, start, **what):
    return explore(begin(key, generator, target, start, **what), generator, target, **what)


def go(key, *, state=None, n_iterations=None, settings=SHORT):
    given = {"settings": settings, "states": SYSTEM.states}
    if state is None:
        state = begin(key, FLOW, TARGET, SYSTEM.start[0], **given)
    return explore(state, FLOW, TARGET, n_iterations=n_iterations, **given)


@pytest.fixture(scope="module")
def whole():
    return go(jax.random.key(3))


def same(a, b) -> bool:
    plain = lambda leaf: np.asarray(
        jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    )
    return all(
        np.array_equal(plain(x), plain(y))
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_energies_are_counted_and_stay_within_the_budget(whole):
    state, history = whole
    per_iteration = 5 * 50 + 5 * 32
    assert len(history.step) == (12_000 - 300) // per_iteration
    np.testing.assert_array_equal(np.diff(history.n_evaluations), per_iteration)
    assert history.n_evaluations[0] == 300 + per_iteration
    assert 12_000 - per_iteration < history.n_evaluations[-1] <= 12_000
    assert int(state.n_evaluations) == history.n_evaluations[-1]


def test_the_count_is_what_is_asked_of_the_target_and_a_predicate_holds(key):
    """Counted by a callback in the program itself: in the first buffer, in moves and in training."""
    asked = []

    def reduced_energy(x):
        jax.debug.callback(lambda n=x.shape[-1]: asked.append(n))
        return TARGET.reduced_energy(x)

    target = Target(dim=2, reduced_energy=reduced_energy)
    state, history = whole_of(
        key,
        FLOW,
        target,
        SYSTEM.start[0],
        settings=dataclasses.replace(SHORT, budget=4000),
        states=SYSTEM.states,
        allowed=SYSTEM.states[0].contains,
    )
    jax.effects_barrier()
    assert sum(asked) == int(state.n_evaluations)
    np.testing.assert_array_equal(history.shares[:, 1], 0.0)
    assert history.accepted_local.mean() > 0.1


def test_stored_energies_belong_to_the_buffer(whole):
    state, history = whole
    np.testing.assert_allclose(state.u, TARGET.reduced_energy(state.buffer.T), atol=1e-3)
    shares = [np.mean(s.contains(np.asarray(state.buffer).T)) for s in SYSTEM.states]
    np.testing.assert_allclose(history.shares[-1], shares, atol=1e-6)
    np.testing.assert_allclose(history.shares.sum(axis=1), 1.0, atol=1e-6)


def test_stopped_saved_and_resumed_is_the_same(whole, tmp_path):
    state, history = go(jax.random.key(3), n_iterations=7)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(7, state)
    restored = checkpoints.restore(go(jax.random.key(5), n_iterations=0)[0])
    checkpoints.close()
    last, rest = go(jax.random.key(99), state=restored)
    assert same(last, whole[0])
    np.testing.assert_array_equal(np.concatenate([history.step, rest.step]), whole[1].step)


def test_the_step_is_adapted(key):
    """Ten times too long and too short at first, the step ends where the acceptance is near what is asked for."""
    settings = dataclasses.replace(SHORT, reach=1.0, acceptance=0.4, global_moves=0.0, first_tau=1)
    first, _ = go(key, settings=settings, n_iterations=0)
    ends = []
    for step in (0.05, 20.0):
        start = first._replace(step=jnp.asarray(step, first.step.dtype))
        _, history = go(key, settings=settings, state=start)
        assert abs(history.accepted_local[-8:].mean() - 0.4) < 0.1
        assert np.isnan(history.accepted_global).all()
        ends.append(history.step[-8:].mean())
    assert 0.5 < ends[0] / ends[1] < 2


def test_going_on_does_not_compile_again(whole):
    go(
        jax.random.key(1),
        state=whole[0]._replace(iteration=jnp.asarray(0, jnp.int32)),
        n_iterations=2,
    )
    go(jax.random.key(2), n_iterations=2)
    iterate = exploration.compiled(FLOW, TARGET, 0.0, SHORT, SYSTEM.states, None)
    assert iterate._cache_size() == 1


def test_without_a_finite_start_it_stops(key):
    never = restrict(TARGET, lambda x: x[0] > 1e6)
    with pytest.raises(ConfigError, match="no copy of the start"):
        begin(key, FLOW, never, SYSTEM.start[0], settings=SHORT)
    with pytest.raises(ConfigError, match=r"start must be \(2,\)"):
        begin(key, FLOW, TARGET, np.zeros(3), settings=SHORT)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"buffer": 40}, "a buffer of 40 cannot fill a batch of 50"),
        ({"budget": 400}, "does not last for one iteration"),
        ({"moves": 0}, "must be at least 1"),
        ({"global_moves": 1.0}, r"global_moves in \[0, 1\)"),
        ({"acceptance": 0.0}, r"acceptance in \(0, 1\)"),
        ({"first_tau": 0.5}, "first_tau must be at least last_tau"),
        ({"noise": 0.0}, "noise be > 0"),
    ],
)
def test_bad_settings_are_named(change, what):
    with pytest.raises(ConfigError, match=what):
        dataclasses.replace(SHORT, **change)


@pytest.mark.slow
@pytest.mark.parametrize("make", [double_well, mueller_brown])
def test_both_states_and_their_free_energy_from_one_configuration(make):
    """3e5 energies from the deepest minimum; the difference within 0.3 kT of quadrature, in each of three runs."""
    system = make()
    a, b = system.states[:2]
    target = make_target(system)
    flow = Generator(base=flows.normal(2), bijector=flows.realnvp(2))
    exact = free_energy_difference_quadrature(
        system.potential, find_bounds(system.potential, system.start), a.contains, b.contains
    )
    for seed in range(3):
        state, history = whole_of(
            jax.random.key(seed),
            flow,
            target,
            system.start[0],
            states=(a, b),
        )
        assert history.shares[0, 1] < 0.05
        assert int(state.n_evaluations) <= 300_000
        samples = flow.sample(jax.random.key(100 + seed), state.train.average, 100_000)
        log_w = log_weights(target.reduced_energy(samples.x), samples.log_prob)
        in_a, in_b = (np.asarray(s.contains(samples.x)) for s in (a, b))
        found = free_energy_difference(log_w, in_a, in_b, seed=0)
        assert found.value is not None, found.reason
        assert abs(found.value - exact) < 0.3
