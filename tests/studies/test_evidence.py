"""Weights of samples: of their temperature, none outside of the target's region, and never all of them none."""

from types import SimpleNamespace

import numpy as np
import pytest

from jbg.interfaces import RunError, SignedPermutations, State
from jbg.sampling.generate import SampleSet
from jbg.studies.evidence import Frames, weigh
from jbg.studies.problem import Problem, Symmetry

ONE_LABELLING = Symmetry(
    SignedPermutations(np.array([[0, 1]]), np.ones((1, 2))), in_cell=lambda x: x[:, 0] > 0
)


def problem_of(symmetry=None, region=None):
    """The part of a problem that weights are made with."""
    found = SimpleNamespace(symmetry=symmetry, region=region)
    found.restriction = Problem.restriction.fget(found)
    return found


WHOLE, HALF = problem_of(), problem_of(ONE_LABELLING)
RIGHT = State(name="right", contains=lambda x: x[0] > 1.5, definition="x > 1.5")


@pytest.fixture
def samples():
    x = np.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [3.0, 0.0], [-2.0, 0.0]])
    return SampleSet(
        x, np.array([0.1, 0.2, 0.3, 0.4, 0.5]), np.array([2.0, 4.0, 6.0, np.inf, np.nan])
    )


def test_weights_are_those_of_the_temperature(samples):
    found = weigh(WHOLE, samples, 2.0)
    np.testing.assert_allclose(found.log_w, [-1.1, -2.2, -3.3, -np.inf, -np.inf])
    assert found.counts == {"n_invalid": 2}
    np.testing.assert_array_equal(found.usable, [True, True, True, False, False])
    np.testing.assert_array_equal(found.inside(RIGHT), [False, True, False, True, False])


def test_what_lies_outside_of_the_region_weighs_nothing_and_is_no_invalid_sample(samples):
    found = weigh(HALF, samples, 1.0)
    np.testing.assert_allclose(found.log_w, [-2.1, -4.2, -np.inf, -np.inf, -np.inf])
    assert found.counts == {"n_invalid": 1, "outside_cell_share": pytest.approx(2 / 5)}


def test_a_region_without_symmetry_does_the_same_under_its_own_name(samples):
    found = weigh(problem_of(region=ONE_LABELLING.in_cell), samples, 1.0)
    np.testing.assert_allclose(found.log_w, weigh(HALF, samples, 1.0).log_w)
    assert found.counts == {"n_invalid": 1, "outside_region_share": pytest.approx(2 / 5)}


def test_samples_drawn_in_a_notebook_weigh_nothing_outside_of_the_region_either(samples):
    for known in (HALF, WHOLE, problem_of(region=ONE_LABELLING.in_cell)):
        known.drawn = lambda *_: samples
        found = Problem.draw(known, None, (), 5)
        np.testing.assert_allclose(found.log_w, weigh(known, samples, 1.0).log_w)


def test_samples_without_one_finite_energy_are_one_line(samples):
    broken = samples._replace(reduced_energy=np.full(5, np.inf))
    with pytest.raises(RunError, match="all 5 samples have non-finite energies") as caught:
        weigh(WHOLE, broken, 1.0)
    assert "\n" not in str(caught.value)


def test_frames_that_cannot_be_used_lie_in_no_state():
    x = np.arange(12.0).reshape(2, 3, 2) / 2
    usable = np.array([[True, True, False], [True, False, True]])
    frames = Frames(x, usable, np.zeros((2, 3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(frames.chain, [[0, 0, 0], [1, 1, 1]])
    expected = usable & (x[..., 0] > 1.5)
    np.testing.assert_array_equal(frames.inside(RIGHT.contains), expected)
