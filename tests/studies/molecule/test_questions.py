"""States, variables and temperatures of a user: the same by command line and Python, of runs that are finished."""

import dataclasses
import json
import shutil

import mdtraj
import numpy as np
import pytest

import jbg
from jbg import runs
from jbg.cli import main as cli
from jbg.interfaces import ConfigError
from jbg.sampling.generate import Ensemble
from jbg.studies import engine, evaluation, registry
from jbg.studies.chain_files import Corrected
from jbg.studies.molecule import corrected
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.wanted import Questions
from jbg.units import kt
from tests import tiny

pytestmark = [pytest.mark.openmm, pytest.mark.study]

ALPHA = "alpha: torsion phi2 in -120..-30 and torsion psi2 in -80..10"
BETA = "beta: torsion phi2 in -180..-30 and torsion psi2 in 90..-150"


def degrees(t, kind):
    return np.degrees(getattr(mdtraj, f"compute_{kind}")(t)[1][:, 0])


def far(t, i, j):
    return mdtraj.compute_distances(t, [[i, j]])[:, 0]


def bend(t):
    atoms = [int(t.topology.select(f"residue 2 and name {n}")[0]) for n in ("N", "CA", "C")]
    return np.degrees(mdtraj.compute_angles(t, [atoms])[:, 0])


TEN = {
    "torsion phi2 < -90": lambda t: degrees(t, "phi") < -90,
    "torsion psi2 in 90..-150": lambda t: (degrees(t, "psi") >= 90) | (degrees(t, "psi") < -150),
    "torsion phi2 in 30..90": lambda t: (degrees(t, "phi") >= 30) & (degrees(t, "phi") < 90),
    "not torsion psi2 > 0": lambda t: ~(degrees(t, "psi") > 0),
    "torsion phi2 < 0 and torsion psi2 < 0": lambda t: (
        (degrees(t, "phi") < 0) & (degrees(t, "psi") < 0)
    ),
    "torsion phi2 > 0 or torsion psi2 > 0": lambda t: (
        (degrees(t, "phi") > 0) | (degrees(t, "psi") > 0)
    ),
    "distance 1:O 3:H < 0.35": lambda t: far(t, 5, 17) < 0.35,
    "distance 6 18 in 0.3..0.5": lambda t: (far(t, 5, 17) >= 0.3) & (far(t, 5, 17) < 0.5),
    "torsion 5 7 9 15 in -60..60": lambda t: (
        np.abs(np.degrees(mdtraj.compute_dihedrals(t, [[4, 6, 8, 14]])[:, 0])) < 60
    ),
    "angle 2:N 2:CA 2:C > 111": lambda t: bend(t) > 111,
}


@pytest.fixture(scope="module")
def plan():
    whole = tiny.molecule("alanine-dipeptide", steps=20, corrector="none")
    return dataclasses.replace(whole, stages=whole.stages[:1])


@pytest.fixture(scope="module")
def finished(plan, tmp_path_factory):
    """A run that was evaluated without questions."""
    run = engine.open_run(tmp_path_factory.mktemp("runs") / "ala2", plan)
    engine.run_all(run, quiet=True)
    return run


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "ala2")
    return runs.load_run(tmp_path / "ala2")


def numbers(results):
    return {k: v for k, v in results.items() if k not in ("wall_seconds", "worth")}


def test_ten_definitions_by_command_line_and_by_python_agree_exactly(run, capsys):
    flags = [part for k, text in enumerate(TEN) for part in ("--state", f"s{k}: {text}")]
    assert cli.main(["evaluate", str(run.path), *flags, "--quiet"]) == 0
    assert "F(s1) - F(s0)" in capsys.readouterr().out
    by_text = run.read_json("results.json")
    molecule = load_molecule(run)
    states = [jbg.state(f"s{k}", function, molecule) for k, function in enumerate(TEN.values())]
    by_function = jbg.evaluate(run, questions=Questions(states=states), quiet=True)
    for name in ("ess_by_state", "forward_nll_by_state"):
        assert by_text[name] == json.loads(json.dumps(by_function[name]))
    shares = [by_text["ess_by_state"][f"s{k}"]["generated_share"] for k in range(10)]
    assert all(0.001 < share < 0.999 for share in shares), shares
    pick = ("states", "value", "stderr", "interval95", "reference", "kJ/mol")
    entries = [
        [[entry[key] for key in pick] for entry in found["free_energy_differences"]]
        for found in (by_text, json.loads(json.dumps(by_function)))
    ]
    assert entries[0] == entries[1]
    assert len(entries[0]) == 1 + 45


