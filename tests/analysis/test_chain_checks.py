"""Each check of chains fires on a planted failure, and together they are quiet on runs that are right."""

import numpy as np
import pytest

from jbg.analysis.chain_checks import (
    MIN_ARRIVALS,
    Chains,
    accepted_share,
    chain_difference,
    check_state,
    refuse_all,
    slow_reason,
)
from jbg.analysis.free_energy import reference_free_energy

CHAINS, FRAMES, LADDERS = 128, 300, 6
SHARE, GOOD_RUNS = 0.05, 200
ENOUGH = 10 * MIN_ARRIVALS


def correlated(rng, shape, kept=0.7, start=None):
    """Gaussian chains of unit variance that keep ``kept`` of a value in each frame."""
    noise, x = rng.normal(size=shape), np.zeros(shape)
    x[:, 0] = noise[:, 0] if start is None else start
    for i in range(1, shape[1]):
        x[:, i] = kept * x[:, i - 1] + np.sqrt(1 - kept**2) * noise[:, i]
    return x


def jumps(rng, shape, share=SHARE, leave=0.3, start=None):
    """Two-state chains: ``leave`` the rare state with this chance in a frame; ``start (n,)`` bool."""
    enter = leave * share / (1 - share)
    inside = np.zeros(shape, bool)
    inside[:, 0] = rng.random(shape[0]) < share if start is None else start
    for i in range(1, shape[1]):
        draw = rng.random(shape[0])
        inside[:, i] = np.where(inside[:, i - 1], draw >= leave, draw < enter)
    return inside


def chains_of(rng, **changes):
    given = {
        "log_w": correlated(rng, (CHAINS, FRAMES)),
        "arrivals": ENOUGH,
        "swaps": (0.5, 0.4),
        "walkers": CHAINS,
    }
    return Chains(**given | changes)


def frames_of(rng, mean=0.0):
    log_w = mean + correlated(rng, (LADDERS, 2000), kept=0.9)
    return log_w, np.ones(log_w.shape, bool)


def reasons_of(rng, chains=None, mean=0.0):
    return refuse_all(chains_of(rng) if chains is None else chains, *frames_of(rng, mean))[1]


def ladder_difference(rng, share=SHARE):
    inside = jumps(rng, (24, 3000), share, leave=0.1)
    found = reference_free_energy((~inside).sum(1), inside.sum(1), seed=0)
    return found.value, found.stderr


@pytest.mark.slow
def test_good_runs_are_given():
    """At most 1 % of the runs that are right lose a value by any check."""
    refused = 0
    for seed in range(GOOD_RUNS):
        rng = np.random.default_rng(10_000 + seed)
        inside = jumps(rng, (CHAINS, FRAMES))
        from_frames = np.arange(CHAINS) % 2 == 0
        reasons = reasons_of(rng)
        slow = {f"torsion {i}": correlated(rng, (CHAINS, FRAMES)) for i in range(4)}
        for name, part in (("A", ~inside), ("B", inside)):
            reasons += [check_state(name, part, from_frames, 2).reason]
            reasons += [slow_reason(name, part, slow, from_frames, 2)]
        given = chain_difference((~inside, inside), ladder_difference(rng), n_pairs=1, seed=seed)
        reasons += [given.reason]
        refused += any(reasons)
    assert refused <= 0.01 * GOOD_RUNS


def test_what_the_chains_give_is_covered():
    """The interval of a difference holds the truth in 95 % of the runs, within the scatter of 200."""
    truth, held = -np.log(SHARE / (1 - SHARE)), 0
    for seed in range(200):
        inside = jumps(np.random.default_rng(20_000 + seed), (CHAINS, FRAMES))
        low, high = chain_difference(
            (~inside, inside), (None, None), n_pairs=1, seed=seed
        ).interval95
        held += low <= truth <= high
    assert 180 <= held <= 199


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arrivals": MIN_ARRIVALS - 1, "walkers": 1}, "arrived at the target, need 200"),
        ({"arrivals": 5 * CHAINS - 1}, "arrived at the target, need 640"),
        ({"swaps": (0.5, 0.1)}, "rungs 2 and 3 swap in 10 % of tries"),
        ({"swaps": (float("nan"),)}, "rungs 1 and 2 swap"),
    ],
)
def test_too_few_arrivals_and_a_gap_in_a_ladder_fire(change, words):
    rng = np.random.default_rng(1)
    (reason,) = reasons_of(rng, chains_of(rng, **change))
    assert words in reason.replace("10%", "10 %")


def test_chains_that_do_not_mix_in_ln_w_fire():
    rng = np.random.default_rng(2)
    stuck = chains_of(rng, log_w=correlated(rng, (CHAINS, FRAMES), kept=0.995))
    assert any("split-R-hat of ln w" in reason for reason in reasons_of(rng, stuck))


