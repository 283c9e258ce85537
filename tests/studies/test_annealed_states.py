"""Free energies between states of the user from annealed particles."""

from types import SimpleNamespace

import numpy as np
import pytest

from jbg.interfaces import State
from jbg.studies.annealed import by_annealing
from jbg.studies.difference import Difference
from jbg.studies.study import Reference

LEFT = State(name="left", contains=lambda x: x[0] < 0, definition="x < 0")
RIGHT = State(name="right", contains=lambda x: x[0] >= 0, definition="x >= 0")


@pytest.fixture
def evidence(tmp_path):
    """Two blocks of 500 particles, a quarter of them on the left."""
    rng = np.random.default_rng(0)
    x, log_w = rng.uniform(-1, 3, size=(1000, 1)), 0.2 * rng.normal(size=1000)
    (tmp_path / "annealed").mkdir()
    for i in range(2):
        rows = slice(500 * i, 500 * (i + 1))
        np.savez(tmp_path / f"annealed/forward-{i:05d}.npz", x=x[rows], origin="a")
    weights = {"log_w": log_w, "block": np.repeat([0, 1], 500), "log_w_back": np.zeros((0, 0))}
    run = SimpleNamespace(path=tmp_path, holds=lambda name: True, load_arrays=lambda name: weights)
    plan = SimpleNamespace(annealing=SimpleNamespace(n_blocks=2))
    found = SimpleNamespace(run=run, plan=plan, seed_for=lambda name: 0)
    w = np.exp(log_w)
    found.expected = -np.log(w[x[:, 0] >= 0].sum() / w[x[:, 0] < 0].sum())
    return found


def plain(value, stderr):
    return Difference(
        a=LEFT,
        b=RIGHT,
        tau=1.0,
        value=value,
        stderr=stderr,
        interval95=None,
        reason="" if value is not None else "3 effective samples",
        method="m",
        reference=Reference(None, None),
    )


def test_particles_give_what_samples_do_not(evidence):
    (found,) = by_annealing(evidence, [plain(None, None)])
    assert found.estimator == "annealed"
    assert found.value == pytest.approx(evidence.expected)
    assert 0.03 < found.stderr < 0.15
    assert found.reason == ""
    assert "annealed from the flow" in found.definition


def test_the_smaller_error_stays(evidence):
    precise = plain(-1.0, 1e-4)
    assert by_annealing(evidence, [precise]) == [precise]


def test_reasons_of_both_are_told(evidence):
    never = State(name="never", contains=lambda x: x[0] > 10, definition="x > 10")
    entry = plain(None, None)
    (found,) = by_annealing(evidence, [Difference(**{**vars(entry), "b": never})])
    assert found.value is None
    assert found.reason == "3 effective samples; annealed: no weight in the second state"
