"""The schedules of the paper against its tables, and what becomes of them when scaled down."""

import dataclasses
import json

import pytest

from jbg.flows import RealNVPConfig
from jbg.interfaces import ConfigError
from jbg.losses import NLL, ReverseKL, TorsionRange
from jbg.losses.reaction_coordinate import trains_along
from jbg.studies import codec
from jbg.studies.protein.published import SCHEDULES, published_stages
from jbg.training import Stage

# supplement of Noe et al. 2019: iterations, E_high, w_KL, w_torsion of the mixed stages
TABLES = {
    "fig5": (
        (15, 15, 15, 15, 15, 15, 20, 20, 30, 50, 50, 300),
        (1e10, 1e9, 1e8, 1e7, 1e6, 1e5, 1e5, 1e5, 1e4, 1e4, 1e3, 1e3),
        (1e-12, 1e-6, 1e-5, 1e-4, 1e-3, 1e-3, 5e-3, 1e-3, 5e-3, 5e-2, 5e-2, 5e-2),
        (1,) * 12,
    ),
    "fig6f": (
        (30, 30, 30, 30, 30, 30, 400),
        (1e10, 1e9, 1e8, 1e7, 1e6, 1e5, 1e4),
        (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-2),
        (0.01, 0.1, 0.1, 0.1, 1, 1, 1),
    ),
}


@pytest.mark.parametrize("figure", TABLES)
def test_the_stages_are_those_of_the_table(figure):
    stages, taus = published_stages(figure), SCHEDULES[figure].taus
    first, mixed = stages[:3], stages[3:]
    assert [(s.steps, s.batch_size) for s in first] == [(2000, 128), (2000, 256), (2000, 512)]
    assert all(s.learning_rate == 1e-3 and s.losses == (NLL(1.0),) for s in first)
    columns = []
    for s in mixed:
        likelihood, energy, torsions = s.losses
        assert (likelihood, type(energy), type(torsions)) == (NLL(1.0), ReverseKL, TorsionRange)
        assert energy.weight * energy.along.weight == pytest.approx(20.0)
        assert energy.along.form == "kernels"
        assert energy.taus == energy.along.taus == torsions.taus == taus
        assert not energy.path_gradient
        assert s.learning_rate == 1e-4
        assert 5000 - len(taus) < s.batch_size <= 5000
        columns.append((s.steps, s.e_high, energy.weight, torsions.weight))
    assert tuple(zip(*columns, strict=True)) == TABLES[figure]
    assert len({s.name for s in stages}) == len(stages)
    assert all(s.decay == "none" and s.ema == 0 for s in stages)


def test_sizes_of_networks():
    """Layers of 256, 128, 256 and of 200, 100, 200; eight blocks of two couplings, as by default."""
    assert SCHEDULES["fig5"].network == RealNVPConfig()
    assert SCHEDULES["fig6f"].network == RealNVPConfig(n_blocks=8, hidden=(200, 100, 200))
    assert SCHEDULES["fig6f"].taus == (0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2)


@pytest.mark.parametrize("figure", TABLES)
def test_scaled_down_it_keeps_weights_and_softening(figure):
    whole, less, tiny = (published_stages(figure, scale) for scale in (1.0, 0.25, 1e-6))
    spent = lambda stages: sum(s.energy_evaluations for s in stages)
    assert 2.7e6 < spent(whole) < 3e6
    assert 0.2 < spent(less) / spent(whole) < 0.3
    assert [s.steps for s in less[:3]] == [1000] * 3
    assert [s.batch_size for s in less[:3]] == [64, 128, 256]
    for a, b in zip(whole, less, strict=True):
        assert (a.name, a.losses, a.e_high) == (b.name, b.losses, b.e_high)
    assert {s.steps for s in tiny} == {5}
    assert all(50 <= s.batch_size <= 56 for s in tiny)


def test_a_run_can_hold_them():
    stage = published_stages("fig5")[3]
    text = json.dumps(codec.encode(stage))
    assert codec.decode(Stage, json.loads(text), "here") == stage
    assert trains_along(stage.losses)
    assert not trains_along(published_stages("fig5")[0].losses)
    assert dataclasses.replace(stage, steps=10).e_high == 1e10


def test_what_is_no_schedule():
    with pytest.raises(ConfigError, match="figure must be fig5 or fig6f, got 'fig6e'"):
        published_stages("fig6e")
    for scale in (0.0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match=r"scale must be in \(0, 1\]"):
            published_stages("fig5", scale)
