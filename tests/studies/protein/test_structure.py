"""Numbers of ensembles, on made-up frames."""

import numpy as np
import pytest

from jbg.analysis.protein_alarms import slice_alarms
from jbg.studies.protein.structure import Ensemble, energies, student


def ensemble(name, u, chain):
    return Ensemble(name, "made up", np.zeros((len(u), 2, 3)), np.asarray(u, float), chain)


def test_thinning_takes_as_many_of_each_chain_evenly_in_time():
    """Frames of chains in turn, as ladders leave them: a stride would see one chain alone."""
    n, chains = 400, 4
    chain, time = np.tile(np.arange(chains), n), np.repeat(np.arange(n), chains)
    few = ensemble("slice", time, chain).thinned(80)
    assert [np.sum(few.chain == c) for c in range(chains)] == [20] * chains
    for c in range(chains):
        steps = np.diff(few.u[few.chain == c])
        assert steps.min() >= 20
        assert steps.max() <= 22
        assert few.u[few.chain == c][-1] == n - 1
    assert len(ensemble("slice", time, chain).thinned(10**6).u) == n * chains


def test_clashes_are_counted_by_the_reference_and_what_has_no_energy_too():
    rng = np.random.default_rng(0)
    reference = ensemble("slice", rng.normal(size=2000), np.arange(2000) % 4)
    u = np.concatenate([rng.normal(size=80), np.full(15, 200.0), [np.nan, np.inf, 40, 40, 40]])
    found = energies(ensemble("generated", u, np.zeros(100, int)), reference)
    assert found["clashing"] == pytest.approx(0.17)
    assert found["non_finite"] == 2
    assert found["quantiles"][4] == 200.0
    assert energies(reference, reference)["clashing"] == 0


def test_few_chains_have_wide_intervals():
    assert student(4) == pytest.approx(3.182, abs=1e-3)
    assert np.isnan(student(1))


def test_chains_that_have_not_mixed_raise_an_alarm():
    mixed = {"n_slow": 0, "locked": []}
    assert slice_alarms({}) == slice_alarms(mixed) == []
    (alarm,) = slice_alarms({"n_slow": 3, "locked": ["chi1 of TYR2"]})
    assert "3 coordinates" in alarm
    assert "chi1 of TYR2" in alarm
    assert "hold for the rotamers that chains saw" in alarm
    (alarm,) = slice_alarms({"n_slow": 0, "locked": ["a"]})
    assert alarm.startswith("1 torsions never left")
