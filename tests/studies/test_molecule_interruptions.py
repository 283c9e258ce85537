"""A molecule that is killed in any stage ends with the bits of an unbroken one."""

import json
import random

import numpy as np
import pytest

from jbg import runs
from jbg.sampling.generate import Ensemble
from jbg.studies import engine
from jbg.studies.dataset import FRAMES
from jbg.studies.molecule.files import COORDINATES, EXCHANGE
from tests import tiny
from tests.studies.killed import PLANS, finish, kill_at, lines
from tests.studies.same_run import assert_same_arrays, assert_same_run

pytestmark = pytest.mark.study


def rounds(folder):
    try:
        with np.load(folder / EXCHANGE) as data:
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
    logged = sum(stage.steps // stage.log_every for stage in PLANS["alanine-dipeptide"]().stages)
    moments += [(lines, n) for n in sorted(rng.sample(range(1, logged), 3))]
    moments += [(sampled, n) for n in (500, 2500, 4500)]
    kill_at(folder, "alanine-dipeptide", moments, rng)
    finish(folder, "alanine-dipeptide")
    found = runs.load_run(folder)
    for name in (FRAMES, COORDINATES):
        assert_same_arrays(found, expected, name)
    assert_same_run(found, expected)
