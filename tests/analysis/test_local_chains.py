"""Chains that sit where a flow generates nothing set off an alarm, others do not: basins with exact weights."""

import numpy as np
import pytest

from jbg.analysis import local_chain_gap, unseen_alarms

N, N_CHAINS, N_FRAMES = 20_000, 48, 40
SHARES = np.array([0.55, 0.30, 0.08, 0.07])


def energies(rng, shape, dim):
    """Reduced energies of a basin of ``dim`` harmonic degrees of freedom, above its minimum."""
    return 0.5 * rng.chisquare(dim, shape)


def flow(rng, dim, *, lost=(), factor=1e-6, scatter=0.4, tail=0.0):
    """ln w and u of generated samples, and of chains in every basin; the error of ln q is ``scatter`` nats.

    q has ``factor`` of the weight that it should have in the basins ``lost``, and is right up to its scatter
    elsewhere. ``tail``: share of samples whose weight is Pareto distributed (k = 0.7).
    """
    thinned = np.where(np.isin(np.arange(4), lost), factor, 1.0)
    q = SHARES * thinned / np.sum(SHARES * thinned)
    shift = np.log(SHARES / q)  # of ln w in each basin, ln Z = 0
    depth = -np.log(SHARES)  # minima of basins of one width

    def of(basin):
        shape = basin.shape
        log_w = shift[basin] + scatter * rng.normal(size=shape)
        heavy = rng.random(shape) < tail
        log_w = log_w + np.where(heavy, 0.7 * rng.exponential(size=shape), 0.0)
        return log_w, depth[basin] + energies(rng, shape, dim)

    generated = of(rng.choice(4, N, p=q))
    chain = np.repeat(np.arange(N_CHAINS), N_FRAMES)
    return *of(chain % 4), chain, *generated


@pytest.mark.parametrize("dim", [60, 150])
@pytest.mark.parametrize("lost", [(2,), (1,), (1, 3)])
def test_a_basin_that_the_flow_lost_is_seen(dim, lost):
    for seed in range(20):
        gap = local_chain_gap(*flow(np.random.default_rng(seed), dim, lost=lost))
        assert gap["n_above"] == len(lost) * N_CHAINS // 4
        assert gap["excess"] == pytest.approx(6 * np.log(10), abs=1.0)
        assert "12 of 48" in unseen_alarms(gap)[1] or "24 of 48" in unseen_alarms(gap)[1]


@pytest.mark.parametrize(("scatter", "tail"), [(0.0, 0.0), (0.4, 0.0), (1.5, 0.0), (0.4, 0.3)])
def test_a_flow_that_generates_all_basins_is_left_alone(scatter, tail):
    for seed in range(100):
        gap = local_chain_gap(*flow(np.random.default_rng(seed), 60, scatter=scatter, tail=tail))
        assert gap["n_above"] == 0
        (warning,) = unseen_alarms(gap)
        assert "Of 48 short chains" in warning
        assert "none sits where" in warning


def test_a_rare_basin_that_is_served_a_little_worse_is_no_matter():
    # one that holds too little to be among the generated: its weights, 20 times the mean, are found nowhere else
    log_w, u, chain, *generated = flow(np.random.default_rng(0), 60)
    worse = np.where(chain == 0, np.log(20.0), log_w)
    assert local_chain_gap(worse, u, chain, *generated)["n_above"] == 0
    much_worse = np.where(chain == 0, np.log(100.0), log_w)
    assert local_chain_gap(much_worse, u, chain, *generated)["n_above"] == 1


def test_what_the_weights_show_themselves_is_left_to_them():
    # q too small by 50: two hundredths of 8 % of the samples, each with a weight of 50
    gap = local_chain_gap(*flow(np.random.default_rng(0), 60, lost=(2,), factor=0.02))
    assert gap["n_above"] == 0


def test_strained_chains_and_frames_outside_do_not_count():
    log_w, u, chain, *generated = flow(np.random.default_rng(0), 60, lost=(2,))
    strained = np.where(chain % 4 == 2, u + 15.0, u)
    gap = local_chain_gap(log_w, strained, chain, *generated)
    assert (gap["n_chains"], gap["n_close"], gap["n_above"]) == (48, 36, 0)
    outside = np.where(chain % 4 == 2, np.nan, log_w)
    gap = local_chain_gap(outside, u, chain, *generated)
    assert (gap["n_chains"], gap["n_above"], gap["outside_share"]) == (36, 0, 0.25)
    nowhere = local_chain_gap(np.full(log_w.shape, np.inf), u, chain, *generated)
    assert (nowhere["n_chains"], nowhere["excess"]) == (0, None)


def test_a_run_without_chains_still_says_what_nothing_can_show():
    (warning,) = unseen_alarms(None)
    assert "no equilibrium was simulated" in warning
