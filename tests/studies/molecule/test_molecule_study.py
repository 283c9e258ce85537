"""Molecules from structure to report with tiny settings, and what a user may get wrong."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from jbg import runs
from jbg.cli import main as cli
from jbg.generator import pull_back
from jbg.interfaces import ConfigError
from jbg.losses import NLL, LogDispersion
from jbg.simulation import harmonic
from jbg.studies import codec, engine
from jbg.studies.molecule import build
from jbg.studies.molecule.data_plan import ExchangePlan, HarmonicPlan
from jbg.studies.molecule.files import CHAINS
from jbg.studies.molecule.options import RECIPES, AlanineOptions, MoleculeOptions
from jbg.systems.forcefield import compiled_potential
from jbg.systems.molecule import molecule_from_sequence
from jbg.training import Stage, device_mesh, evaluations
from jbg.units import beta
from tests import tiny

pytestmark = pytest.mark.openmm


def run_all(folder, name, n_stages=2, **options):
    plan = tiny.molecule(name, steps=20, **options)
    run = engine.open_run(folder, dataclasses.replace(plan, stages=plan.stages[:n_stages]))
    engine.run_all(run, quiet=True)
    results = run.read_json("results.json")
    tiny.check_results(results)
    assert results["log_z"] is None
    assert results["units"]["energy"] == "kJ/mol"
    assert results["temperature"] == options.get("temperature", 300.0)
    assert (run.path / "report.html").stat().st_size > 10_000
    return run, results


@pytest.fixture(scope="module")
def pdb_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pdb")

    def write(sequence):
        path = folder / f"{sequence}.pdb"
        path.write_text(molecule_from_sequence(sequence).pdb)
        return path

    return write


@pytest.mark.slow
def test_alanine_dipeptide_end_to_end(tmp_path):
    run, results = run_all(tmp_path / "a", "alanine-dipeptide")
    (entry,) = results["free_energy_differences"]
    assert entry["states"] == ["phi<0", "phi>0"]
    assert results["chirality_l_fraction"] >= 0.99
    refused = (
        results["ramachandran_tv"] is None
    )  # the histogram of a simulation that is no reference
    assert refused == (entry["reference"] is None) == bool(results.get("ramachandran_tv_reason"))
    assert (
        "The target is the Boltzmann density within the coordinates' domain"
        in (results["restriction"])
    )
    counted = results["energy_evaluations"]
    # ladders x temperatures x (rounds x (start, steps, rotations) + first)
    # and for starts, 8 at once: 24 angles of two ladders, the given structure, 300 steps of descent
    starts = 8 * (6 + 1 + 301)
    assert counted["simulate"] == 4 * 2 * (100 * (1 + 5 + 2) + 1) + starts
    assert run.load_arrays("data/starts.npz")["sides"].tolist() == [[False, True, False, True]]
    assert counted["train"] == tiny.BATCH
    assert counted["evaluate"] == 2000 + 60  # and the frames of one ladder
    records = run.metrics()
    assert len(records) == 2
    assert {"loss", "nll", "heldout_nll", "eval_ess"} <= records[-1].keys()

    again = engine.open_run(run.path, tiny.molecule("alanine-dipeptide", steps=20))
    assert engine.evaluate(again)["ess_fraction"] == results["ess_fraction"]


@pytest.mark.study
@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_alanine_dipeptide_from_energies_alone(slow, tmp_path, monkeypatch):
    # conformations and angles of a scan, and steps of its relaxation: enough for a dipeptide
    for name, value in {"BACKGROUNDS": 1, "SCAN": 12, "PIECE": 24, "ITERATIONS": 20}.items():
        monkeypatch.setattr(harmonic, name, value)
    of = lambda recipe: tiny.molecule("alanine-dipeptide", steps=20, data="none", recipe=recipe)
    exploring, bootstrap = of("own-samples").stages[0], of("bootstrap").stages[0]
    stages = (exploring, bootstrap) if slow else (exploring,)
    plan = dataclasses.replace(of("own-samples"), stages=stages)
    run = engine.open_run(tmp_path / "a", plan)
    engine.run_all(run, quiet=True)
    results = run.read_json("results.json")
    tiny.check_results(results)
    assert results["forward_nll"] is None
    assert results["forward_nll_reason"]
    assert "vacuum" not in results["restriction"]
    assert results["ramachandran_tv"] is results["ramachandran_tv_noise"] is None
    assert results["chirality_l_fraction"] == 1
    assert results["never_turned"] == []
    counted = results["energy_evaluations"]
    assert counted["simulate"] > 200 * 20
    of_bootstrap = 2 * 32 * (1 + 4 * 8) + tiny.BATCH
    assert counted["train"] == 20 * 32 + tiny.BATCH + (of_bootstrap if slow else 0)
    assert (run.path / "report.html").exists()
    check_energies_of_the_frames(run)
    check_short_chains(run, results)


def check_short_chains(run, results):
    """They are compared with the flow, their energies are those of the target, and they are counted."""
    gap, data, plan = results["local_chains"], run.load_arrays(CHAINS), engine.plan_of(run)
    assert (gap["n_chains"], gap["outside_share"]) == (4, 0)
    assert any("no equilibrium was simulated" in warning for warning in results["warnings"])
    assert plan.data.chains.evaluations == 4 * (30 + 2)
    frames = run.load_arrays("data/frames.npz")
    assert (
        results["energy_evaluations"]["simulate"] == frames["evaluations"] > plan.data.evaluations
    )
    assert data["x"].shape == (4 * 4, 66)
    assert data["chain"].tolist() == np.repeat(range(4), 4).tolist()
    u = engine.load_problem(run).target.reduced_energy(data["x"].T)
    np.testing.assert_allclose(u, data["u"], rtol=1e-4, atol=1e-2)


def test_a_recipe_of_chains_has_cycles_by_itself():
    plan = engine.make_plan("alanine-dipeptide", data="none", recipe="chains")
    assert plan.correction.cycles == 3
    spent = plan.correction.cycles * plan.correction.cycle_evaluations("moves", 0)
    assert 3e6 < spent < 8e6
    again = engine.make_plan("alanine-dipeptide", data="none", recipe="chains", relearn=5)
    assert again.correction.cycles == 5


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "chains"])
def test_every_recipe_has_stages_of_about_a_million_energies(recipe):
    plan = engine.make_plan("alanine-dipeptide", data="none", recipe=recipe)
    assert 1e6 < evaluations(plan.stages, 0) < 3e6


@pytest.mark.parametrize("preset", ["quick", "full"])
@pytest.mark.parametrize(
    ("options", "data"),
    [
        ({}, ExchangePlan),
        *(({"data": "none", "recipe": recipe}, HarmonicPlan) for recipe in RECIPES),
    ],
)
def test_a_plan_comes_back_from_its_folder(preset, options, data, tmp_path):
    plan = engine.make_plan("alanine-dipeptide", preset=preset, seed=3, **options)
    assert isinstance(plan.data, data)
    run = engine.open_run(tmp_path / "a", plan)
    assert run.config["data"]["kind"] == codec.kind_of(data)
    assert engine.plan_of(runs.load_run(run.path)) == plan
    assert engine.open_run(run.path, plan).config == run.config


def test_data_of_an_unknown_kind_are_refused(tmp_path):
    run = engine.open_run(tmp_path / "a", engine.make_plan("alanine-dipeptide"))
    run.config["data"]["kind"] = "trajectory"
    message = (
        "data.kind must be one of exchange_plan, harmonic_plan, trajectory_plan, got 'trajectory'"
    )
    with pytest.raises(ConfigError, match=message):
        engine.plan_of(run)


def test_what_is_said_before_a_run():
    """The molecule, and what it costs: ladders x temperatures x (rounds x (start, steps, rotations) + first)."""
    plan = engine.make_plan("alanine-dipeptide")
    assert engine.describe(plan)[0] == ("molecule", "C6H12N2O2, 22 atoms, charge 0")
    settings, cost = plan.data.exchange, engine.cost(plan)
    replicas = settings.n_ladders * len(settings.temperatures)
    per_round = 1 + settings.n_steps + settings.n_rotations
    assert cost["energy_evaluations_simulate"] == replicas * (1 + 1650 * per_round)
    assert 1 < cost["rough_minutes_on_one_core"] < 20
    alone = engine.make_plan("alanine-dipeptide", data="none")
    chains = 48 * (4000 + 2)
    spent = engine.cost(alone)["energy_evaluations_simulate"]
    assert spent == chains + 4000 * (harmonic.ITERATIONS + 2)


@pytest.mark.slow
@pytest.mark.study
def test_glycine_in_vacuum_from_a_pdb_file_at_another_temperature(pdb_of, tmp_path, monkeypatch):
    path, warned = pdb_of("ACE-GLY-NME"), []
    monkeypatch.setattr(build.logger, "warning", lambda text, *values: warned.append(text % values))
    options = {
        "pdb": path,
        "temperature": 350.0,
        "energies": "openmm",
        "forcefield": ["amber14-all.xml"],
    }
    run, results = run_all(tmp_path / "a", "molecule", n_stages=1, **options)
    assert len(warned) == 1
    assert "no solvent model in amber14-all.xml" in warned[0]
    assert "in vacuum" in results["restriction"]
    assert "chirality_l_fraction" not in results  # nothing chiral
    assert [e["states"] for e in results["free_energy_differences"]] == [["phi<0", "phi>0"]]
    path.write_text("")  # later stages do not read it again
    problem = engine.load_problem(runs.load_run(run.path))
    assert problem.system.dim == 3 * 19
    x, _ = problem.coords.forward((), problem.examples.train[:5].T)
    energies = np.asarray(problem.target.reduced_energy(x))
    stored = run.load_arrays("data/molecule.npz")
    compiled = compiled_potential(str(stored["system_xml"]))(x) * beta(350.0)
    np.testing.assert_allclose(energies, compiled, atol=1e-3)


def check_energies_of_the_frames(run):
    """They are those of the target in the coordinates of the flow, and what the log-dispersion takes."""
    problem = engine.load_problem(run)
    *v, u = problem.examples.rows.T
    expected = pull_back(problem.target, problem.coords).reduced_energy(np.stack(v))
    np.testing.assert_allclose(u, expected, rtol=1e-4, atol=1e-2)
    assert np.std(u) > 1.0
    stage = Stage(name="a", steps=10, batch_size=32, losses=(NLL(dispersion=LogDispersion(2.0)),))
    params, batch = problem.flow.init(run.key("init")), problem.examples.rows[:50].T
    loss = problem.make_loss(stage, device_mesh(jax.devices()[:1]))
    log_q = problem.flow.log_prob(params, np.stack(v)[:, :50])
    total, aux = loss(params, batch, run.key("a"))
    np.testing.assert_allclose(aux["nll"], -log_q.mean(), rtol=1e-4)
    np.testing.assert_allclose(total, aux["nll"] + 2 * aux["log_dispersion"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("sequence", ["AG", "ACE-ALA-ALA-NME"])
def test_longer_peptides_from_a_pdb_file(sequence, pdb_of, tmp_path):
    _, results = run_all(tmp_path / "a", "molecule", pdb=pdb_of(sequence))
    assert results["chirality_l_fraction"] >= 0.9


def move(text, dx):
    """The atoms of a PDB file moved along x, in Angstrom."""
    at = lambda line: f"{line[:30]}{float(line[30:38]) + dx:8.3f}{line[38:]}"
    return "".join(at(x) + "\n" for x in text.splitlines() if x.startswith(("ATOM", "HETATM")))


FILES = {
    "empty": (lambda good: "", "is empty"),
    "prose": (lambda good: "not a structure\n", "not a PDB file"),
    "unknown residue": (lambda good: good.replace("ALA", "XYZ"), "XYZ 2"),
    "two molecules": (
        lambda good: move(good, 0) + "TER\n" + move(good, 40).replace(" A ", " B ") + "END\n",
        "molecules|two molecules",
    ),
    "not a number": (
        lambda good: re.sub(r"(CA  ALA A   2 {4}).{8}", r"\1     nan", good),
        "not finite|not a readable",
    ),
}
OPTIONS = {
    "forcefield": (["--forcefield", "amber14-al.xml"], "did you mean amber14-all.xml"),
    "zero temperature": (["--temperature", "0"], "temperature must be a positive number"),
    "negative temperature": (["--temperature", "-300"], "temperature must be a positive number"),
    "temperature that is none": (["--temperature", "nan"], "temperature must be a positive"),
    "preset": (["--preset", "quik"], "did you mean quick"),
    "option": (["--temprature", "300"], "did you mean --temperature"),
    "seed": (["--seed", "-1"], "seed must be an integer"),
    "a sequence too": (["--sequence", "ACE-ALA-NME"], "give one of --pdb, --sequence"),
}


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs `jbg run molecule` -> its one line; nothing may be left behind."""

    def call(path, *options):
        folder = tmp_path / "out"
        status = cli.main(["run", "molecule", "--pdb", str(path), "--out", str(folder), *options])
        out, err = capsys.readouterr()
        assert status == 2
        assert out == ""
        assert re.fullmatch(r"jbg: error: [^\n]+\n", err), err
        assert not folder.exists()
        return err

    return call


