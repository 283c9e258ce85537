"""What a run cost, and what its errors would have cost by simulation alone."""

import numpy as np
import pytest

from jbg import runs
from jbg.runs.clocks import Spent
from jbg.studies.worth import worth

ENTRY = {
    "states": ["a", "b"],
    "tau": 1.0,
    "value": 3.8,
    "stderr": 0.02,
    "reference": 3.9,
    "reference_stderr": 0.1,
    "reference_ladders": 32,
}


class Timed:
    """A run of 60 s of simulation, 10 of them compiling, and 40 s for the rest."""

    def spent(self, name):
        spent = {"simulate": (60.0, 10.0), "train": (20.0, 12.0), "sample": (15.0, 3.0)}
        return Spent(1.0, *spent.get(name, (2.5, 1.0)))


def test_the_simulation_needs_the_square_of_the_ratio_of_errors():
    found = worth(Timed(), [ENTRY])
    assert found["total_cpu_seconds"] == 100.0
    (entry,) = found["differences"]
    assert entry["simulation_cpu_seconds"] == pytest.approx(50.0 * 25)
    assert entry["factor"] == pytest.approx(12.5)
    low, high = entry["factor_interval95"]
    assert 7 < low < 12.5 < high < 23


def test_the_interval_covers():
    """Errors of simulations of 8 ladders, each the spread of independent ladders: 95 % within 2.5 deviations."""
    rng, n, covered = np.random.default_rng(0), 1000, 0
    true = 50.0 * (0.1 / ENTRY["stderr"]) ** 2
    for _ in range(n):
        ladders = rng.normal(scale=0.1 * np.sqrt(8), size=8)
        stderr = ladders.std(ddof=1) / np.sqrt(8)
        entry = ENTRY | {"reference_stderr": stderr, "reference_ladders": 8}
        (found,) = worth(Timed(), [entry])["differences"]
        low, high = found["interval95"]
        covered += low <= true <= high
    assert abs(covered / n - 0.95) < 2.5 * np.sqrt(0.05 * 0.95 / n)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"value": None, "stderr": None}, "the difference is not given"),
        ({"reference": None, "reference_reason": "not equilibrated"}, "no reference: not equil"),
        ({"reference_ladders": 0}, "no simulation of this run"),
        ({"reference_ladders": 3}, "no simulation of this run"),
    ],
)
def test_without_a_simulation_to_compare_with_it_says_why(change, reason):
    (found,) = worth(Timed(), [ENTRY | change])["differences"]
    assert found["factor"] is None
    assert reason in found["reason"]


def test_stages_are_timed_with_their_compiling_over_interruptions(tmp_path):
    import jax

    run = runs.open_run(tmp_path / "a", {"seed": 0})
    for size in (37, 41):  # sizes that nothing else compiles
        with runs.load_run(run.path).stage("train"):
            jax.jit(lambda x: (x * 2).sum())(np.ones(size)).block_until_ready()
    spent = runs.load_run(run.path).spent("train")
    assert 0 < spent.compile_seconds < spent.wall_seconds
    assert spent.cpu_seconds > 0
    assert spent.wall_seconds == run.wall_seconds("train")
