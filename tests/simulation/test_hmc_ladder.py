"""Ladders of hybrid Monte Carlo against quadrature; jumps; what a resumed run and a count of energies owe."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.interfaces import ConfigError, Target
from jbg.simulation.hmc_ladder import HmcLadder, initial_ladders, make_block


def toy_energy(v):
    """An angle with wells of unequal depth and a quartic on the line, coupled."""
    a, b = v
    return 2.5 * jnp.cos(2 * a) + jnp.cos(a) + 0.25 * b**4 - 1.5 * b * jnp.sin(a)


TOY = Target(dim=2, reduced_energy=toy_energy)
ANGLE = Target(dim=1, reduced_energy=lambda v: toy_energy(jnp.stack([v[0], jnp.zeros_like(v[0])])))
SMALL = {
    "taus": (1.0, 2.5),
    "n_ladders": 6,
    "n_rounds": 20,
    "n_burn_in": 40,
    "block": 10,
    "stride": 5,
}


def observables(v):
    """Means that tell the wells, the two sides of them and the coupling apart; v ``(..., 2, ladders)``."""
    a, b = v[..., 0, :], v[..., 1, :]
    waves = [np.cos(a), np.sin(a), np.cos(2 * a), np.sin(2 * a)]
    return np.stack([*waves, b, b**2, b * np.sin(a), b**4])


def by_quadrature(tau, region=None):
    a, b = np.meshgrid(np.linspace(-np.pi, np.pi, 800, endpoint=False), np.linspace(-6, 6, 400))
    v = np.stack([a.ravel(), b.ravel()])
    weights = np.exp(-np.asarray(toy_energy(v), np.float64) / tau)
    weights = weights if region is None else weights * np.asarray(region(v))
    return observables(v) @ weights / weights.sum()


def deviations(values, expected):
    """(observables, ladders) against the exact, in standard errors over ladders."""
    error = values.std(1, ddof=1) / np.sqrt(values.shape[1])
    assert error.max() < 0.1
    return (values.mean(1) - expected) / error


def run(target, settings, key, *, jump=None, start=None, region=None):
    """The last state, all frames after burn-in, and v of the highest temperature after each block of it."""
    state = initial_ladders(target, settings, np.zeros((1, target.dim)) if start is None else start)
    block, kept, hottest = make_block(target, settings, jump, region), [], []
    while int(state.round) < settings.total_rounds:
        state, frames = block(state, key)
        kept.append(jax.tree.map(np.asarray, frames))
        hottest.append(np.asarray(state.v[:, -1]))
    kept = kept[settings.n_burn_in // settings.block :]
    frames = type(kept[0])(*(np.concatenate(each) for each in zip(*kept, strict=True)))
    return state, frames, np.stack(hottest[settings.n_burn_in // settings.block :])


def swing(key, v):
    """The angle by any amount, as likely there as back."""
    return v.at[0].add(jax.random.uniform(key, v.shape[1:], v.dtype, -np.pi, np.pi))


@pytest.fixture(scope="module")
def exchanged():
    settings = HmcLadder(
        taus=(1.0, 2.0, 4.0), n_ladders=64, n_rounds=1000, n_burn_in=200, block=5, n_leapfrog=4
    )
    return settings, *run(TOY, settings, jax.random.key(1), jump=swing)


def test_coldest_and_hottest_are_exact(exchanged):
    settings, _, frames, hottest = exchanged
    for v, tau in ((frames.v, 1.0), (hottest, settings.taus[-1])):
        assert v.shape == (200, 2, 64)
        found = observables(v).mean(1)
        assert np.abs(deviations(found, by_quadrature(tau))).max() < 4.5
    # each tells the other temperature apart
    found = observables(frames.v).mean(1)
    assert np.abs(deviations(found, by_quadrature(settings.taus[-1]))).max() > 8


def test_energies_walkers_and_counters_are_those_of_the_configurations(exchanged):
    settings, state, frames, _ = exchanged
    u, gradient = toy_energy(state.v), jax.grad(lambda v: toy_energy(v).sum())(state.v)
    np.testing.assert_allclose(state.u, u, atol=2e-4)
    np.testing.assert_allclose(state.gradient, gradient, atol=5e-3)
    np.testing.assert_array_equal(np.sort(state.walker, 0), np.repeat([[0], [1], [2]], 64, 1))
    assert set(np.unique(frames.walker)) == {0, 1, 2}
    assert np.abs(np.diff(frames.walker, axis=0)).mean() > 0.05
    np.testing.assert_allclose(state.accepted / settings.n_rounds, 0.75, atol=0.08)
    jumped = np.asarray(state.jumped) / settings.n_rounds
    assert np.all(np.diff(jumped) > 0)
    assert 0.1 < jumped[0] < jumped[-1] < 0.9
    np.testing.assert_array_equal(state.tried, [settings.n_rounds / 2] * 2)
    assert np.all((state.swapped / state.tried > 0.2) & (state.swapped < state.tried))


def disc(v):
    """A region whose edge both coordinates meet, at neither of their wells."""
    return (v[0] - 1.0) ** 2 + v[1] ** 2 < 2.0


def test_every_rung_is_restricted_to_the_region_and_exact_in_it():
    settings = HmcLadder(
        taus=(1.0, 2.0, 4.0), n_ladders=64, n_rounds=1000, n_burn_in=200, block=5, n_leapfrog=4
    )
    start = np.array([[1.0, 0.5]])
    state, frames, hottest = run(
        TOY, settings, jax.random.key(3), jump=swing, start=start, region=disc
    )
    for v, tau in ((frames.v, 1.0), (hottest, settings.taus[-1])):
        assert disc(np.moveaxis(v, 1, 0)).all()
        found = observables(v).mean(1)
        assert np.abs(deviations(found, by_quadrature(tau, disc))).max() < 4.5
        assert np.abs(deviations(found, by_quadrature(tau))).max() > 8
    turned = np.asarray(state.turned_back) / settings.n_rounds
    assert 0.01 < turned[0] < turned[-1] < 0.5
    # steps adapt to the energies, not to the edge
    np.testing.assert_allclose((state.accepted / settings.n_rounds)[0], 0.75, atol=0.08)


def contract(key, v):
    """No way back from most of where it leads."""
    return 0.7 * (jnp.mod(v + np.pi, 2 * np.pi) - np.pi) + 0.3 * jax.random.normal(key, v.shape)


@pytest.mark.parametrize("jump", [swing, contract])
def test_jumps_alone_sample_the_law_of_an_angle_if_they_are_symmetric(jump):
    settings = HmcLadder(
        taus=(1.0,), n_ladders=128, n_rounds=300, n_burn_in=0, block=100, n_leapfrog=1, n_jumps=3, step=1e-6
    )  # fmt: skip
    start = np.random.default_rng(0).uniform(-np.pi, np.pi, (128, 1))
    state, frames, hottest = run(ANGLE, settings, jax.random.key(2), jump=jump, start=start)
    a = np.linspace(-np.pi, np.pi, 400, endpoint=False)
    weights = np.exp(-np.asarray(ANGLE.reduced_energy(a[None]), np.float64))
    waves = lambda a: np.stack([np.cos(a), np.sin(a), np.cos(2 * a), np.cos(3 * a)])
    found = waves(frames.v[20:, 0]).mean(1)
    off = np.abs(deviations(found, waves(a) @ weights / weights.sum())).max()
    assert (off < 4.5) if jump is swing else (off > 8)
    assert state.swapped.shape == (0,)
    np.testing.assert_array_equal(hottest[-1, 0], frames.v[-1, 0])


def equal(one, other):
    for before, after in zip(one, other, strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_resumed_run_is_the_same_to_the_last_bit(key):
    """Through a refit of the metric, and from a file of plain arrays."""
    settings = HmcLadder(**SMALL)
    block, state = (
        make_block(TOY, settings, swing),
        initial_ladders(TOY, settings, np.zeros((1, 2))),
    )
    through, saved = [], None
    for k in range(5):
        state, frames = block(state, key)
        through.append(frames)
        saved = jax.tree.map(np.asarray, state) if k == 0 else saved
    again, fresh = jax.tree.map(jnp.asarray, saved), make_block(TOY, settings, swing)
    for frames in through[1:]:
        again, found = fresh(again, key)
        equal(found, frames)
    equal(again, state)
    _, other = block(initial_ladders(TOY, settings, np.zeros((1, 2))), jax.random.key(9))
    assert np.abs(other.v - through[0].v).max() > 0.1


def test_metric_and_steps_change_in_burn_in_and_at_ends_of_blocks_only(key):
    """After 10 %, 20 %, 40 % and 70 % of 40 rounds: in blocks of ten after rounds 10, 20 and 30."""
    settings = HmcLadder(**SMALL)
    block, state = make_block(TOY, settings), initial_ladders(TOY, settings, np.zeros((1, 2)))
    metrics, steps, counted = [np.eye(2)], [], []
    for _ in range(6):
        state, _ = block(state, key)
        metrics.append(np.asarray(state.metric))
        steps.append(np.asarray(state.log_step))
        counted.append(float(state.counted))
    changed = [not np.array_equal(a, b) for a, b in zip(metrics, metrics[1:], strict=False)]
    assert changed == [True, True, True, False, False, False]
    assert counted == [0, 0, 0, 120, 240, 360]  # ten rounds of twelve replicas each
    assert np.all(np.linalg.eigvalsh(metrics[-1]) <= 1 + 1e-6)
    np.testing.assert_allclose(metrics[-1], metrics[-1].T)
    assert not np.array_equal(steps[2], steps[3])
    np.testing.assert_array_equal(steps[3], steps[5])
    np.testing.assert_allclose(steps[0], np.log(0.2) + 0.5 * np.log([1, 2.5]), rtol=1e-6)
    assert 0 < float(state.accepted[0]) <= settings.n_rounds
    assert np.asarray(state.jumped).sum() == 0


@pytest.mark.parametrize("n_jumps", [0, 2])
def test_energies_are_counted_as_they_are_spent_and_the_program_is_compiled_once(n_jumps, key):
    calls, traces = [], []

    def counting(v):
        traces.append(v.shape)
        jax.debug.callback(lambda: calls.append(np.prod(v.shape[1:])))
        return toy_energy(v)

    settings = HmcLadder(**SMALL | {"n_jumps": n_jumps, "n_leapfrog": 3})
    target = Target(dim=2, reduced_energy=counting)
    state = initial_ladders(target, settings, np.zeros((1, 2)))
    block = make_block(target, settings, swing if n_jumps else None)
    state, _ = block(state, key)
    traced = len(traces)
    while int(state.round) < settings.total_rounds:
        state, _ = block(state, key)
    jax.block_until_ready(state)
    jax.effects_barrier()
    assert (
        sum(calls) == settings.evaluations == 12 * (1 + 60 * (3 + (n_jumps + 1 if n_jumps else 0)))
    )
    assert len(traces) == traced


def test_what_has_no_energy_is_never_entered(key):
    """Beyond a wall the energy is not a number."""
    walled = lambda v: jnp.where(v[0] > 0, toy_energy(v), jnp.nan)
    settings = HmcLadder(**SMALL)
    state, frames, hottest = run(
        Target(dim=2, reduced_energy=walled), settings, key, jump=swing, start=[[1.0, 0.0]]
    )
    assert frames.v[:, 0].min() > 0
    assert hottest[:, 0].min() > 0
    assert all(np.isfinite(each).all() for each in state)
    assert 0.2 < float(state.accepted[0]) / settings.n_rounds < 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"taus": (2.0, 3.0)}, "taus must begin with 1, got 2"),
        ({"taus": (1.0, 1.0)}, "must rise"),
        ({"taus": ()}, "must be numbers > 0"),
        ({"n_rounds": 15}, "n_rounds must be a multiple of block = 10"),
        ({"n_burn_in": 5}, "n_burn_in must be a multiple of block = 10"),
        ({"stride": 3}, "multiple of stride"),
        ({"n_ladders": 0}, "n_ladders and n_leapfrog must be at least 1"),
        ({"n_leapfrog": 0}, "n_leapfrog must be at least 1"),
        ({"n_jumps": -1}, "n_jumps not negative"),
        ({"step": 0.0}, "step and tau must be > 0"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        HmcLadder(**SMALL | change)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (np.zeros((3, 3)), r"start must be \(n, 2\), got \(3, 3\)"),
        (np.zeros((0, 2)), r"start must be \(n, 2\)"),
        (
            np.array([[0.0, 0.0], [np.nan, 0.0]]),
            "energy of 3 of 6 starting configurations is not finite",
        ),
    ],
)
def test_bad_starts_are_named(start, message):
    with pytest.raises(ConfigError, match=message):
        initial_ladders(TOY, HmcLadder(**SMALL), start)


def test_ladders_begin_at_the_rows_of_start_in_turn():
    rows = np.arange(8.0).reshape(4, 2)
    state = initial_ladders(TOY, HmcLadder(**SMALL), rows)
    for rung in range(2):
        np.testing.assert_array_equal(state.v[:, rung].T, rows[[0, 1, 2, 3, 0, 1]])
