"""A run as a Python object: samples in users' shapes, densities, differences, and what an unfinished run says."""

import dataclasses
import sys
from types import ModuleType, SimpleNamespace

import mdtraj
import numpy as np
import pytest
from scipy.special import logsumexp

import jbg
from jbg.interfaces import ConfigError
from jbg.studies import engine
from tests import tiny

pytestmark = pytest.mark.study


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = engine.open_run(tmp_path_factory.mktemp("loaded") / "a b", tiny.double_well())
    engine.run_all(folder, quiet=True)
    return jbg.load(folder.path)


def test_samples_are_batch_first_and_writable(run):
    samples = run.samples
    assert samples.positions.shape == (len(samples), 2) == (2000, 2)
    np.testing.assert_allclose(run.weights.sum(), 1.0)
    np.testing.assert_allclose(samples.log_weights, -np.float64(samples.u) - samples.log_q)
    assert samples.ess_fraction == run.results["ess_fraction"]
    before = samples.positions[0].copy()
    samples.positions[0] = 7.0  # reaches no file
    np.testing.assert_array_equal(jbg.load(run.folder.path).samples.positions[0], before)
    samples.positions[0] = before
    few = samples.take(slice(3, 5))
    assert few.positions.shape == (2, 2)
    drawn = samples.resampled(500, seed=1)
    assert len(drawn) == 500
    assert set(drawn.u) <= set(samples.u[samples.weights > 0])


def test_fresh_samples_have_the_density_that_log_prob_gives(run):
    fresh = run.sample(300, seed=1)
    np.testing.assert_array_equal(fresh.positions, run.sample(300, seed=1).positions)
    assert not np.isin(fresh.u, run.sample(300, seed=2).u).any()
    assert not np.isin(fresh.u, run.samples.u).any()
    np.testing.assert_allclose(run.log_prob(fresh.positions), fresh.log_q, atol=1e-4)
    np.testing.assert_allclose(run.reduced_energy(fresh.positions), fresh.u, rtol=1e-6)


def test_differences_by_name_are_those_reported_and_others_are_reweighted(run):
    (entry,) = run.results["free_energy_differences"]
    found = run.free_energy_difference("left", "right")
    assert (found.value, found.stderr) == (entry["value"], entry["stderr"])
    back = run.free_energy_difference("right", "left")
    assert (back.value, back.interval95[1]) == (-entry["value"], -entry["interval95"][0])
    left = lambda x: x[:, 0] < 0
    own = run.free_energy_difference(left, run.samples.positions[:, 0] >= 0)
    np.testing.assert_allclose(own.value, entry["value"], atol=0.01)
    upper = lambda x: x[:, 1] > 0
    assert abs(run.free_energy_difference(upper, lambda x: ~upper(x)).value) < 1.0
    for wrong in ("rigth", lambda x: x, np.ones(3, bool)):
        with pytest.raises(ConfigError, match=r"no state 'rigth': choose left, right|of bool, got"):
            run.free_energy_difference("left", wrong)


def test_energies_for_pymbar_give_the_same_normaliser(run):
    u_kn, n_k = run.u_kn([1.0, 0.5])
    assert u_kn.shape == (3, 2000)
    np.testing.assert_array_equal(n_k, [2000, 0, 0])
    # MBAR of one sampled state: f_k - f_0 = -ln <exp(u_0 - u_k)>
    f = np.log(2000) - logsumexp(u_kn[0] - u_kn[1:], axis=1)
    np.testing.assert_allclose(f[0], -run.results["log_z"]["value"], rtol=1e-6)
    np.testing.assert_allclose(u_kn[2], 2 * u_kn[1])
    for wrong in ([0.0], [], [np.nan], 3.0):
        with pytest.raises(ConfigError, match="expected positive temperatures"):
            run.u_kn(wrong)


def test_tables_and_arviz_need_their_packages(run, monkeypatch):
    for name in ("pandas", "arviz"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match="needs pandas: pip install pandas"):
        run.dataframe()
    with pytest.raises(ConfigError, match="needs arviz: pip install arviz"):
        run.to_arviz()
    pandas = ModuleType("pandas")
    pandas.DataFrame = dict
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    table = run.dataframe()
    assert list(table) == ["u", "log_q", "log_weight", "weight", "left", "right"]
    assert (table["left"] ^ table["right"]).all()
    for version in ("0.23.4", "1.0.0"):
        arviz = ModuleType("arviz")
        arviz.__version__ = version
        if version.startswith("0"):
            arviz.from_dict = lambda posterior, sample_stats: (posterior, sample_stats)
        else:
            arviz.from_dict = lambda groups: tuple(groups.values())
        monkeypatch.setitem(sys.modules, "arviz", arviz)
        posterior, stats = run.to_arviz(50)
        assert posterior["positions"].shape == (1, 50, 2)
        assert stats["lp"].shape == stats["log_q"].shape == (1, 50)


