"""Correctors of a tiny molecule, and learning again: whole and resumed runs agree, results say what was done."""

import dataclasses
import shutil

import numpy as np
import pytest

from jbg import report, runs
from jbg.interfaces import ConfigError, RunError
from jbg.runs import Run
from jbg.sampling.ladder_rungs import UnreachableError
from jbg.studies import chain_files, correction, correctors, engine, relearned
from jbg.studies.balance import copies_for
from jbg.studies.chain_files import load_chains
from jbg.studies.correction import CHOICE, FOLDER, Choice, load_corrected
from jbg.studies.molecule.options import AlanineOptions
from jbg.studies.relearned import cycles_of
from tests import tiny

CHAINS = f"{FOLDER}/{chain_files.CHAINS}"

pytestmark = [pytest.mark.study, pytest.mark.openmm]


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    """A tiny run up to its samples, and its problem, which all others here share."""
    folder = tmp_path_factory.mktemp("sampled") / "run"
    run = engine.open_run(folder, tiny.molecule("alanine-dipeptide", corrector="moves", relearn=1))
    engine.simulate(run, quiet=True)
    problem = engine.load_problem(run)
    with pytest.MonkeyPatch.context() as patch:  # chains this short have not mixed
        patch.setattr(relearned, "refuse_all", lambda *_: ({}, []))
        engine.train(run, problem=problem, quiet=True)
    engine.sample(run, problem=problem, quiet=True)
    return run, problem


def copy_of(sampled, folder, corrector):
    """The run with the choice made."""
    shutil.copytree(sampled[0].path, folder)
    run = runs.load_run(folder)
    run.write_json(CHOICE, Choice(corrector, "as asked")._asdict())
    return run


@pytest.fixture(scope="module", params=["moves", "ladder"])
def whole(request, sampled, tmp_path_factory):
    run = copy_of(sampled, tmp_path_factory.mktemp(request.param) / "whole", request.param)
    engine.correct(run, problem=sampled[1], quiet=True)
    engine.evaluate(run, problem=sampled[1], quiet=True)
    report.write_report(run)
    return run, sampled[1]


def chains_of(run):
    return load_corrected(run, engine.plan_of(run).correction)


def test_results_say_what_was_done(whole):
    run, _ = whole
    results = run.read_json("results.json")
    tiny.check_results(results)
    found, chains = results["correction"], chains_of(run)
    assert found["reason"] == "as asked"
    assert found["corrector"] in ("moves", "ladder")
    assert found["frames"] == chains.u.size
    assert found["arrivals"] == chains.arrivals
    rungs = 1 if found["corrector"] == "moves" else len(chains.swaps) + 1
    assert len(chains.acceptance) == rungs
    assert chains.from_frames.sum() == len(chains.u) // 2
    assert found["refused"]  # of runs as short as this
    (entry,) = results["free_energy_differences"]
    reasons = entry.get("corrector_reason") or entry["reason"]
    assert all(reason in reasons for reason in found["refused"])
    assert results["energy_evaluations"]["correct"] == found["energy_evaluations"] > 0
    assert results["worth"]["cpu_seconds"]["correct"] > 0


def test_frames_carry_their_own_energy_and_density(whole):
    """What the chains keep of a frame is what its position gives."""
    run, problem = whole
    chains, params = chains_of(run), (engine.load_params(run, problem), ())
    flat = chains.x.reshape(-1, chains.x.shape[-1])
    np.testing.assert_allclose(problem.reduced_energies(flat), chains.u.ravel(), atol=0.02)
    log_q = problem.log_probs(params, flat, (1.0,))[0]
    np.testing.assert_allclose(log_q, chains.log_q.ravel(), atol=0.05)


