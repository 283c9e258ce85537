"""A protein's study from options to report, on two residues between caps."""

import dataclasses
import json

import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest

from jbg import runs
from jbg.cli import main as cli
from jbg.flows import SplitFlowConfig
from jbg.interfaces import ConfigError, RunError
from jbg.losses import NLL, ReverseKL, Wasserstein
from jbg.studies import engine
from jbg.studies.annealed import WEIGHTS
from jbg.studies.dataset import ASIDE, FRAMES, LEARN, WATCH, load_dataset
from jbg.studies.molecule import export
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.problem import to_v
from jbg.studies.protein import plan as protein_plan
from jbg.studies.protein.files import DYNAMICS
from jbg.studies.protein.mixing import mixing
from jbg.studies.protein.options import ProteinOptions
from jbg.studies.protein.physics import near_start
from jbg.studies.protein.problem import energies_of, rebuilt_dynamics
from jbg.studies.protein.rotamers import of_samples, turning
from jbg.studies.protein.source import load_coordinates
from jbg.studies.protein.stages import make_stages
from jbg.studies.protein.starts import roles_of
from jbg.targets import make_target
from tests import tiny
from tests.studies.same_run import assert_same_arrays, assert_same_run

pytestmark = [pytest.mark.study, pytest.mark.openmm]