@pytest.mark.parametrize("name", FILES)
def test_bad_files(name, refused, pdb_of, tmp_path):
    make, message = FILES[name]
    path = tmp_path / "bad.pdb"
    path.write_text(make(pdb_of("ACE-ALA-NME").read_text()))
    line = refused(path)
    assert re.search(message, line), line
    assert "bad.pdb" in line


def test_missing_files(refused, tmp_path):
    assert "no such PDB file" in refused(tmp_path / "nowhere.pdb")
    assert "no such PDB file" in refused(tmp_path)


@pytest.mark.parametrize("name", OPTIONS)
def test_bad_options(name, refused, pdb_of):
    options, message = OPTIONS[name]
    line = refused(pdb_of("ACE-ALA-NME"), *options)
    assert re.search(message, line), line


def test_alanine_dipeptide_refuses_too(tmp_path, capsys):
    for option in (
        ["--temperature", "-1"],
        ["--forcefield", "nothing.xml"],
        ["--recipe", "transport"],
    ):
        arguments = ["run", "alanine-dipeptide", "--out", str(tmp_path / "out"), *option]
        assert cli.main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_peptide_needs_no_file(capsys):
    sequence = "ACE-GLY-NME"
    plan = engine.make_plan("molecule", sequence=sequence)
    assert plan.options.sequence == sequence
    assert build.build(plan.options).topology.n_atoms == plan.data.atoms == 19
    assert plan.data.sha256 is None
    assert cli.main(["run", "molecule", "--sequence", "ACE-GLX-NME", "--dry-run"]) == 2
    assert "unknown residue 'GLX'" in capsys.readouterr().err
    assert cli.main(["run", "molecule", "--dry-run"]) == 2
    assert "give one of --pdb, --sequence" in capsys.readouterr().err


