"""Whether two run folders hold the same run, to the last bit."""

from typing import Any

import jax
import numpy as np

from jbg.runs import Run
from jbg.sampling.generate import FILES, Ensemble
from jbg.studies import engine


def params_of(run: Run) -> Any:
    return engine.load_params(run, engine.load_problem(run))


def assert_same_run(found: Run, expected: Run) -> None:
    """Parameters, metrics, samples and results; only times may differ."""
    for a, b in zip(*(jax.tree.leaves(params_of(run)) for run in (found, expected)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert found.metrics() == expected.metrics()
    for name in FILES:
        paths = [run.path / Ensemble().folder / f"{name}.npy" for run in (found, expected)]
        np.testing.assert_array_equal(*map(np.load, paths))
    results = [run.read_json("results.json") for run in (found, expected)]
    for result in results:
        del result["wall_seconds"], result["worth"]
    assert results[0] == results[1]


def assert_same_arrays(found: Run, expected: Run, name: str) -> None:
    """The arrays of a file."""
    a, b = found.load_arrays(name), expected.load_arrays(name)
    assert a.keys() == b.keys()
    for array in a:
        np.testing.assert_array_equal(a[array], b[array], err_msg=array)
