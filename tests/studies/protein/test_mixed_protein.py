"""A protein with all of its atoms, in mixed coordinates, from options to report."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import runs
from jbg.interfaces import ConfigError
from jbg.studies import engine
from jbg.studies.dataset import ASIDE, FRAMES, LEARN, load_dataset
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.protein.data_plan import MixedPlan
from jbg.studies.protein.files import MIXED, SLOW
from jbg.studies.protein.mixed_source import load_mixed
from jbg.studies.protein.mixed_stages import mixed_stages
from jbg.studies.protein.options import ProteinOptions
from jbg.studies.protein.published import published_stages
from jbg.studies.protein.slow_motions import fit_slow_plane
from tests import tiny
from tests.studies.same_run import assert_same_arrays

pytestmark = [pytest.mark.study, pytest.mark.openmm]

PEPTIDE = {"sequence": "ACE-ALA-NME", "coordinates": "mixed", "strategy": "nll"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole tiny run."""
    folder = tmp_path_factory.mktemp("mixed") / "a"
    run = engine.open_run(folder, tiny.protein(steps=10, anneal=0, **PEPTIDE))
    engine.run_all(run, quiet=True)
    return run


def test_results_are_of_all_atoms(whole):
    results, plan = whole.read_json("results.json"), engine.plan_of(whole)
    assert isinstance(plan.data, MixedPlan)
    assert (plan.data.variables, plan.data.components) == (60, 12)
    assert set(results["structure"]) == {"dynamics", "nll"}
    assert results["structure"]["dynamics"]["learnt"]
    assert "all atoms" in results["structure"]["dynamics"]["reference"]
    assert "fixed" not in results["restriction"]
    assert not {"slice", "rebuild"} & set(results)
    for kind, n in (("bonds", 21), ("angles", 36), ("torsions", 41)):
        found = results["geometry"][kind]
        assert found["number"] == n
        assert 0 < found["median"] <= found["largest"] <= 1
        assert 0 < found["floor_median"] < 1
    page = (whole.path / "report.html").read_text()
    assert "Angles against the dynamics" in page
    assert "Bonds, angles and torsions" in page
    assert "R-hat of chains on the slice" not in page


def test_weights_are_exp_minus_energy_over_the_density_of_all_atoms(whole):
    """The density of a sample by the Jacobian of the whole map, rotations and translations integrated out."""
    problem = engine.load_problem(whole)
    params = (engine.load_params(whole, problem), ())
    v = problem.examples.train[:4].T
    x, log_det = problem.coords.forward((), jnp.asarray(v))
    expected = problem.flow.log_prob(params[0], jnp.asarray(v)) - log_det
    np.testing.assert_allclose(problem.generator.log_prob(params, x), expected, atol=2e-2)
    # the energies of the examples are in the measure of v
    u = problem.target.reduced_energy(x) - log_det
    np.testing.assert_allclose(problem.examples.u[:4], u, atol=5e-2)


def test_frames_set_aside_fit_no_coordinates(whole):
    """Coordinates from the chains that learn alone: those of all chains differ."""
    data, molecule = load_dataset(whole), load_molecule(whole)
    coords = load_mixed(whole, molecule)
    assert set(data.role) == {0, 1, 2}
    v = jax.jit(coords.bijector.inverse)((), jnp.asarray(data.x[data.role == 0].T))[0]
    components = np.asarray(v)[coords.n_circular : coords.n_circular + coords.n_components]
    np.testing.assert_allclose(components.mean(1), 0, atol=1e-3)
    np.testing.assert_allclose(components.std(1), 1, atol=5e-3)
    aside = jax.jit(coords.bijector.inverse)((), jnp.asarray(data.x[data.role == ASIDE].T))[0]
    assert np.abs(np.asarray(aside)[coords.n_circular :].mean(1)).max() > 0.05


@pytest.mark.slow
def test_a_realnvp_of_the_paper_keeps_its_torsions_within_a_turn(whole, tmp_path):
    options = PEPTIDE | {"strategy": "by-energy", "network": "realnvp"}
    run = engine.open_run(tmp_path / "a", tiny.protein(steps=10, anneal=0, **options))
    runs.adopt(run, whole.path / "data")
    run.mark_done("simulate")
    engine.train(run, quiet=True)
    logged = [entry for entry in run.metrics() if "torsion_range" in entry]
    assert logged
    assert all(0 <= entry["torsions_outside"] < 0.5 for entry in logged)
    engine.sample(run, quiet=True)
    engine.evaluate(run, quiet=True)
    results = run.read_json("results.json")
    # samples outside are counted, and have no weight
    assert 0 < results["n_invalid"] < results["n_samples"] / 2