def test_questions_change_no_other_number_and_need_no_training(run, finished):
    before = {path: path.stat().st_mtime_ns for path in run.path.glob("[cs]*/**/*")}
    asked = Questions(
        states=[ALPHA, BETA], variables=["psi: torsion psi2"], temperatures=[280, 320]
    )
    found = jbg.evaluate(run, questions=asked, quiet=True)
    assert before == {path: path.stat().st_mtime_ns for path in run.path.glob("[cs]*/**/*")}
    plain = finished.read_json("results.json")
    found = json.loads(json.dumps(found))
    first = found["free_energy_differences"][0]
    assert first == plain["free_energy_differences"][0]
    for name in ("ess_fraction", "forward_nll", "ramachandran_tv", "profiles", "log_z"):
        assert found[name] == plain[name]
    assert found["ess_by_state"].items() >= plain["ess_by_state"].items()
    assert found["states"]["alpha"]["definition"].startswith(ALPHA.split(": ")[1])
    assert [entry["temperature"] for entry in found["temperature_series"]] == [280.0, 320.0]


def test_asked_at_first_or_afterwards_the_answers_are_the_same(plan, run, tmp_path):
    asked = Questions(states=[ALPHA], variables=["rama: torsion phi2, torsion psi2"])
    later = numbers(jbg.evaluate(run, questions=asked, quiet=True))
    first = engine.open_run(tmp_path / "first", plan)
    engine.keep_questions(first, asked)
    engine.run_all(first, quiet=True)
    assert numbers(first.read_json("results.json")) == json.loads(json.dumps(later))
    assert (first.path / "figures/map_cv-rama.png").stat().st_size > 5000
    arrays = [each.load_arrays("evaluation.npz") for each in (first, run)]
    for name in ("map_cv-rama_reweighted", "map_cv-rama_reference", "map_cv-rama_edgesx"):
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])


def test_questions_are_kept_until_there_are_others(run):
    first = jbg.evaluate(run, questions=Questions(states=[ALPHA, BETA]), quiet=True)
    again = jbg.evaluate(run, quiet=True)
    assert numbers(first) == numbers(again)
    other = jbg.evaluate(run, questions=Questions(states=[BETA]), quiet=True)
    pairs = [entry["states"] for entry in other["free_energy_differences"]]
    assert pairs == [["phi<0", "phi>0"], ["not beta", "beta"]]


def test_profiles_and_maps_are_drawn(run):
    variables = ["psi: torsion psi2 in 0..360", "d: distance 1:O 3:H", "both: rg, angle 7 9 15"]
    jbg.evaluate(run, questions=Questions(variables=variables), quiet=True)
    assert cli.main(["report", str(run.path)]) == 0
    for name in ("profile_cv-psi", "profile_cv-d", "map_cv-both"):
        assert (run.path / f"figures/{name}.png").stat().st_size > 5000
    arrays = run.load_arrays("evaluation.npz")
    centres = arrays["profile_cv-psi_centers"]
    assert 0 < centres[0] < centres[-1] < 2 * np.pi
    shares = arrays["map_cv-both_reweighted"]
    assert 0.99 < shares.sum() <= 1 + 1e-9