@pytest.mark.slow
def test_an_interrupted_correction_ends_with_the_same_bits(whole, sampled, tmp_path, monkeypatch):
    expected, problem = whole
    run = copy_of(sampled, tmp_path / "again", expected.read_json(CHOICE)["corrector"])
    saved = Run.save_arrays

    def killed(self, name, /, **arrays):
        saved(self, name, **arrays)
        if name == CHAINS and arrays["block"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save_arrays", killed)
        with pytest.raises(KeyboardInterrupt):
            engine.correct(run, problem=problem, quiet=True)
    assert not run.stage_done("correct")
    engine.correct(run, problem=problem, quiet=True)
    for a, b in zip(chains_of(run), chains_of(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def test_auto_chooses_by_the_gap_the_weights_and_the_acceptance(sampled, monkeypatch):
    run, problem = sampled
    evidence = engine.evidence_of(run, engine.plan_of(run), problem)

    def chosen(gap, stderr, accepted):
        with monkeypatch.context() as patch:
            patch.setattr(correction, "gap_of", lambda _: {"value": gap})
            patch.setattr(correction, "_largest_stderr", lambda _: stderr)
            patch.setattr(correction, "accepted_share", lambda *_: accepted)
            return correction.choose(evidence, "auto")

    assert chosen(1.0, 0.05, 0.5).corrector == "none"
    assert chosen(1.0, 0.2, 0.5).corrector == "moves"
    assert chosen(1.0, None, 0.5).corrector == "moves"
    assert chosen(5.0, 0.05, 0.03).corrector == "moves"
    assert chosen(None, 0.05, 0.001).corrector == "ladder"
    reason = chosen(5.0, 0.05, 0.03).reason
    about = "reweighting of 2000 samples has errors up to 0.05 kT"
    assert reason == f"a gap of 5.0 nats, {about}, 3.0% of fresh samples accepted"
    assert correction.choose(evidence, "ladder").corrector == "ladder"

    def alone(stderr, accepted):
        with monkeypatch.context() as patch:
            patch.setattr(correction, "gap_of", lambda _: None)
            patch.setattr(correction, "_largest_stderr", lambda _: stderr)
            patch.setattr(correction, "accepted_share", lambda *_: accepted)
            return correction.choose(evidence, "auto")

    assert alone(0.05, 0.5).corrector == "none"
    assert alone(None, 0.03).corrector == "moves"
    assert alone(0.5, 0.001).corrector == "none"
    assert alone(0.5, 0.03).reason.startswith(
        "nothing was simulated, reweighting of 2000 samples has"
    )


def test_without_frames_samples_resampled_by_weight_stand_for_them(sampled, monkeypatch):
    run, problem = sampled
    evidence = engine.evidence_of(run, engine.plan_of(run), problem)
    log_w = evidence.own.log_w
    monkeypatch.setattr(type(evidence), "frames", None)
    found = correction._known_log_w(evidence, 1)
    w = np.exp(log_w - log_w.max())
    expected = np.sum(w[np.isfinite(log_w)] * log_w[np.isfinite(log_w)]) / w.sum()
    assert found.mean() == pytest.approx(expected, abs=4 * found.std() / 100)


def test_a_flow_too_far_from_its_target_is_said_and_nothing_is_given(
    sampled, tmp_path, monkeypatch
):
    def too_far(*_):
        raise UnreachableError("latent ladder: 1 rungs lead to b = 0.10 only")

    monkeypatch.setattr(correctors, "find_rungs", too_far)
    run = copy_of(sampled, tmp_path / "a", "ladder")
    engine.correct(run, problem=sampled[1], quiet=True)
    assert "1 rungs lead to b = " in run.read_json(CHOICE)["refused"]
    found = engine.evaluate(run, problem=sampled[1], quiet=True)
    assert "1 rungs lead to b = " in found["correction"]["refused"][0]
    (entry,) = found["free_energy_differences"]
    assert "1 rungs lead to b = " in (entry.get("corrector_reason") or entry["reason"])


def test_a_full_disk_is_no_refusal(sampled, tmp_path, monkeypatch):
    run = copy_of(sampled, tmp_path / "a", "moves")

    def full(*_, **__):
        raise RunError("disk full")

    monkeypatch.setattr(Run, "save_arrays", full)
    with pytest.raises(RunError, match="disk full"):
        engine.correct(run, problem=sampled[1], quiet=True)
    assert not run.read_json(CHOICE)["refused"]
    assert not run.stage_done("correct")


def test_estimates_that_were_not_corrected_say_so(sampled, tmp_path):
    run = copy_of(sampled, tmp_path / "a", "moves")
    found = engine.evaluate(run, problem=sampled[1], quiet=True)
    assert found["warnings"][-1].startswith("not corrected yet: run `jbg correct ")


def test_where_importance_sampling_carries_nothing_is_made(sampled, tmp_path):
    run = copy_of(sampled, tmp_path / "a", "none")
    engine.correct(run, problem=sampled[1], quiet=True)
    assert run.stage_done("correct")
    assert not run.holds(CHAINS)
    assert chains_of(run) is None


def test_a_cycle_adds_its_frames_and_is_kept_if_held_out_frames_say_so(sampled):
    run, problem = sampled
    plan = engine.plan_of(run).correction
    (cycle,) = cycles_of(run, plan)
    assert cycle.kept == (cycle.after < cycle.before)
    assert cycle.kept  # of a flow trained for 40 steps
    assert cycle.corrector == "moves"
    nll = problem.heldout_nll()
    assert nll(engine.load_params(run, problem)) == pytest.approx(cycle.after, rel=1e-5)
    assert nll(engine.load_params(run, problem, "by-example")) == pytest.approx(cycle.before)
    chains = load_chains(run, "again/1", "moves", plan.short)
    more = relearned._joined(problem, problem.examples, run, "again/1", "moves", plan)
    n = len(problem.examples.train)
    assert len(more.train) == len(more.u) == len(more.copies) == n + chains.u.size
    back, log_det = problem.coords.forward((), more.train[n:].T)
    flat = chains.x.reshape(-1, chains.x.shape[-1])
    np.testing.assert_array_equal(more.copies[n:], problem.copies_of(flat))
    u = problem.reduced_energies(np.asarray(back).T) - np.asarray(log_det)
    np.testing.assert_allclose(u, more.u[n:], atol=0.05)
    stages = list(dict.fromkeys(record["stage"] for record in run.metrics()))
    assert stages == ["by-example", "again-1"]


def test_nothing_is_learnt_from_chains_that_have_not_mixed(sampled, tmp_path):
    run, problem = copy_of(sampled, tmp_path / "a", "moves"), sampled[1]
    plan, params = engine.plan_of(run).correction, engine.load_params(run, problem)
    cycle, same = relearned._cycle(run, plan, problem, problem.examples, params, 2, quiet=True)
    assert not cycle.kept
    assert "need 200" in cycle.reason
    assert same is params


@pytest.mark.slow
def test_where_nothing_was_simulated_the_first_chains_are_learnt_from_whatever_they_met(tmp_path):
    """The recipe that has nothing else: a rough flow of harmonic frames, then cycles."""
    plan = tiny.molecule("alanine-dipeptide", data="none", recipe="chains", relearn=2)
    assert [stage.name for stage in plan.stages] == ["rough"]
    run = engine.open_run(tmp_path / "a", plan)
    for step in (engine.simulate, engine.train):
        step(run, quiet=True)
    cycles, problem = cycles_of(run, plan.correction), engine.load_problem(run)
    assert [(cycle.kept, cycle.before) for cycle in cycles] == [(True, None), (False, None)]
    assert all(
        "need" in cycle.reason for cycle in cycles
    )  # the last is learnt from if it has mixed
    first, chains = (load_chains(run, f"again/{i}", "moves", plan.correction.short) for i in (1, 2))
    assert first.from_frames.sum() == chains.from_frames.sum() == 8
    more = relearned._joined(problem, problem.examples, run, "again/2", "moves", plan.correction)
    x = chains.x.reshape(-1, chains.x.shape[-1])
    expected = copies_for(problem.system.states, x, 0.1)(x)
    np.testing.assert_array_equal(more.copies, expected)
    of = lambda params: problem.log_probs((params, ()), x, (1.0,))[0].mean()
    assert of(engine.load_params(run, problem)) > of(engine.load_params(run, problem, "rough"))


def test_an_unknown_corrector_is_refused():
    plan = tiny.molecule("alanine-dipeptide").correction
    with pytest.raises(ConfigError, match="corrector must be auto, none, moves or ladder"):
        AlanineOptions(corrector="smc")
    with pytest.raises(ConfigError, match="corrector must be auto, none, moves or ladder"):
        dataclasses.replace(plan, corrector="smc")