def along_plan():
    """The first and the last stage of the paper's schedule, in short."""
    options = PEPTIDE | {"strategy": "by-energy", "network": "realnvp"}
    first, *_, last = published_stages("fig5", 1e-4)
    last = dataclasses.replace(last, steps=10, log_every=5)
    return dataclasses.replace(tiny.protein(anneal=0, **options), stages=(first, last))


def test_slow_motions_are_fitted_once_to_chains_that_learn(whole, tmp_path):
    """Data of a run that had no use for them, and the same bits when the fit is lost and made again."""
    run = engine.open_run(tmp_path / "a", along_plan())
    runs.adopt(run, whole.path / "data")
    assert not whole.holds(SLOW)
    engine.simulate(run, quiet=True)
    found = run.load_arrays(SLOW)
    data, topology = load_dataset(run), load_molecule(run).topology
    learnt = data.where(data.role == LEARN)
    expected = fit_slow_plane(topology, learnt.x, learnt.chain)
    for name, value in expected._asdict().items():
        np.testing.assert_array_equal(found[name], value)
    plane = engine.load_problem(run).system.collective_variable
    r = np.asarray(plane.of(jnp.asarray(learnt.x.T)))
    np.testing.assert_allclose(r.var(1), 1, rtol=0.3)  # exactly, of pairs of frames
    assert engine.load_problem(whole).system.collective_variable is None


@pytest.mark.slow
def test_training_along_slow_motions(whole, tmp_path):
    run = engine.open_run(tmp_path / "a", along_plan())
    runs.adopt(run, whole.path / "data")
    engine.simulate(run, quiet=True)
    engine.train(run, quiet=True)
    logged = [entry for entry in run.metrics() if "rc" in entry]
    assert logged
    for entry in logged:
        assert 121 * np.log(121) < entry["rc"] < 2000
        assert 0 <= entry["rc_outside"] <= 1


@pytest.mark.slow
def test_a_run_that_was_stopped_in_the_dynamics_ends_the_same(whole, tmp_path, monkeypatch):
    run = engine.open_run(tmp_path / "a", tiny.protein(steps=10, anneal=0, **PEPTIDE))
    save, seen = runs.Run.save_arrays, 0

    def stopping(self, name, /, **arrays):
        nonlocal seen
        save(self, name, **arrays)
        seen += name == "checkpoint.npz"
        if seen == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs.Run, "save_arrays", stopping)
        with pytest.raises(KeyboardInterrupt):
            engine.simulate(run, quiet=True)
    assert not run.holds(FRAMES)
    engine.simulate(runs.load_run(run.path), quiet=True)
    for name in (FRAMES, MIXED):
        assert_same_arrays(runs.load_run(run.path), whole, name)


@pytest.mark.parametrize(("strategy", "n"), [("nll", 1), ("by-energy", 2), ("own-samples", 3)])
def test_energies_are_softened_above_what_many_stiff_variables_cost(strategy, n):
    stages = mixed_stages(strategy, steps=1600, variables=402)
    assert len(stages) == n
    assert all(stage.e_high == 1005 for stage in stages)
    assert stages[0].steps == 200


def test_options_that_do_not_go_together_are_refused():
    with pytest.raises(ConfigError, match="have no slice"):
        ProteinOptions(**PEPTIDE, learn="slice")
    with pytest.raises(ConfigError, match="attention needs reduced"):
        ProteinOptions(**PEPTIDE, network="attention")
    with pytest.raises(ConfigError, match="by-energy or own-samples, got 'all'"):
        ProteinOptions(**PEPTIDE | {"strategy": "all"})
    with pytest.raises(ConfigError, match="realnvp makes angles on the line"):
        ProteinOptions(sequence="ACE-ALA-NME", network="realnvp")
    assert ProteinOptions(**PEPTIDE).learnt == "dynamics"
    assert ProteinOptions(**PEPTIDE | {"strategy": None}).losses == "by-energy"
    assert ProteinOptions(sequence="ACE-ALA-NME").losses == "own-samples"
    assert ProteinOptions(sequence="ACE-ALA-NME").learnt == "slice"


def test_fewer_frames_than_components_are_refused_before_work_begins():
    plan = tiny.protein(**PEPTIDE).data
    dynamics = plan.dynamics
    short = {"chains": 4, "ns": 0.0001, "stride_ps": 0.02, "equilibrate_ps": 0.02}

    few = dataclasses.replace(dynamics.options, **short)
    with pytest.raises(ConfigError, match="cannot give the variances of 12 components"):
        dataclasses.replace(plan, dynamics=dataclasses.replace(dynamics, options=few))
