"""The archive of an exploration: the lowest energies of each state over all time, each configuration once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.interfaces import ConfigError
from jbg.sampling.exploration import Exploration, begin, explore
from jbg.sampling.exploration_archive import archived, empty_archive
from jbg.systems import double_well
from jbg.targets import make_target
from tests.losses.affine import generator

SYSTEM = double_well()
TARGET = make_target(SYSTEM)
SETTINGS = Exploration(
    budget=6000, buffer=200, batch=50, moves=4, first_steps=10, train_steps=4, data_batch=32,
    energy_batch=16, first_tau=6.0, last_tau=3.0, archive=15,
)  # fmt: skip


def test_it_keeps_the_lowest_of_all_that_was_shown():
    """Against sorting everything that ever was there; stays, repeats and energies that are not finite included."""
    rng = np.random.default_rng(0)
    archive, shown = empty_archive(2, 5, 3), []
    look = jax.jit(archived)
    x, u = rng.normal(size=(20, 3)).astype(np.float32), rng.normal(size=20).astype(np.float32)
    for _ in range(6):
        moved = rng.random(20) < 0.3
        x = np.where(moved[:, None], rng.normal(size=x.shape), x).astype(np.float32)
        u = np.where(moved, rng.normal(size=20), u).astype(np.float32)
        seen = u.copy()
        seen[:2] = np.nan, np.inf
        archive = look(archive, x, seen, np.stack([x[:, 0] < 0, x[:, 0] >= 0]))
        shown += [(float(e), tuple(row)) for e, row in zip(seen, x, strict=True) if np.isfinite(e)]
    for s, inside in enumerate((lambda r: r[0] < 0, lambda r: r[0] >= 0)):
        best = sorted({pair for pair in shown if inside(pair[1])})[:5]
        np.testing.assert_array_equal(archive.u[s], np.float32([e for e, _ in best]))
        np.testing.assert_array_equal(archive.x[s], np.float32([row for _, row in best]))


def test_it_is_filled_from_the_front_and_empty_behind():
    x, u = jnp.ones((4, 2)), jnp.array([3.0, 1.0, 1.0, 2.0])
    found = archived(empty_archive(1, 6, 2), x, u, jnp.ones((1, 4), bool))
    np.testing.assert_array_equal(found.u, [[1.0, 2.0, 3.0, np.inf, np.inf, np.inf]])


def whole_of(key, generator, target, start, **what):
    return explore(begin(key, generator, target, start, **what), generator, target, **what)


@pytest.fixture(scope="module")
def explored():
    return whole_of(
        jax.random.key(0), generator(), TARGET, SYSTEM.start[0],
        settings=SETTINGS, states=SYSTEM.states,
    )  # fmt: skip


def test_an_exploration_fills_it(explored):
    """Energies are the target's, configurations lie in their states, none is above the buffer's own lowest."""
    state, history = explored
    buffer, u = np.asarray(state.buffer), np.asarray(state.u)
    for s, region in enumerate(SYSTEM.states):
        kept = np.isfinite(state.archive.u[s])
        x, energies = state.archive.x[s][kept], state.archive.u[s][kept]
        assert kept.sum() == history.archived[-1, s] > 0
        assert np.asarray(region.contains(x.T)).all()
        np.testing.assert_allclose(energies, TARGET.reduced_energy(x.T), atol=1e-3)
        assert (np.diff(energies) > 0).all()
        inside = np.asarray(region.contains(buffer.T))
        assert energies[0] <= u[inside].min(initial=np.inf)
    assert (np.diff(history.archived, axis=0) >= 0).all()


def test_moves_cool_to_the_last_temperature(explored):
    tau = explored[1].tau
    assert tau[0] == pytest.approx(6.0)
    np.testing.assert_allclose(tau[-5:], 3.0, rtol=1e-6)
    steps = np.diff(np.log(tau[: int(len(tau) * 0.6)]))
    np.testing.assert_allclose(steps, steps[0], atol=1e-5)  # geometrically
    assert steps[0] < 0


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"archive": -1}, "archive must be 0 or more"),
        ({"last_tau": 7.0}, "first_tau must be at least last_tau"),
    ],
)
def test_bad_settings_are_named(change, what):
    with pytest.raises(ConfigError, match=what):
        dataclasses.replace(SETTINGS, **change)


def test_none_may_be_kept():
    settings = dataclasses.replace(SETTINGS, archive=0, budget=1500)
    state, history = whole_of(
        jax.random.key(0), generator(), TARGET, SYSTEM.start[0],
        settings=settings, states=SYSTEM.states,
    )  # fmt: skip
    assert state.archive.u.shape == (2, 0)
    assert (history.archived == 0).all()
