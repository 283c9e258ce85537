"""References that have not forgotten their start are refused, on jump processes whose F is known."""

import numpy as np
import pytest
from scipy import stats

from jbg.analysis.equilibration import (
    checked_reference,
    crossings,
    group_difference,
    split_r_hat,
    within,
)

LADDERS = 16


def jumps(rng, share, tau, n, start):
    """Whether each of ``start (ladders,)`` is in B in n frames after n / 12 of burn-in; relaxation time tau."""
    state, decay, found = np.array(start), np.exp(-1 / tau), []
    for _ in range(n + n // 12):
        state = rng.random(len(state)) < share + (state - share) * decay
        found.append(state)
    return np.stack(found[n // 12 :], axis=1)


def both_sides(n=LADDERS):
    return np.arange(n) % 2 == 1


def check(in_b, start, seed=0, **options):
    options = {"walkers": np.zeros(in_b.shape, int), "sides": {"t": start}} | options
    return checked_reference(~in_b, in_b, seed=seed, **options)


def test_split_r_hat_is_that_of_arviz():
    x = [
        [0.0, 0.3, 0.03, -0.86, -1.32, -2.31, -2.25, -0.91],
        [-0.49, -1.11, -0.62, -0.27, -0.16, -1.09, -1.12, -0.42],
        [-1.34, -1.8, -3.7, -4.99, -6.83, -7.07, -8.34, -8.07],
    ]
    # arviz 0.23.4, rhat(x, method="split"), of the values and of x > 0 (there method="rank" is the same)
    assert split_r_hat(x) == pytest.approx(3.321292551802683, rel=1e-12)
    assert split_r_hat(np.array(x) > 0) == pytest.approx(1.224744871391589, rel=1e-12)


def test_split_r_hat_of_walkers():
    """One walker: the ladder itself. Two that take turns: each half has two chains of half the length."""
    x = np.random.default_rng(0).normal(size=(3, 40))
    assert split_r_hat(x, np.zeros(x.shape, int)) == pytest.approx(split_r_hat(x), rel=1e-12)
    walkers = np.tile([0, 1], (3, 20))
    apart = np.concatenate([x[:, :20:2], x[:, 20::2], x[:, 1:20:2], x[:, 21::2]], axis=1)
    chains = apart.reshape(3, 2, 20).reshape(6, 20)
    assert split_r_hat(x, walkers) == pytest.approx(split_r_hat(chains), rel=1e-12)


def test_split_r_hat_tells_chains_that_disagree_or_drift():
    noise = np.random.default_rng(0).normal(size=(8, 400))
    assert split_r_hat(noise) < 1.01
    assert split_r_hat(noise + np.arange(8)[:, None]) > 1.5
    assert split_r_hat(noise + np.linspace(0, 3, 400)) > 1.2  # all chains alike
    assert split_r_hat(np.ones((4, 10))) == 1
    assert split_r_hat(np.repeat([[0.0], [1.0]], 10, axis=1)) == np.inf
    assert split_r_hat(np.ones((4, 3))) == np.inf
    assert split_r_hat(np.ones((4, 4)), np.tile(np.arange(4), (4, 1))) == np.inf


def test_crossings_are_those_of_walkers():
    in_b = np.array([[0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 0, 1]], bool)
    walkers = np.array([[0, 1, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(crossings(~in_b, in_b, walkers), [0, 3])
    np.testing.assert_array_equal(crossings(~in_b, in_b, np.zeros((2, 6), int)), [5, 3])
    between = np.array([[1, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0]], bool)  # in neither state
    np.testing.assert_array_equal(crossings(~in_b & ~between, in_b & ~between, 0 * walkers), [3, 3])


def test_group_difference_is_welch():
    rng = np.random.default_rng(1)
    a, b = rng.normal(1.0, 1.0, 7), rng.normal(0.0, 3.0, 12)
    values, group = np.concatenate([a, b]), np.arange(19) < 7
    apart, error, freedom = group_difference(values, group)
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert apart / error == pytest.approx(expected.statistic)
    assert freedom == pytest.approx(expected.df)


def test_within_leaves_the_mean_of_the_state_out():
    values, state = np.array([[1.0, 2.0, 9.0]]), np.array([[True, True, False]])
    np.testing.assert_array_equal(within(values, state), [[-0.5, 0.5, 0.0]])


def of_ladders(rng, share, tau, n, start, n_walkers):
    """The same as a ladder of temperatures shows it: each frame of one of its walkers, which jump alone."""
    all_of_them = jumps(rng, share, tau, n, np.repeat(start, n_walkers))
    walkers = rng.integers(n_walkers, size=(len(start), n))
    frames = all_of_them.reshape(len(start), n_walkers, n)
    return np.take_along_axis(frames, walkers[:, None], axis=1)[:, 0], walkers


N_SEEDS = 25


@pytest.fixture(scope="module")
def accepted():
    """share, length in relaxation times -> errors in standard errors of the accepted, 1 and 5 walkers."""
    found = {}
    for share in (0.05, 0.19, 0.5):
        for length in (3, 9, 48):
            errors = []
            for seed in range(50_000, 50_000 + N_SEEDS):  # the bounds were chosen with other seeds
                for n_walkers in (1, 5):
                    rng, start = np.random.default_rng(seed), both_sides()
                    in_b, walkers = of_ladders(rng, share, 300 / length, 300, start, n_walkers)
                    result = check(in_b, start, seed, walkers=walkers)
                    if result.value is not None:
                        error = result.value - np.log((1 - share) / share)
                        errors.append(error / result.stderr)
            found[share, length] = np.array(errors)
    return found


def test_accepted_references_are_right(accepted):
    errors = np.concatenate(list(accepted.values()))
    assert len(errors) > 180
    # Student's t of 16 ladders, as widened: 0.5 % are beyond 3, so that 5 of 200 happen once in 300
    assert np.sum(np.abs(errors) > 3) <= 4
    assert np.mean(np.abs(errors) > 1.96) < 0.1
    assert abs(np.mean(errors)) < 0.3


@pytest.mark.parametrize("share", [0.05, 0.19, 0.5])
def test_longer_simulations_are_accepted_more_often(share, accepted):
    rates = [len(accepted[share, length]) / (2 * N_SEEDS) for length in (3, 9, 48)]
    assert rates[0] <= 0.1
    assert rates[0] < rates[1] < rates[2] + 0.02
    assert rates[2] >= 0.9


def test_short_simulations_from_one_side_are_far_off_and_none_passes():
    start, off = np.ones(LADDERS, bool), 0
    for seed in range(40):
        in_b = jumps(np.random.default_rng(seed), 0.19, 150.0, 300, start)
        assert check(in_b, start, seed).value is None
        share = in_b.mean(1)
        off += abs(share.mean() - 0.19) > 3 * share.std(ddof=1) / np.sqrt(LADDERS)
    assert off > 20  # which is what the checks are for


def test_walkers_show_what_swaps_hide():
    """Ten walkers that hardly ever cross, all begun in B: every ladder looks as if it mixed."""
    rng, start = np.random.default_rng(1), np.ones(LADDERS, bool)
    in_b, walkers = of_ladders(rng, 0.3, 100.0, 300, start, 10)
    assert split_r_hat(in_b) < 1.2
    assert split_r_hat(in_b, walkers) > 1.5
    assert "split-R-hat" in check(in_b, start, walkers=walkers).reason


def test_the_beginning_is_left_out_where_it_is_remembered():
    start = both_sides()
    errors = [[], []]
    for seed in range(60):
        in_b, walkers = of_ladders(np.random.default_rng(seed), 0.05, 40.0, 400, start, 6)
        result = check(in_b, start, seed, walkers=walkers)
        if result.value is not None:
            errors[0].append(result.value - np.log(19))
            errors[1].append(np.log((~in_b).sum() / in_b.sum()) - np.log(19))
    assert len(errors[0]) > 20
    assert np.mean(errors[1]) < -0.25  # all of the frames: too many in B
    assert abs(np.mean(errors[0])) < 0.12


def half_in_each(n=400):
    """Sound apart from what a test does to it."""
    return jumps(np.random.default_rng(3), 0.5, 5.0, n, both_sides())


def test_a_sound_simulation_passes():
    result = check(half_in_each(), both_sides())
    assert result.reason is None
    low, high = result.interval95
    assert result.stderr == pytest.approx((high - low) / 2 / 1.96, rel=1e-4)


def test_each_check_says_what_it_found():
    sound, start = half_in_each(), both_sides()
    stuck = np.repeat(start[:, None], 400, axis=1)
    assert "0 crossings between the first state and the second state in 16 ladders" in (
        check(stuck, start).reason
    )
    biased = sound | (start[:, None] & (np.random.default_rng(4).random(sound.shape) < 0.5))
    assert "ladders that started on either side of t spend 0.7" in check(biased, start).reason
    drifting = sound & (np.random.default_rng(5).random(sound.shape) < np.linspace(0.3, 1, 400))
    assert "the halves of the simulation differ by" in check(drifting, start).reason
    slow = jumps(np.random.default_rng(6), 0.4, 80.0, 400, start)
    assert "split-R-hat of the share of the second state is 1." in check(slow, start).reason


def test_swaps_between_walkers_that_never_cross_are_no_crossings():
    sound, start = half_in_each(), both_sides()
    assert "0 crossings" in check(sound, start, walkers=sound.astype(int)).reason


def test_what_is_slow_within_a_state_is_found():
    sound, start = half_in_each(), both_sides()
    psi = np.where(jumps(np.random.default_rng(7), 0.5, 100.0, 400, start), 1.0, -1.0)
    assert check(sound, start, slow={"cos psi": np.where(sound, 1.0, psi)}).reason.startswith(
        "split-R-hat of cos psi within the first state is"
    )
    assert check(sound, start, slow={"cos psi": np.where(sound, 1.0, 0.5)}).reason is None


def test_one_side_asks_for_more():
    in_b = jumps(np.random.default_rng(8), 0.4, 42.0, 400, both_sides())
    assert 1.2 < split_r_hat(in_b) < 1.35
    assert check(in_b, both_sides()).reason is None
    for sides in ({}, {"t": np.ones(LADDERS, bool)}):
        assert "need 1.2 or less" in check(in_b, both_sides(), sides=sides).reason
