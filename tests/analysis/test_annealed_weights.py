"""Numbers of annealed weights against what log-normal and Gaussian work says."""

import math

import numpy as np
import pytest

from jbg.analysis.annealed_weights import annealed_weights, two_sided
from jbg.analysis.protein_alarms import annealing_alarms
from jbg.interfaces import ConfigError

LN_Z, SIGMA = 3.0, 1.0


def gaussian_work(n: int, n_chains: int, n_frames: int, seed: int = 0):
    """ln W of both directions that obey Crooks: normal, means LN_Z -+ SIGMA^2 / 2, the same variance."""
    rng = np.random.default_rng(seed)
    forward = LN_Z - SIGMA**2 / 2 + SIGMA * rng.normal(size=n)
    backward = LN_Z + SIGMA**2 / 2 + SIGMA * rng.normal(size=(n_chains, n_frames))
    return forward, backward


def test_numbers_of_log_normal_weights():
    forward, _ = gaussian_work(8000, 1, 1)
    block = np.repeat(np.arange(16), 500)
    found = annealed_weights(forward, block, evaluations=400_000)
    assert found.log_z == pytest.approx(LN_Z, abs=4 * found.log_z_stderr)
    assert found.ess_fraction == pytest.approx(math.exp(-(SIGMA**2)), abs=0.05)
    assert found.effective == pytest.approx(8000 * found.ess_fraction)
    assert found.per_million == pytest.approx(2.5 * found.effective)
    assert len(found.block_log_z) == 16
    assert found.block_spread == np.ptp(found.block_log_z)
    # blocks are independent: their scatter tells the same error
    assert found.block_stderr == pytest.approx(found.log_z_stderr, rel=0.6)
    assert found.largest_share < 0.02
    assert found.pareto_k < 0.7
    joined = annealed_weights(forward, block, evaluations=400_000, n_groups=4)
    first = np.logaddexp.reduce(forward[:2000]) - np.log(2000)
    assert joined.block_log_z[0] == pytest.approx(first)
    assert len(joined.block_log_z) == 4


def test_blocks_that_disagree_show():
    """One block of eight lies 3 nats above the others: the spread within blocks does not know."""
    log_w = np.repeat([0.0] * 7 + [3.0], 100)
    found = annealed_weights(log_w, np.repeat(np.arange(8), 100), evaluations=1000)
    assert found.block_spread == pytest.approx(3.0)
    assert found.block_stderr > 5 * found.log_z_stderr


def test_weights_of_zero_count():
    log_w = np.array([0.0, 0.0, -np.inf, np.nan])
    found = annealed_weights(log_w, np.array([0, 0, 1, 1]), evaluations=4)
    assert (found.n, found.n_zero) == (4, 2)
    assert found.log_z == pytest.approx(math.log(0.5))
    assert found.ess_fraction == pytest.approx(0.5)
    assert found.block_spread == math.inf


def test_both_sides_of_gaussian_work():
    sides = two_sided(*gaussian_work(4000, 20, 100), seed=0)
    assert sides.forward == pytest.approx(LN_Z, abs=4 * sides.forward_stderr)
    assert sides.backward == pytest.approx(LN_Z, abs=4 * sides.backward_stderr)
    assert 0.01 < sides.backward_stderr < 0.06
    assert abs(sides.gap) < 4 * sides.gap_stderr
    assert sides.mean_forward == pytest.approx(LN_Z - 0.5, abs=0.07)
    assert sides.mean_backward == pytest.approx(LN_Z + 0.5, abs=4 * sides.mean_backward_stderr)
    assert sides.bar.value == pytest.approx(LN_Z, abs=4 * sides.bar.stderr)
    assert sides.bar.stderr < 0.04
    assert sides.n_outside == 0


def test_a_wrong_sign_of_the_backward_work_shows():
    forward, backward = gaussian_work(4000, 20, 100)
    assert abs(two_sided(forward, -backward, seed=0).gap) > 5


def test_errors_are_those_of_chains():
    """Frames of a chain that are all alike count once."""
    forward, backward = gaussian_work(400, 20, 1)
    once = two_sided(forward, backward, seed=0)
    many = two_sided(forward, np.repeat(backward, 50, axis=1), seed=0)
    assert many.backward_stderr == pytest.approx(once.backward_stderr)
    assert two_sided(forward, backward[:1], seed=0).backward_stderr == math.inf