REFUSED = {
    "state": (["--state", "alpha: torsion phi9 < 0"], "did you mean phi2"),
    "no name": (["--state", "torsion phi2 < 0"], "expected a name, a colon and a definition"),
    "twice": (["--state", ALPHA, "--state", ALPHA], "state alpha: two have this name"),
    "variable": (["--cv", "psi: torsion"], "variable psi: expected 4 atoms"),
    "cold": (["--temperatures", "30"], "reweighted to 150 to 600 K, got 30"),
    "word": (["--temperatures", "hot"], "temperatures"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_questions_are_refused_before_any_work(run, capsys, name):
    flags, message = REFUSED[name]
    before = (run.path / "results.json").stat().st_mtime_ns
    assert cli.main(["evaluate", str(run.path), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert (run.path / "results.json").stat().st_mtime_ns == before
    assert not run.holds("wanted.json")


def test_a_run_refuses_them_before_it_makes_a_folder(tmp_path, capsys):
    command = ["run", "alanine-dipeptide", "--out", str(tmp_path / "a"), "--state", "a: rg << 1"]
    assert cli.main(command) == 2
    assert "state a: expected a number" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_systems_without_atoms_have_no_such_questions():
    with pytest.raises(ConfigError, match="this system has no atoms"):
        engine.check_questions(tiny.double_well(), Questions(states=["a: rg < 1"]))


def good_evidence(run, asked):
    """The evidence of a run as if its flow were right: nearly equal weights."""
    plan = engine.plan_of(run)
    evidence = engine.evidence_of(run, plan, engine.load_problem(run))
    own = evidence.own
    log_w = 0.3 * np.random.default_rng(0).normal(size=len(own.log_w))
    evidence.weighted = {Ensemble(): own._replace(log_w=log_w)}
    return evidence.asking(engine.check_questions(plan, asked, run))


def test_values_populations_and_units(run):
    asked = Questions(states=[ALPHA, BETA], temperatures=[299.0, 300.0])
    evidence = good_evidence(run, asked)
    study = registry.study("alanine-dipeptide")
    found, _ = evaluation.compute(dataclasses.replace(study, estimators=()), evidence)
    entry = found["free_energy_differences"][-1]
    assert entry["states"] == ["alpha", "beta"]
    own = evidence.own
    a, b = (own.inside(state) for state in evidence.wanted.states)
    w = np.exp(own.log_w)
    assert entry["value"] == pytest.approx(-np.log(w[b].sum() / w[a].sum()))
    assert entry["kJ/mol"]["value"] == pytest.approx(entry["value"] * kt(300.0))
    assert entry["kcal/mol"]["stderr"] == pytest.approx(entry["stderr"] * kt(300.0) / 4.184)
    assert entry["kJ/mol"]["interval95"] == pytest.approx(
        [end * kt(300.0) for end in entry["interval95"]]
    )
    p = found["states"]["alpha"]["population"]
    assert p["value"] == pytest.approx(w[a].sum() / w.sum())
    assert p["interval95"][0] < p["value"] < p["interval95"][1]
    (at_own,) = [e for e in found["temperature_series"] if e["temperature"] == 300.0]
    (pair,) = [e for e in at_own["differences"] if e["states"] == ["alpha", "beta"]]
    assert pair["free_energy"]["value"] == pytest.approx(entry["kJ/mol"]["value"])
    assert at_own["n_effective"] == pytest.approx(w.sum() ** 2 / np.sum(w**2))


def test_overlapping_states_are_counted_and_said(run):
    asked = Questions(states=["a: torsion phi2 < 0", "b: torsion phi2 < 60"])
    study = registry.study("alanine-dipeptide")
    found, _ = evaluation.compute(
        dataclasses.replace(study, estimators=()), good_evidence(run, asked)
    )
    (overlap,) = found["overlaps"]
    assert overlap["states"] == ["a", "b"]
    assert overlap["share"] == pytest.approx(found["states"]["a"]["population"]["value"])
    lines = jbg.analysis.results_alarms({**found, "warnings": []}, [])
    assert any(line.startswith("states a and b overlap: ") for line in lines)


def test_chains_with_flow_moves_serve_the_states_of_the_user(run, monkeypatch):
    evidence = good_evidence(run, Questions(states=[ALPHA, BETA])).of_user()
    inside = np.stack([evidence.own.inside(state) for state in evidence.states])
    rng, known = np.random.default_rng(0), np.flatnonzero(inside.any(0))
    rows = rng.choice(known, size=(32, 400))
    u = rng.normal(size=rows.shape)
    chains = Corrected(
        corrector="moves",
        x=np.asarray(evidence.own.samples.positions)[rows],
        u=u,
        log_q=-u + 0.1 * rng.normal(size=rows.shape),
        arrivals=5000,
        swaps=(),
        acceptance=(0.8,),
        turned=0.1,
        from_frames=np.arange(32) < 16,
        walkers=32,
    )
    monkeypatch.setattr(corrected, "load_corrected", lambda run, plan: chains)
    vars(evidence)["frames"] = None
    study = dataclasses.replace(
        registry.study("alanine-dipeptide"), estimators=(corrected.corrected,)
    )
    _, (entry,) = evaluation.estimated(study, evidence)
    assert entry.estimator == "moves"
    a, b = inside[:, rows].sum((1, 2))
    assert entry.value == pytest.approx(-np.log(b / a))


def test_means_of_a_run(run, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "import mdtraj\ndef phi(t):\n    return mdtraj.compute_phi(t)[1]\n"
        "def nan(t):\n    return t.xyz[:, 0, 0] / 0\n"
    )
    assert cli.main(["mean", str(run.path), "--of", f"{tmp_path}/mine.py:phi", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["chains"] is None
    assert "effective samples, need 50" in found["weighted"]["reason"]
    assert cli.main(["mean", str(run.path), "--of", f"{tmp_path}/mine.py:psi"]) == 2
    assert "has no function psi: it has phi, nan" in capsys.readouterr().err
    with np.errstate(all="ignore"):
        assert cli.main(["mean", str(run.path), "--of", f"{tmp_path}/mine.py:nan"]) == 2
    assert "have a weight and no finite value" in capsys.readouterr().err
