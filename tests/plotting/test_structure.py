"""The figures of a protein's ensemble are drawn, also where energies are not finite."""

import numpy as np
import pytest

from jbg import plotting


@pytest.fixture
def drawn(tmp_path):
    return tmp_path / "figure.png"


def test_fluctuations(drawn):
    n = np.arange(3, 13)
    plotting.fluctuations(
        drawn, residue=n, generated=np.ones(10), reference=np.ones(10), half=np.full(10, np.nan)
    )
    assert drawn.stat().st_size > 5000


def test_distance_maps_of_any_two_ensembles(drawn):
    x = np.abs(np.subtract.outer(np.arange(8.0), np.arange(8.0)))
    plotting.distance_maps(drawn, residue=np.arange(1, 9), generated=x, reference=x)
    assert drawn.stat().st_size > 5000


def test_energies_that_are_not_finite_lie_beyond_the_axis(drawn):
    u = np.random.default_rng(0).normal(size=500)
    generated = np.concatenate([u, [np.nan, np.inf, 1e9]])
    plotting.energy_quantile_curves(drawn, generated=generated, reference=u)
    assert drawn.stat().st_size > 5000


@pytest.mark.parametrize("n", [1, 3, 16])
def test_energies_of_any_number_of_stages(drawn, n):
    u = np.random.default_rng(0).normal(size=500)
    stages = {f"stage-{i}": u + 10.0**i for i in range(n)}
    plotting.energies_by_stage(drawn, stages=stages, reference=u)
    assert drawn.stat().st_size > 5000