@pytest.mark.parametrize("mean", [1.0, -1.0])
def test_another_mean_of_ln_w_than_that_of_frames_fires(mean):
    """A lost part of the ensemble, or chains that have not come down yet."""
    (reason,) = reasons_of(np.random.default_rng(3), mean=mean)
    assert ("below" if mean > 0 else "above") + " that of simulated frames" in reason


def test_a_lost_basin_fires():
    """The generator never makes the rare state: chains from frames keep it, the others never find it."""
    rng = np.random.default_rng(4)
    from_frames = np.arange(CHAINS) < CHAINS // 2
    start = from_frames & (rng.random(CHAINS) < 0.2)
    inside = np.repeat(start[:, None], FRAMES, axis=1)
    assert check_state("B", inside, from_frames, 2).reason
    never = np.zeros((CHAINS, FRAMES), bool)
    assert "0 effective samples of B" in check_state("B", never, from_frames, 2).reason


def test_chains_from_one_start_fire():
    """A state that fills up slowly from an empty start: its share lags, and split-R-hat shows it."""
    rng = np.random.default_rng(5)
    inside = jumps(rng, (CHAINS, FRAMES), leave=0.01, start=np.zeros(CHAINS, bool))
    assert check_state("B", inside, np.zeros(CHAINS, bool), 2).reason


def test_groups_that_remember_their_starts_fire():
    rng = np.random.default_rng(6)
    from_frames = np.arange(CHAINS) % 2 == 0
    inside = np.where(
        from_frames[:, None],
        jumps(rng, (CHAINS, FRAMES), share=0.09, leave=0.6),
        jumps(rng, (CHAINS, FRAMES), share=0.04, leave=0.6),
    )
    assert "generated samples have shares" in check_state("B", inside, from_frames, 2).reason


def test_a_basin_within_a_state_that_mixes_too_slowly_fires():
    """B itself mixes; half of the chains never leave one of its two basins."""
    rng = np.random.default_rng(9)
    inside = jumps(rng, (CHAINS, FRAMES))
    from_frames = np.arange(CHAINS) % 2 == 0
    noise = rng.normal(size=inside.shape)
    slow = {"cos chi": noise + 2 * from_frames[:, None], "sin chi": noise}
    assert check_state("B", inside, from_frames, 2).reason == ""
    assert "cos chi within B" in slow_reason("B", inside, slow, from_frames, 2)
    assert slow_reason("B", inside, {"sin chi": noise}, from_frames, 2) == ""
    assert slow_reason("B", np.zeros_like(inside), slow, from_frames, 2) == ""
    shifted = {"cos chi": noise + 0.25 * from_frames[:, None]}
    assert "differ in cos chi within A" in slow_reason("A", ~inside, shifted, from_frames, 2)


def test_a_hidden_basin_that_no_chain_started_in_fires():
    """9 % of B is a basin that takes about the whole run to reach: neither the share of B nor ln w shows it."""
    rng = np.random.default_rng(10)
    inside = jumps(rng, (CHAINS, FRAMES), share=0.3)
    start = np.zeros(CHAINS, bool)
    hidden = jumps(rng, (CHAINS, FRAMES), share=0.09, leave=1 / FRAMES, start=start)
    from_frames = np.arange(CHAINS) % 2 == 0
    assert check_state("B", inside, from_frames, 2).reason == ""
    slow = {"cos chi": np.where(hidden, 1.0, -1.0) + 0.1 * rng.normal(size=inside.shape)}
    assert "split-R-hat of cos chi within B" in slow_reason("B", inside, slow, from_frames, 2)


def test_a_difference_far_from_an_equilibrated_simulation_is_left_out():
    """Under-filled by a factor of two while everything else agrees."""
    rng = np.random.default_rng(7)
    inside = jumps(rng, (CHAINS, FRAMES), share=SHARE / 2)
    found = chain_difference((~inside, inside), ladder_difference(rng), n_pairs=3, seed=0)
    assert found.value is None
    assert "one of them has not reached equilibrium" in found.reason
    alone = chain_difference((~inside, inside), (None, None), n_pairs=3, seed=0)
    assert alone.value is not None


def test_accepted_share_is_that_of_independence_metropolis():
    """q = N(0, 1) and p = N(0, s): against a chain that makes the moves."""
    rng, width = np.random.default_rng(8), 0.6
    log_w = lambda x: -0.5 * x**2 / width**2 + 0.5 * x**2
    found = accepted_share(log_w(width * rng.normal(size=5000)), log_w(rng.normal(size=5000)), 0)
    x, taken = 0.0, 0
    for new in rng.normal(size=40_000):
        go = np.log(rng.random()) < log_w(new) - log_w(x)
        x, taken = (new, taken + 1) if go else (x, taken)
    assert found == pytest.approx(taken / 40_000, abs=0.015)
