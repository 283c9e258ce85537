"""The torsion whose references are judged: its exact F, its barrier, and the force field that has both."""

import numpy as np
import pytest

from jbg.units import kt
from tests.experiments.test_scripts import load


@pytest.fixture(scope="module")
def script():
    return load("reference_checks.py")


def test_the_exact_difference_is_that_of_the_density(script):
    t = np.linspace(-np.pi, np.pi, 20_000, endpoint=False) + np.pi / 20_000
    p = np.exp(-script.energy(t) / kt(300.0))
    assert script.exact_difference() == pytest.approx(
        np.log(p[t < 0].sum() / p[t > 0].sum()), abs=1e-8
    )
    assert script.barrier() >= 8


@pytest.mark.openmm
def test_the_simulated_molecule_has_that_energy(script):
    x = script.start()
    assert script.torsion(x[None])[0] == pytest.approx(np.pi / 2)
    turned = np.stack([x, x * [1, 1, -1]])
    energies = script.make_pool().energies(turned)
    expected = script.energy(np.array([np.pi / 2, -np.pi / 2]))
    np.testing.assert_allclose(energies, expected, atol=1e-3)
