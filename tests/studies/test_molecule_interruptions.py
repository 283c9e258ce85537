"""A molecule that is killed in any stage ends with the bits of an unbroken one."""

import json
import random

import numpy as np
import pytest

from jbg import runs
from jbg.sampling.generate import Ensemble
from jbg.simulation.replica_exchange import replica_exchange
from jbg.studies import engine
from jbg.studies.dataset import FRAMES
from jbg.studies.molecule import files, source
from tests import tiny
from tests.studies.killed import PLANS, TOTAL, finish, kill_at, lines
from tests.studies.same_run import assert_same_arrays, assert_same_run

pytestmark = pytest.mark.study


def rounds(folder):
    try:
        with np.load(folder / files.EXCHANGE) as data:
            return int(data["round"])
    except FileNotFoundError:
        return tiny.ROUNDS if (folder / FRAMES).exists() else 0


def sampled(folder):
    path = folder / Ensemble().folder / "progress.json"
    return json.loads(path.read_text())["done"] if path.exists() else 0


@pytest.mark.slow
@pytest.mark.openmm
def test_a_molecule_killed_in_every_stage_ends_the_same(tmp_path):
    expected = engine.open_run(tmp_path / "whole", PLANS["alanine-dipeptide"]())
    choice = {"platform": "Reference", "n_workers": 2}  # a timing may choose another
    expected.note(openmm=choice)
    engine.run_all(expected, quiet=True)
    folder, rng = tmp_path / "a", random.Random(5)
    engine.open_run(folder, PLANS["alanine-dipeptide"]()).note(openmm=choice)
    moments = [(rounds, n) for n in sorted(rng.sample(range(1, tiny.ROUNDS), 4))]
    moments += [(lines, n) for n in sorted(rng.sample(range(1, TOTAL), 3))]
    moments += [(sampled, n) for n in (500, 2500, 4500)]
    kill_at(folder, "alanine-dipeptide", moments, rng)
    finish(folder, "alanine-dipeptide")
    found = runs.load_run(folder)
    for name in (FRAMES, files.COORDINATES):
        assert_same_arrays(found, expected, name)
    assert_same_run(found, expected)


@pytest.mark.openmm
def test_replica_exchange_goes_on_from_a_round_bit_for_bit(tmp_path, monkeypatch):
    plan = tiny.molecule("alanine-dipeptide")
    found = []
    for name, stops in (("whole", ()), ("broken", (3, 55))):
        run = engine.open_run(tmp_path / name, plan)
        run.note(openmm={"platform": "Reference", "n_workers": 2})  # a timing may choose another
        for stop in (*stops, None):

            def stopping(*args, on_round, stop=stop, **kwargs):
                def watched(state):
                    on_round(state)
                    if state.round == stop:
                        raise KeyboardInterrupt

                return replica_exchange(*args, on_round=watched, **kwargs)

            monkeypatch.setattr(source, "replica_exchange", stopping)
            monkeypatch.setattr(source, "CHECKPOINT_SECONDS", 0.0)
            if stop is None:
                engine.simulate(run, quiet=True)
            else:
                with pytest.raises(KeyboardInterrupt):
                    engine.simulate(run, quiet=True)
                assert int(run.load_arrays(files.EXCHANGE)["round"]) == stop
        found.append(run)
        assert run.stage_done("simulate")
        assert not (run.path / files.EXCHANGE).exists()
    for name in (FRAMES, files.COORDINATES):
        assert_same_arrays(*found, name)
