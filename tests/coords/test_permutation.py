"""Labellings against all permutations in turn, the Hungarian algorithm, and the dimer's energy."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from jbg.coords import in_cell, relabel
from jbg.coords import permutation as module
from jbg.interfaces import ConfigError
from jbg.systems import lj_dimer
from jbg.systems.dimer import lattice

DIMER, DISCS = lattice(36, 1.5), np.arange(2, 38)


def dimer_frames(n, noise, seed=0):
    return DIMER + noise * np.random.default_rng(seed).normal(size=(n, 76))


def by_trying_all(x, reference, movable, n_coords):
    """The labelling of least squared distance among all m! of them."""
    places = reference.reshape(-1, n_coords)
    found = []
    for frame in x.reshape(len(x), -1, n_coords):
        options = []
        for order in itertools.permutations(movable):
            option = frame.copy()
            option[movable] = frame[list(order)]
            options.append(option)
        best = np.argmin([((option - places) ** 2).sum() for option in options])
        found.append(options[best].ravel())
    return np.stack(found)


@pytest.mark.parametrize("n_coords", [1, 2, 3])
def test_the_labelling_is_the_best_of_all(n_coords):
    rng = np.random.default_rng(n_coords)
    reference, movable = rng.normal(size=6 * n_coords), np.array([4, 0, 1, 5])
    x = rng.normal(size=(60, 6 * n_coords))
    found = relabel(x, reference, movable, n_coords=n_coords)
    expected = by_trying_all(x, reference, movable, n_coords)
    np.testing.assert_array_equal(found, expected)
    inside = in_cell(x, reference, movable, n_coords=n_coords)
    np.testing.assert_array_equal(inside, (x == expected).all(1))
    assert 0 < inside.sum() < 60
    fixed = np.setdiff1d(np.arange(6 * n_coords), movable[:, None] * n_coords + np.arange(n_coords))
    np.testing.assert_array_equal(found[:, fixed], x[:, fixed])


@pytest.mark.parametrize("noise", [0.2, 0.3, 0.4, 1.0])
def test_it_agrees_with_the_hungarian_algorithm(noise):
    """Nearly all, a part, a third and none of the frames lie in the cell."""
    x = dimer_frames(600, noise)
    discs, sites = x.reshape(600, 38, 2)[:, 2:], DIMER.reshape(38, 2)[2:]
    squares = ((discs[:, :, None] - sites) ** 2).sum(-1)
    best = np.stack([linear_sum_assignment(c)[1] for c in squares])
    expected = (best == np.arange(36)).all(1)
    np.testing.assert_array_equal(in_cell(x, DIMER, DISCS), expected)


def test_the_screen_leaves_little_to_the_hungarian_algorithm(monkeypatch):
    calls = []
    solve = module.linear_sum_assignment
    monkeypatch.setattr(module, "linear_sum_assignment", lambda c: calls.append(1) or solve(c))
    assert in_cell(dimer_frames(1000, 0.2), DIMER, DISCS).mean() > 0.99
    assert not in_cell(dimer_frames(1000, 1.0), DIMER, DISCS).any()
    assert len(calls) < 20


def test_relabelling_is_idempotent_and_leaves_the_energy_and_the_dimer():
    x = dimer_frames(200, 0.5)
    found = relabel(x, DIMER, DISCS)
    assert not np.array_equal(found, x)
    assert in_cell(found, DIMER, DISCS).all()
    np.testing.assert_array_equal(relabel(found, DIMER, DISCS), found)
    np.testing.assert_array_equal(found[:, :4], x[:, :4])
    potential = lj_dimer(relax=False).potential
    np.testing.assert_allclose(potential(found.T), potential(x.T), rtol=1e-9)


def test_a_shuffled_configuration_is_put_back():
    rng = np.random.default_rng(3)
    x = dimer_frames(20, 0.1)
    shuffled = x.reshape(20, 38, 2).copy()
    for frame in shuffled:
        frame[2:] = frame[2:][rng.permutation(36)]
    shuffled = shuffled.reshape(20, 76)
    assert not in_cell(shuffled, DIMER, DISCS).any()
    np.testing.assert_array_equal(relabel(shuffled, DIMER, DISCS), x)


def test_the_cell_depends_on_neither_scale_nor_place_of_the_reference():
    x = dimer_frames(300, 0.35)
    inside = in_cell(x, DIMER, DISCS)
    assert 0.1 < inside.mean() < 0.9
    np.testing.assert_array_equal(in_cell(x, 1.05 * DIMER, DISCS), inside)
    np.testing.assert_array_equal(in_cell(x, DIMER + 5, DISCS), inside)


def test_configurations_that_are_not_finite_are_outside():
    x = dimer_frames(3, 0.0)
    x[1, 10], x[2, 11] = np.nan, np.inf
    np.testing.assert_array_equal(in_cell(x, DIMER, DISCS), [True, False, False])
    np.testing.assert_array_equal(relabel(x, DIMER, DISCS), x)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((np.zeros((4, 75)), DIMER, DISCS), r"x must be \(n, 76\)"),
        ((np.zeros(76), DIMER, DISCS), r"x must be \(n, 76\)"),
        ((np.zeros((4, 76)), DIMER, np.array([2, 2])), "movable must list different particles"),
        ((np.zeros((4, 76)), DIMER, np.array([37, 38])), r"of 0\.\.37"),
        ((np.zeros((4, 76)), DIMER, np.array([2.0, 3.0])), "movable must list"),
        ((np.zeros((4, 75)), DIMER[:75], DISCS), "multiple of n_coords=2"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, what):
    for function in (relabel, in_cell):
        with pytest.raises(ConfigError, match=what) as raised:
            function(*arguments)
        assert "\n" not in str(raised.value)