def test_another_molecule_in_the_same_folder_is_refused(pdb_of, tmp_path, capsys):
    path, folder = pdb_of("ACE-ALA-NME"), tmp_path / "out"
    engine.open_run(folder, engine.make_plan("molecule", pdb=path))
    path.write_text(path.read_text() + "REMARK edited\n")
    status = cli.main(["run", "molecule", "--pdb", str(path), "--out", str(folder)])
    err = capsys.readouterr().err
    assert status == 2
    assert "data.sha256" in err
    assert err.count("\n") == 1


def test_options_are_checked_where_they_are_made(tmp_path, monkeypatch):
    """Also those that no flag passes through; a file's path is kept whole, lists become tuples."""
    monkeypatch.chdir(tmp_path)
    options = MoleculeOptions(pdb="a.pdb", forcefield=["amber14-all.xml"], temperature=310)
    assert options.pdb == tmp_path / "a.pdb"
    assert options.forcefield == ("amber14-all.xml",)
    assert repr(options.temperature) == "310.0"
    for given, message in (
        ({"temperature": float("inf")}, "temperature must be a positive number of kelvin, got inf"),
        ({"energies": "amber"}, "energies must be jax or openmm, got 'amber'"),
        ({"data": "some"}, "data must be simulated, none or trajectory files, got 'some'"),
        ({"data": ()}, "data must be simulated, none or trajectory files, got nothing"),
        (
            {"weights": "w.npy"},
            "weights: those of your own frames, which --data FILE names; data is simulated",
        ),
        ({"data": "none", "topology": "a.pdb"}, "topology: those of your own .* data is none"),
        ({"data": "a.xtc", "recipe": "chains"}, "recipe chains learns from energies alone"),
        (
            {"data": ["a.xtc", "b.xtc", "c.xtc"], "weights": ["a.npy", "b.npy"]},
            "weights: 2 files for 3 trajectories: give one for each, or one for all",
        ),
        (
            {"recipe": "x", "data": "none"},
            "recipe must be own-samples, transport, bootstrap, annealed-kl or chains",
        ),
        ({"recipe": "transport"}, "recipe transport learns from energies alone"),
    ):
        with pytest.raises(ConfigError, match=message):
            AlanineOptions(**given)
    with pytest.raises(ConfigError, match="alanine-dipeptide: .*sequence"):
        engine.make_plan("alanine-dipeptide", sequence="ACE-GLY-NME")