NARROW = 0.06  # nm, a region whose edge chains and samples of the small peptide meet


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole tiny run."""
    run = engine.open_run(
        tmp_path_factory.mktemp("protein") / "a", tiny.protein(strategy="nll", within=NARROW)
    )
    engine.run_all(run, quiet=True)
    return run


def test_results_hold_both_densities_and_their_floors(whole):
    results = whole.read_json("results.json")
    assert set(results["structure"]) == {"slice", "dynamics", "nll"}
    for name in ("slice", "dynamics"):
        row = results["structure"][name]
        assert row["distortion_floor"]["of_means"] > 0
        assert row["w2_floor"] > 0
        assert 0 <= row["energies"]["clashing"] <= 1
        assert row["reference_energies"]["clashing"] <= 0.05
        lost = row["lost_rotamers"]
        assert lost["n_torsions"] > 5
        assert lost["chains"] == 8
        assert 0 <= lost["n_lost"] <= lost["n_torsions"]
        nll = results["structure"]["nll"][name]
        assert np.isfinite([nll["value"], nll["base"], nll["stderr"]]).all()
    found = results["slice"]
    assert found["temperatures"] == [300.0, 450.0]
    assert min(found["acceptance"]) > 0
    assert found["turned_back"][-1] > 0
    near = near_start(load_molecule(whole), engine.plan_of(whole).data.within)
    assert near.contains(load_dataset(whole).x.T).all()
    assert results["rebuild"]["kept"] == whole_variables(whole)
    assert 0 < results["rebuild"]["rmsd"]["all"][0] < 0.5
    assert results["annealing"]["particles"] == 64
    assert results["energy_evaluations"]["correct"] == results["annealing"]["energy_evaluations"]
    assert "kept coordinates" in results["restriction"]
    assert results["free_energy_differences"] == []


def whole_variables(run):
    return engine.plan_of(run).data.variables


def test_exported_samples_lie_in_the_target(whole, tmp_path):
    out, near = tmp_path / "a.pdb", near_start(load_molecule(whole), NARROW)
    assert export.write_trajectory(whole, out, n=20).frames == 20
    assert near.contains(mdtraj.load(str(out)).xyz.reshape(20, -1).T).all()
    everything = engine.load_ensemble(whole).positions
    assert not near.contains(np.asarray(everything).T).all()


def test_the_report_shows_them(whole):
    page = (whole.path / "report.html").read_text()
    for words in (
        "ESS after annealing",
        "R-hat of chains on the slice",
        "Rebuilt frames",
        "Torsions with lost rotamers, against the slice (learnt)",
        "Fluctuations",
    ):
        assert words in page


def test_frames_lie_on_the_slice_with_their_energies(whole):
    molecule, data = load_molecule(whole), load_dataset(whole)
    coords, problem = load_coordinates(whole, molecule, "slice"), engine.load_problem(whole)
    x = data.x[::7]
    frames = x.reshape(len(x), -1, 3)
    np.testing.assert_allclose(coords.rebuild(frames), coords.fold(frames), atol=2e-5)
    np.testing.assert_allclose(problem.reduced_energies(x), data.u[::7], atol=2e-2)
    assert set(data.role) == {LEARN, WATCH, ASIDE}
    # training, watching and setting aside share no chain
    chains = [set(data.chain[data.role == role]) for role in (LEARN, WATCH, ASIDE)]
    assert len(set.union(*chains)) == sum(map(len, chains))


def test_energies_of_examples_are_those_of_the_pulled_back_target(whole):
    problem = engine.load_problem(whole)
    v = jnp.asarray(problem.examples.train[:20].T)
    x, log_det = problem.coords.forward((), v)
    expected = problem.target.reduced_energy(x) - log_det
    np.testing.assert_allclose(problem.examples.u[:20], expected, atol=2e-2)


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_the_same(whole, tmp_path, monkeypatch):
    """Stopped after a block of the ladder, and after a block of annealing."""
    run = engine.open_run(tmp_path / "a", tiny.protein(strategy="nll", within=NARROW))
    stops = iter(("data/ladder/state.npz", "data/ladder/state.npz"))
    save = runs.Run.save_arrays
    wanted = next(stops)
    seen = 0

    def stopping(self, name, /, **arrays):
        nonlocal seen
        save(self, name, **arrays)
        seen += name == wanted
        if name == wanted and seen == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs.Run, "save_arrays", stopping)
        with pytest.raises(KeyboardInterrupt):
            engine.run_all(run, quiet=True)
    assert not run.holds(FRAMES)
    assert run.holds(DYNAMICS)
    with monkeypatch.context() as patch:
        patch.setattr("jbg.studies.annealed.anneal_back", _stop)
        with pytest.raises(KeyboardInterrupt):
            engine.run_all(runs.load_run(run.path), quiet=True)
    assert not run.holds(WEIGHTS)
    engine.run_all(runs.load_run(run.path), quiet=True)
    found = runs.load_run(run.path)
    for name in (DYNAMICS, FRAMES, WEIGHTS):
        assert_same_arrays(found, whole, name)
    assert_same_run(found, whole)


def _stop(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_attention_learns_from_the_dynamics_with_all_four_stages(tmp_path):
    plan = tiny.protein(network="attention", strategy="all", learn="dynamics", anneal=0, within=0.0)
    assert isinstance(plan.flow, SplitFlowConfig)
    assert len(plan.stages) == 4
    run = engine.open_run(tmp_path / "a", plan)
    engine.simulate(run, quiet=True)
    problem = engine.load_problem(run)
    molecule = load_molecule(run)
    coords = load_coordinates(run, molecule, engine.plan_of(run).options.learnt)
    target = make_target(problem.system, 300.0)
    md = rebuilt_dynamics(run, coords, target, roles=(LEARN,))
    v, _ = to_v(coords.bijector, md.x[md.role == LEARN])
    np.testing.assert_allclose(problem.examples.train, v, atol=1e-4)
    np.testing.assert_allclose(md.u[:5], energies_of(target, md.x[:5]), atol=1e-3)
    engine.train(run, problem=problem, quiet=True)
    logged = run.metrics()
    assert {"w2", "kl"} <= {key for entry in logged for key in entry}
    assert all(np.isfinite(entry["loss"]) for entry in logged if "loss" in entry)


@pytest.mark.slow
def test_too_small_a_region_is_refused(whole, tmp_path):
    plan = tiny.protein(within=0.001)
    run = engine.open_run(tmp_path / "a", plan)
    with pytest.raises(RunError, match="--within"):
        engine.simulate(run, quiet=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coordinates": "all"}, "coordinates must be kim, heavy or mixed, got 'all'"),
        ({"within": -1.0}, "within must be a radius of 0 nm or more, got -1"),
        ({"hottest": 200.0}, "hottest must be above the temperature of 300 K, got 200"),
        (
            {"strategy": "w2"},
            "strategy must be nll, nll-kl, nll-w2, all, by-energy or own-samples, got 'w2'",
        ),
        ({"anneal": -5}, "anneal must be a number of particles >= 0, got -5"),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        ProteinOptions(sequence="ACE-ALA-NME", **options)


def test_dry_run_says_what_it_costs(capsys):
    assert cli.main(["run", "protein", "--sequence", "ACE-ALA-ALA-NME", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "rough minutes on one core" in out
    assert "energy evaluations correct" in out


def test_the_config_survives_json(whole):
    plan = engine.plan_of(whole)
    assert plan == tiny.protein(strategy="nll", within=NARROW)
    assert (
        json.loads((whole.path / "config.json").read_text())["flow"]["kind"] == "spline_flow_config"
    )
    with pytest.raises(ConfigError):
        dataclasses.replace(plan.data, watched=0.9, aside=0.5)


def test_strategies_have_the_losses_they_name():
    terms = lambda name: [
        {type(term) for term in stage.losses} for stage in make_stages(name, steps=200, batch=32)
    ]
    assert [len(terms(name)) for name in ("nll", "nll-kl", "nll-w2", "all")] == [1, 2, 2, 4]
    assert [Wasserstein in each for each in terms("all")] == [False, True, True, False]
    assert [ReverseKL in each for each in terms("all")] == [False, False, True, True]
    assert terms("by-energy") == [{NLL}, {NLL, ReverseKL}]
    of_dynamics = make_stages("by-energy", steps=200, batch=32, of_target=False)
    assert [type(term) for term in of_dynamics[1].losses] == [ReverseKL]  # one density, not two
    steps = [stage.steps for stage in make_stages("all", steps=2000, batch=32)]
    assert steps == [
        2000,
        500,
        200,
        100,
    ]  # 200, 50, 20 and 10 epochs; the last raised to a twentieth


def test_temperatures_are_closer_for_more_coordinates():
    few, many = protein_plan.temperatures(1.5, 20), protein_plan.temperatures(1.5, 400)
    assert few[0] == many[0] == 1.0
    assert few[-1] == pytest.approx(1.5) == many[-1]
    assert len(many) > 3 * len(few) / 2


def test_roles_leave_chains_to_learn_from(whole):
    data = engine.plan_of(whole).data
    assert list(roles_of(8, data)) == [LEARN] * 5 + [WATCH] + [ASIDE] * 2


def test_a_torsion_that_no_chain_leaves_is_locked(whole):
    """Planted: each chain at a rotamer of its own."""
    molecule = load_molecule(whole)
    coords, rng = load_coordinates(whole, molecule, "slice"), np.random.default_rng(0)
    d = coords.bijector.dim_in
    v = rng.normal(size=(6, 100, d)) * 0.1
    free = mixing(coords, v, rng.normal(size=(6, 100)))
    assert free["locked"] == []
    assert free["r_hat"] < 1.05
    first = 0  # a circular variable: v is the angle less its centre
    v[:, :, first] += np.array([-2.0, -2.0, 0.0, 0.0, 2.0, 2.0])[:, None]
    stuck = mixing(coords, v, rng.normal(size=(6, 100)))
    assert stuck["locked"] == [coords.labels[first]]
    v[0, 50:, first] += 2.0  # one chain that crossed once: not locked, and far from mixed
    slow = mixing(coords, v, rng.normal(size=(6, 100)))
    assert slow["locked"] == []
    assert slow["r_hat_of"] == coords.labels[first]
    assert slow["r_hat"] > 2


def test_rotamers_that_samples_lack_are_found_by_name(whole):
    """Frames of the slice as samples lose nothing; without one side of a torsion they lose no more than that."""
    coords, data = load_coordinates(whole, load_molecule(whole), "slice"), load_dataset(whole)
    names, known = turning(coords, data.x)
    assert set(coords.labels[: coords.n_circular]) <= set(names)
    assert not any(name.startswith(("angle", "offset")) for name in names)
    same = of_samples(names, np.tile(known, (10, 1)), known, data.chain)
    assert same["n_lost"] == 0
    assert same["torsions"] == {}
    first = names.index(coords.labels[0])
    side = np.mod(known[:, first] - np.median(known[:, first]), 2 * np.pi) < np.pi
    lost = of_samples(names, np.tile(known[side], (10, 1)), known, data.chain)
    assert lost["torsions"][names[first]]["lost"]
    # bins that the edge of the side runs through are not lost
    assert 0.1 < lost["torsions"][names[first]]["share"] <= 1 - side.mean()
