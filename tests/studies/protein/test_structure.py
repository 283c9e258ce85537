"""Numbers of ensembles, on made-up frames."""

import numpy as np
import pytest

from jbg.analysis.protein_alarms import rotamer_alarms, slice_alarms
from jbg.studies.protein.rotamers import of_samples
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


def one_lost(rng):
    """Samples without the second rotamer of three torsions of five, of 16 chains that have it."""
    chain = np.tile(np.arange(16), 200)
    known = 0.2 * rng.normal(size=(3200, 5)) + 2.1 * (
        rng.random((3200, 5)) < [0.1, 0.3, 0.2, 0.3, 0.03]
    )
    samples = 0.2 * rng.normal(size=(1000, 5))
    samples[:, 3] += 2.1 * (rng.random(1000) < 0.3)
    return of_samples(("a", "b", "c", "d", "e"), samples, known, chain)


def test_lost_rotamers_are_named_the_worst_first():
    found = one_lost(np.random.default_rng(0))
    assert list(found["torsions"]) == ["b", "c", "a", "e"]
    assert found["torsions"]["b"]["share"] == pytest.approx(0.3, abs=0.03)
    assert found["torsions"]["b"]["chains"] == found["chains"] == 16
    assert [each["lost"] for each in found["torsions"].values()] == [True, True, True, False]
    assert (found["n_lost"], found["n_torsions"]) == (3, 5)


def test_one_chain_or_no_sample_tells_nothing_of_rotamers():
    v, chain = np.zeros((20, 2)), np.arange(20) % 2
    assert of_samples(("a", "b"), v, v, chain * 0) is None
    assert of_samples(("a", "b"), v * np.nan, v, chain) is None
    none = of_samples((), v[:, :0], v[:, :0], chain)
    assert none == {"torsions": {}, "n_lost": 0, "n_torsions": 0, "chains": 2}


def test_lost_rotamers_raise_an_alarm_against_what_was_learnt_and_against_the_slice():
    found = one_lost(np.random.default_rng(0))
    row = lambda learnt, found=found: {"learnt": learnt, "lost_rotamers": found}
    (alarm,) = rotamer_alarms({"slice": row(True), "dynamics": row(False), "nll": {"slice": {}}})
    assert "3 of 5 torsions: bins that hold 30% of the slice for b, 20% for c" in alarm.replace(
        "31%", "30%"
    )
    assert "for e" not in alarm
    assert "--strategy own-samples or nll" in alarm
    both = rotamer_alarms({"slice": row(False), "dynamics": row(True)})
    assert ["--learn slice" in each for each in both] == [True, False]
    assert "of the dynamics for b" in both[1]
    assert rotamer_alarms({}) == rotamer_alarms({"slice": row(True, None)}) == []
    assert rotamer_alarms({"slice": row(True, found | {"n_lost": 0})}) == []
    many = {name: found["torsions"]["b"] for name in "bcdfgh"}
    (alarm,) = rotamer_alarms({"slice": row(True, found | {"n_lost": 6, "torsions": many})})
    assert "(and 2 more)" in alarm