def test_the_gap_is_positive_where_the_two_do_not_meet():
    """Work that is far from reversible: each side sees its own typical paths only."""
    rng = np.random.default_rng(0)
    sides = two_sided(-18 + 6 * rng.normal(size=500), 18 + 6 * rng.normal(size=(10, 50)), seed=0)
    assert sides.gap > 3
    assert sides.bar.value is None
    assert sides.bar.reason


def test_frames_that_cannot_be_made_and_particles_without_weight():
    forward, backward = gaussian_work(4000, 20, 100)
    backward[:, :25] = np.inf  # a quarter: Z of the rest of the target is 3/4 of the whole
    forward[:2000] = -np.inf
    sides = two_sided(forward, backward, seed=0)
    assert sides.n_outside == 500
    assert sides.forward == pytest.approx(LN_Z - math.log(2), abs=0.15)
    assert sides.backward == pytest.approx(LN_Z - math.log(0.75) - math.log(2), abs=0.15)
    assert (sides.mean_forward, sides.mean_backward) == (-math.inf, math.inf)
    nothing = two_sided(forward, np.full((3, 4), np.inf), seed=0)
    assert nothing.backward == math.inf


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((np.zeros(4), np.zeros(3)), "must both be"),
        ((np.zeros((2, 2)), np.zeros((2, 2))), "must both be"),
        ((np.zeros(0), np.zeros(0)), "must both be"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, message):
    with pytest.raises(ConfigError, match=message):
        annealed_weights(*arrays, evaluations=1)


def test_other_bad_input_is_refused():
    with pytest.raises(ConfigError, match="n_groups must be 1 to 2"):
        annealed_weights(np.zeros(4), np.array([0, 0, 1, 1]), evaluations=1, n_groups=3)
    with pytest.raises(ConfigError, match="evaluations must be"):
        annealed_weights(np.zeros(4), np.zeros(4), evaluations=0)
    with pytest.raises(ConfigError, match="forward must be"):
        two_sided(np.zeros(4), np.zeros(4), seed=0)
    with pytest.raises(ConfigError, match="NaN"):
        two_sided(np.zeros(4), np.full((2, 2), np.nan), seed=0)


def alarms_of(forward, backward, seed=0):
    """Of four groups of particles, and of both sides."""
    block = np.arange(len(forward)) * 4 // len(forward)
    best = annealed_weights(forward, block, evaluations=len(forward))
    sides = two_sided(forward, backward, seed=seed, n_bootstrap=100)
    return annealing_alarms({"annealed": best._asdict(), "ln_z": sides._asdict()})


def test_good_annealing_sets_nothing_off():
    for n_chains in (4, 12):
        fired = [alarms_of(*gaussian_work(2000, n_chains, 50, seed), seed) for seed in range(40)]
        assert sum(map(bool, fired)) <= 1
    assert annealing_alarms({}) == []


@pytest.mark.parametrize("lost", [0.05, 0.5])
def test_particles_outside_of_the_target_open_no_gap(lost):
    """Frames start inside, and know nothing of the paths that lead out."""
    forward, backward = gaussian_work(20_000, 12, 400)
    forward[np.arange(len(forward)) % 100 < 100 * lost] = -np.inf
    sides = two_sided(forward, backward, seed=0)
    assert sides.forward == pytest.approx(LN_Z + math.log1p(-lost), abs=0.05)
    assert abs(sides.gap) < 4 * sides.gap_stderr < 0.15


def test_a_part_that_particles_never_reach_sets_it_off():
    """The flow lost a part of weight 1/5; a fifth of the frames of every chain lies there."""
    for seed in range(10):
        forward, backward = gaussian_work(20_000, 20, 100, seed)
        forward, backward = forward + math.log(0.8), backward + math.log(0.8)
        backward[:, ::5] += 6.0
        (alarm,) = alarms_of(forward, backward, seed)
        assert "frames of the chains have weights that no particle reached" in alarm


def test_a_part_that_chains_never_saw_sets_it_off():
    forward, backward = gaussian_work(20_000, 20, 50)
    (alarm,) = alarms_of(forward, backward - 0.5)
    assert "that the chains never saw" in alarm


def test_few_effective_particles_and_groups_that_disagree_set_it_off():
    rng = np.random.default_rng(0)
    forward = 4.0 * rng.normal(size=400)
    forward[:100] += 3.0
    found = alarms_of(forward, gaussian_work(1, 4, 5)[1])
    assert "effective ones (Pareto k" in found[0]
    assert "independent groups of annealed particles differs by" in found[1]
