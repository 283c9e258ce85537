"""Mueller-Brown from plan to report with tiny stages: several temperatures, exact references beside each."""

import dataclasses

import numpy as np
import pytest
from scipy.special import logsumexp

from jbg.interfaces import ConfigError
from jbg.reweighting import ess_fraction
from jbg.sampling.generate import Ensemble
from jbg.studies import engine, two_generators
from jbg.studies.dataset import LEARN, WATCH, load_dataset
from jbg.studies.plane.plan import HOTTER
from jbg.studies.plane.source import HOT_CHAINS
from jbg.systems import mueller_brown
from jbg.training import device_mesh
from tests import tiny

pytestmark = pytest.mark.study

TAUS = (0.5, 1.0, 2.0, 3.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    plan = tiny.mueller_brown(taus=TAUS, w_rc=1.0, steps=100)
    run = engine.open_run(tmp_path_factory.mktemp("mueller") / "a", plan)
    engine.run_all(run, quiet=True)
    return run


def test_every_pair_has_an_entry_at_every_temperature(run):
    results = run.read_json("results.json")
    tiny.check_results(results)
    found = [(*e["states"], e["tau"]) for e in results["free_energy_differences"]]
    assert found == [(*pair, tau) for pair in (("A", "B"), ("A", "I+B")) for tau in TAUS]
    assert results["energy_evaluations"]["evaluate"] > 4 * 2000
    assert [entry["tau"] for entry in results["temperatures"]] == list(TAUS)
    own = results["temperatures"][1]
    assert own["ess_fraction"] == results["ess_fraction"]
    assert own["log_z"] == results["log_z"]


def test_weights_are_those_of_the_temperature(run):
    """ln Z and effective samples at tau = 2, computed again from the files."""
    results = run.read_json("results.json")
    samples = engine.load_ensemble(run, Ensemble(2.0))
    log_w = -samples.reduced_energy.astype(float) / 2 - samples.log_q
    expected = logsumexp(log_w) - np.log(len(log_w))
    np.testing.assert_allclose(results["temperatures"][2]["log_z"]["value"], expected, rtol=1e-6)
    np.testing.assert_allclose(
        results["temperatures"][2]["ess_fraction"], ess_fraction(log_w), rtol=1e-6
    )
    inside = mueller_brown().states[0].contains(samples.positions.T)
    by_state = results["temperatures"][2]["ess_by_state"]
    expected = ess_fraction(log_w[inside]) * inside.sum()
    np.testing.assert_allclose(by_state["A"]["effective_samples"], expected, rtol=1e-6)


def test_differences_rest_on_the_samples_of_all_temperatures(run):
    """F(B) - F(A) at tau = 0.5, where B is rare: computed again from the files, right, and firmer than without."""
    results = run.read_json("results.json")
    pooled = results["free_energy_differences"]
    plain = results["reweighted_differences"]
    assert all(min(e["effective_samples"].values()) >= 50 for e in pooled)
    assert {e["estimator"] for e in pooled} == {"pooled reweighting"}
    assert not any("estimator" in e for e in plain)
    drawn = [engine.load_ensemble(run, Ensemble(tau)) for tau in TAUS]
    x = np.concatenate([d.positions for d in drawn]).T
    u = np.concatenate([d.reduced_energy for d in drawn]).astype(float)
    problem = engine.load_problem(run)
    params = (engine.load_params(run, problem), ())
    log_q = np.array([problem.generator.log_prob(params, x, tau) for tau in TAUS], float)
    a, b = (s.contains(x) for s in problem.system.states[:2])
    given = [(tau, e) for tau, e in zip(TAUS, pooled, strict=False) if e["value"] is not None]
    assert len(given) >= 2  # of a flow that hardly learnt, some tails are too heavy
    assert all("heavy tail" in e["reason"] for e in pooled if e["value"] is None)
    for tau, entry in given:
        log_w = -u / tau - logsumexp(log_q, axis=0)
        expected = logsumexp(log_w[a]) - logsumexp(log_w[b])
        np.testing.assert_allclose(entry["value"], expected, atol=1e-4)
        assert abs(entry["value"] - entry["reference"]) < 4 * entry["stderr"]
    firmer = [(p, e) for p, e in zip(plain, pooled, strict=True) if e["value"] is not None][0]
    assert firmer[0]["value"] is None or firmer[0]["stderr"] > 2 * firmer[1]["stderr"]
    np.testing.assert_allclose(
        problem.log_probs(params, drawn[0].positions[:1500], (0.5, 3.0)),
        log_q[[0, 3], :1500],
        rtol=1e-4,
        atol=1e-4,
    )


def test_one_temperature_is_reweighted_plainly(tmp_path):
    plan = tiny.mueller_brown(taus=(1.0,), w_rc=0.0, steps=10)
    run = engine.open_run(tmp_path / "a", plan)
    engine.run_all(run, quiet=True)
    results = run.read_json("results.json")
    assert not any("estimator" in entry for entry in results["free_energy_differences"])
    assert "reweighted_differences" not in results


def test_references_follow_the_temperature(run):
    """Published lines, digitised: F(B) - F(A) is 7.65, 3.77 and 1.87 at tau = 0.5, 1 and 2, each to 0.03."""
    entries = run.read_json("results.json")["free_energy_differences"][:3]
    references = [entry["reference"] for entry in entries]
    np.testing.assert_allclose(references, [7.65, 3.77, 1.87], atol=0.06)


def test_the_data_of_each_basin_stay_in_it(run):
    data, in_a = load_dataset(run), mueller_brown().states[0].contains
    for tau, chains_of_each in ((1.0, 1), (HOTTER * 3.0, HOT_CHAINS)):
        part = data.at(tau)
        assert part.n_chains == 3 * chains_of_each
        for i, rows in enumerate(part.by_chain()):
            assert set(in_a(part.x[rows].T).tolist()) == {i < chains_of_each}


def test_the_end_of_each_chain_is_held_out(run):
    own, problem = load_dataset(run).at(1.0), engine.load_problem(run)
    rows = own.by_chain()
    n_train = round(0.9 * rows.shape[1])
    assert set(own.role[rows[:, :n_train]].ravel()) == {LEARN}
    assert set(own.role[rows[:, n_train:]].ravel()) == {WATCH}
    np.testing.assert_array_equal(problem.examples.heldout, own.x[rows[:, n_train:].ravel()])
    np.testing.assert_array_equal(problem.simulated.x, own.x[rows[:, n_train:]])


def test_hot_data_are_learnt_from_at_their_own_temperature(run):
    problem = engine.load_problem(run)
    data, last = problem.examples, engine.plan_of(run).stages[-1]
    assert data.hot_tau == HOTTER * 3.0 == last.losses[1].taus[-1]
    *x, tau = data.rows.T
    for of, part in ((1.0, data.train), (data.hot_tau, data.hot)):
        rows = np.column_stack(x)[tau == of]
        assert set(map(tuple, rows)) == set(map(tuple, part.astype(np.float32)))
    assert np.mean(tau == 1.0) == 0.5
    in_a = problem.system.states[0].contains(np.stack(x))
    np.testing.assert_allclose(
        [in_a[tau == t].mean() for t in (1.0, data.hot_tau)], 1 / 3, atol=0.01
    )
    one = two_generators.only_state(problem, problem.system.states[0])
    assert 0 < len(one.examples.hot) < len(data.hot)
    assert engine.make_plan("mueller-brown", taus=(1.0,)).data.hot_tau == 1.0
    u = problem.system.potential
    assert (
        u(data.hot.T).mean() > u(data.train.T).mean() + 1.0
    )  # 2 (4.5 - 1) / 2 if all was harmonic


def test_the_entropy_along_y_is_trained(run):
    last = run.metrics()[-1]
    assert np.isfinite(last["rc"])
    assert 0 <= last["rc_outside"] < 1


def test_bounds_that_the_data_do_not_reach_are_refused(run):
    problem, last = engine.load_problem(run), engine.plan_of(run).stages[-1]
    far = dataclasses.replace(problem.system.collective_variable, bounds=(50.0, 60.0))
    moved = dataclasses.replace(problem.system, collective_variable=far)
    with pytest.raises(ConfigError, match="none of the data lie between 50 and 60"):
        dataclasses.replace(problem, system=moved).make_loss(last, device_mesh())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taus": (0.5, 2.0)}, "1, the system's own temperature, must be among them"),
        ({"taus": (2.0, 1.0)}, "positive and strictly rising"),
        ({"taus": (1.0, 1.0)}, "positive and strictly rising"),
        ({"taus": (0.0, 1.0)}, "positive and strictly rising"),
        ({"w_rc": -1.0}, "weight must be 0 or more"),
        ({"scale": 0.0}, "scale must be > 0"),
    ],
)
def test_options_that_make_no_sense_are_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        engine.make_plan("mueller-brown", **options)
    assert "\n" not in str(caught.value)
