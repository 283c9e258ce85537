"""Three identical particles on a line in a harmonic well, Z in closed form: the cell holds Z / 3!."""

import math

import numpy as np
import pytest
from scipy import stats

from jbg import reweighting
from jbg.coords import in_cell, relabel
from jbg.interfaces import Target

REFERENCE, ALL = np.array([-1.0, 0.0, 1.0]), np.arange(3)
COUPLING = 0.2  # u = |x|^2 / 2 + COUPLING sum of (xi - xj)^2 / 2
MATRIX = np.eye(3) + COUPLING * (3 * np.eye(3) - np.ones((3, 3)))
N = 200_000


def log_z(tau=1.0):
    return 0.5 * (3 * math.log(2 * math.pi * tau) - np.linalg.slogdet(MATRIX)[1])


def well():
    def reduced_energy(x):
        pairs = (x[0] - x[1]) ** 2 + (x[1] - x[2]) ** 2 + (x[2] - x[0]) ** 2
        return 0.5 * ((x**2).sum(0) + COUPLING * pairs)

    return Target(dim=3, reduced_energy=reduced_energy, log_z=log_z)


def draw(spread):
    """Samples ``(N, 3)`` about the reference, with ln q: a generator of one labelling that leaks into others."""
    x = spread * REFERENCE + np.random.default_rng(0).normal(size=(N, 3))
    return x, stats.norm.logpdf(x - spread * REFERENCE).sum(1)


def assert_estimates(log_w, expected):
    estimate = reweighting.log_z_estimate(log_w)
    assert abs(estimate.value - expected) < 4 * estimate.stderr < 0.05


@pytest.mark.parametrize("tau", [0.7, 1.0])
@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_weights_in_the_cell_integrate_to_z_over_n_factorial(spread, tau):
    x, log_q = draw(spread)
    inside = in_cell(x, REFERENCE, ALL, n_coords=1)
    in_order = np.all(np.diff(x, axis=1) > 0, axis=1)  # what the cell is on a line
    np.testing.assert_array_equal(inside, in_order)
    whole = reweighting.log_weights(well().reduced_energy(x.T), log_q, tau=tau)
    log_w, outside_share = reweighting.restrict_log_weights(whole, inside)
    assert_estimates(log_w, log_z(tau) - math.log(6))
    assert outside_share == np.mean(~in_order) > 0.1


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_relabelling_and_keeping_gives_a_wrong_partition_function(spread):
    """With q of the sample as drawn it is that of all labellings; with q after relabelling it is neither."""
    x, log_q = draw(spread)
    kept = relabel(x, REFERENCE, ALL, n_coords=1)
    u, cell = well().reduced_energy(kept.T), log_z() - math.log(6)
    as_drawn = reweighting.log_z_estimate(reweighting.log_weights(u, log_q))
    afterwards = stats.norm.logpdf(kept - spread * REFERENCE).sum(1)
    relabelled = reweighting.log_z_estimate(reweighting.log_weights(u, afterwards))
    for wrong in (as_drawn, relabelled):
        assert wrong.value - cell > 10 * wrong.stderr
    assert as_drawn.value - cell > 1
