"""A double well that is killed at any moment ends with the bits of an unbroken one."""

import json
import random

import pytest

from jbg import runs
from jbg.studies import engine
from tests.studies.killed import PLANS, TOTAL, finish, kill_at, lines
from tests.studies.same_run import assert_same_run

pytestmark = pytest.mark.study


@pytest.mark.parametrize("n_kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_the_same(n_kills, tmp_path):
    unbroken = engine.open_run(tmp_path / "whole", PLANS["double-well"]())
    engine.run_all(unbroken, quiet=True)
    folder, rng = tmp_path / "a", random.Random(n_kills)
    for moment in sorted(rng.sample(range(1, TOTAL), n_kills)):
        kill_at(folder, "double-well", [(lines, moment)], rng)
        json.loads((folder / "config.json").read_text())
    finish(folder, "double-well")
    assert_same_run(runs.load_run(folder), unbroken)