def test_a_run_can_be_read_on_another_machine(run, monkeypatch):
    """Its data and initial parameters are rounded otherwise there; training itself must not go on so."""
    problem = engine.load_problem(run.folder)
    moved = problem.examples._replace(train=problem.examples.train * np.float32(1 + 1e-6))
    there = dataclasses.replace(problem, examples=moved)
    monkeypatch.setattr(engine, "load_problem", lambda folder: there)
    with pytest.raises(ConfigError, match="is of a training with other data"):
        engine.load_params(run.folder, there)
    again = jbg.load(run.folder.path)
    x = run.samples.positions[:5]
    np.testing.assert_array_equal(again.log_prob(x), run.log_prob(x))


def test_what_is_refused(run):
    for x, message in (
        (np.zeros((2, 5)), r"expected configurations \(n, 2\), got \(2, 5\): pass x.T"),
        (np.zeros(2), r"expected configurations \(n, 2\), got \(2,\)"),
        (np.zeros((4, 2, 3)), "expected configurations"),
    ):
        with pytest.raises(ConfigError, match=message):
            run.log_prob(x)
    with pytest.raises(ConfigError, match="has no atoms"):
        run.samples.to_mdtraj()
    with pytest.raises(ConfigError, match="has samples at tau 1, not 2"):
        run.samples_at(2.0)
    with pytest.raises(ConfigError, match="seed must be an integer"):
        run.sample(5, seed=-1)
    with pytest.raises(ConfigError, match="n must be a whole number"):
        run.sample(2.5)
    with pytest.raises(ConfigError, match="is not a run folder"):
        jbg.load(run.folder.path.parent)


def test_an_unfinished_run_says_which_command_goes_on(tmp_path):
    folder = engine.open_run(tmp_path / "a b", tiny.double_well())
    run = jbg.load(folder.path)
    with pytest.raises(ConfigError, match="has no data yet: run `jbg simulate`"):
        _ = run.samples
    with pytest.raises(ConfigError, match="has no results yet: run `jbg evaluate '.*a b'`"):
        _ = run.results
    engine.simulate(folder, quiet=True)
    with pytest.raises(ConfigError, match="is not trained yet: run `jbg train"):
        run.log_prob(np.zeros((1, 2)))
    with pytest.raises(ConfigError, match="holds no samples: run `jbg sample"):
        _ = run.samples


@pytest.mark.openmm
def test_a_molecule_has_atoms(tmp_path):
    folder = engine.open_run(
        tmp_path / "a", tiny.molecule("alanine-dipeptide", corrector="none", steps=20)
    )
    engine.run_all(folder, quiet=True)
    run = jbg.load(folder.path)
    assert run.samples.positions.shape == (2000, 22, 3)
    trajectory = run.samples.take(slice(20)).to_mdtraj()
    np.testing.assert_array_equal(trajectory.xyz, run.samples.positions[:20])
    trajectory.superpose(trajectory)  # mdtraj writes to its arrays
    fresh = run.sample(50, seed=3)
    log_q = run.log_prob(fresh.positions)
    np.testing.assert_allclose(log_q, fresh.log_q, atol=0.05)
    np.testing.assert_array_equal(run.log_prob(fresh.to_mdtraj()), log_q)
    np.testing.assert_array_equal(run.log_prob(fresh.positions.reshape(50, 66)), log_q)
    u_kn, _ = run.u_kn([300.0, 600.0])
    finite = np.isfinite(u_kn[1])
    np.testing.assert_allclose(u_kn[2][finite], u_kn[1][finite] / 2)
    with pytest.raises(ConfigError, match=r"expected configurations \(n, 22, 3\) or \(n, 66\)"):
        run.log_prob(fresh.positions[0])
    other = mdtraj.Trajectory(fresh.positions[:, ::-1], trajectory.topology.copy())
    atoms = [SimpleNamespace(element=a.element) for a in reversed(list(other.topology.atoms))]
    swapped = SimpleNamespace(xyz=other.xyz, topology=SimpleNamespace(atoms=atoms))
    with pytest.raises(ConfigError, match="has other atoms than"):
        run.log_prob(swapped)
