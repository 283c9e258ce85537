"""Trajectories of any lengths as blocks of one length, and which frames are left out."""

import numpy as np
import pytest

from jbg.interfaces import ConfigError
from jbg.studies.dataset import ASIDE, LEARN, WATCH
from jbg.studies.molecule.trajectory_blocks import BLOCKS, cut_into_blocks, roles
from jbg.studies.molecule.weighted_rows import resampled, taken


@pytest.mark.parametrize(
    ("lengths", "of_file"),
    [
        ([5000], [24]),
        ([5000] * 6, [4] * 6),
        ([1000] * 24, [1] * 24),
        ([500] * 30, [1] * 30),
        ([100_000, 100], [23, 0]),
        ([0, 2400], [0, 24]),
    ],
)
def test_blocks_of_one_length_keep_nearly_all_frames(lengths, of_file):
    found = cut_into_blocks(lengths, "a.xtc")
    assert found.of_file.tolist() == of_file
    counts = np.bincount(found.chain)
    assert len(set(counts.tolist())) == 1
    assert len(found.rows) >= 0.9 * sum(lengths)
    assert (np.diff(found.rows) > 0).all()
    assert found.rows[-1] < sum(lengths)


def test_the_first_frames_are_those_left_out():
    found = cut_into_blocks([250, 251], "a.xtc")
    assert np.bincount(found.chain).tolist() == [20] * 24
    assert (found.rows[0], found.rows[-1]) == (10, 500)


def test_too_few_frames_are_refused():
    with pytest.raises(ConfigError, match="a.xtc: 100 usable frames, need 240 or more"):
        cut_into_blocks([50, 50], "a.xtc")


def test_each_role_sees_every_trajectory_and_both_kinds_of_starts():
    kinds = roles(BLOCKS, weighted=False)
    counts = {role: int(np.sum(kinds == role)) for role in (LEARN, WATCH, ASIDE)}
    assert counts == {LEARN: 10, WATCH: 2, ASIDE: 12}
    for per_file in (
        1,
        2,
    ):  # trajectories that start by turns in two states, one or two blocks of each
        odd = np.arange(BLOCKS) // per_file % 2 == 1
        for role in (LEARN, ASIDE):
            assert 0.3 <= odd[kinds == role].mean() <= 0.7
    assert set(roles(BLOCKS, weighted=True)) == {LEARN, WATCH}


def test_resampling_follows_weights():
    rng = np.random.default_rng(0)
    weight = rng.random(50) ** 4
    rows = resampled(weight, 10_000, 1)
    counts = np.bincount(rows, minlength=50)
    np.testing.assert_allclose(counts, 10_000 * weight / weight.sum(), atol=1.0)
    assert (np.diff(rows) >= 0).all()


def test_frames_of_a_rare_state_that_a_bias_made_common_are_kept():
    """Half of the frames, of weight 0.02 together, and five copies asked for: a tenth of what is taken."""
    x = np.repeat([0.0, 1.0], 500)[:, None]
    weight = np.where(x[:, 0] == 1, 0.02, 0.98)
    found = taken(weight, x, lambda x: np.where(x[:, 0] == 1, 5, 1), 0)
    rare = found.rows >= 500
    assert rare.mean() == pytest.approx(5 * 0.02 / (5 * 0.02 + 0.98), abs=2e-3)
    assert set(found.copies[rare]) == {5.0}
    assert len(np.unique(found.rows[rare])) == rare.sum()  # none is repeated
