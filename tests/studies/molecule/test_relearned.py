"""Learning again from corrected chains after interruptions, after a cycle for nothing, and from energies alone."""

import json

import jax
import numpy as np
import pytest

from jbg.runs import Run
from jbg.studies import engine, relearned
from jbg.studies.relearned import Cycle, cycles_of
from tests import tiny

pytestmark = [pytest.mark.study, pytest.mark.openmm, pytest.mark.slow]


def opened(folder, cycles=2, **options):
    options |= {"corrector": "moves", "relearn": cycles}
    return engine.open_run(folder, tiny.molecule("alanine-dipeptide", steps=20, **options))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = opened(tmp_path_factory.mktemp("again") / "whole")
    engine.simulate(run, quiet=True)
    problem = engine.load_problem(run)
    engine.train(run, problem=problem, quiet=True)
    return run, problem


def leaves(run, problem, stage=None):
    return jax.tree.leaves(engine.load_params(run, problem, stage))


def test_an_interrupted_cycle_ends_with_the_same_bits(whole, tmp_path, monkeypatch):
    expected, problem = whole
    run = opened(tmp_path / "again")
    engine.simulate(run, quiet=True)
    logged = Run.log_metrics

    def killed(self, stage, step, **values):
        if stage == "again-1" and step == 20:
            raise KeyboardInterrupt
        logged(self, stage, step, **values)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log_metrics", killed)
        with pytest.raises(KeyboardInterrupt):
            engine.train(run, problem=problem, quiet=True)
    assert not run.stage_done("train")
    engine.train(run, problem=problem, quiet=True)
    for a, b in zip(leaves(run, problem), leaves(expected, problem), strict=True):
        np.testing.assert_array_equal(a, b)
    assert run.metrics() == expected.metrics()


def test_a_cycle_that_makes_held_out_frames_less_likely_is_the_last(whole, tmp_path, monkeypatch):
    _, problem = whole
    run = opened(tmp_path / "a")
    engine.simulate(run, quiet=True)
    worse = lambda *_, **__: (Cycle("moves", 5, 1.0, 2.0, kept=False, reason="worse"), None)
    monkeypatch.setattr(relearned, "_cycle", worse)
    engine.train(run, problem=problem, quiet=True)
    assert len(cycles_of(run, engine.plan_of(run).correction)) == 1
    assert run.stage_done("train")
    for a, b in zip(leaves(run, problem), leaves(run, problem, "by-example"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_energies_alone_learn_from_chains_alone(tmp_path):
    run = opened(tmp_path / "a", cycles=1, data="none")
    engine.run_all(run, quiet=True)
    (cycle,) = cycles_of(run, engine.plan_of(run).correction)
    assert cycle.kept
    assert cycle.before is None
    found = run.read_json("results.json")
    tiny.check_results(found)
    spent = found["energy_evaluations"]["train"]
    plan = engine.plan_of(run)
    assert spent == plan.training_evaluations > plan.correction.short.evaluations
    assert json.loads((run.path / "again/1/cycle.json").read_text())["arrivals"] >= 0
