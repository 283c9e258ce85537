"""Rows and figures of what a user asked, and the alarms about it."""

import numpy as np

from jbg import plotting
from jbg.analysis.question_alarms import question_alarms
from jbg.report.questions import population_rows, temperature_rows

NUMBER = {"value": -2.123, "stderr": 0.31, "interval95": [-2.7, -1.5]}
MISSING = {"value": None, "stderr": None, "interval95": None, "reason": "few samples"}
SERIES = {
    "temperature": 280.0,
    "n_effective": 40.2,
    "free_energy": NUMBER,
    "energy": NUMBER,
    "entropy_term": MISSING,
    "heat_capacity": NUMBER,
    "differences": [
        {
            "states": ["a", "b"],
            "n_effective": [30.0, 10.0],
            "free_energy": MISSING,
            "energy": NUMBER,
            "entropy_term": NUMBER,
        }
    ],
}
RESULTS = {
    "ess_fraction": 0.5,
    "n_samples": 1000,
    "states": {
        "a": {
            "definition": "rg < 1",
            "population": {"value": 0.25, "stderr": 0.0123, "interval95": [0.22, 0.28]},
        },
        "b": {"definition": "rg > 1", "population": MISSING},
    },
    "overlaps": [{"states": ["a", "b"], "share": 0.05}],
    "temperature_series": [SERIES],
}


def test_rows_of_states():
    first, second = population_rows(RESULTS)
    assert first[0] == "a"
    assert first[1].startswith("25.0 \N{PLUS-MINUS SIGN} 1.2")
    assert first[2:] == ("22.0 to 28.0 %", "rg < 1")
    assert second == ("b", "not given", "few samples", "rg > 1")


def test_rows_of_temperatures():
    whole, pair = temperature_rows(RESULTS)
    assert whole[:3] == ("280", "all", "40")
    assert whole[5] == "not given: few samples"
    assert pair[2:4] == ("30, 10", "not given: few samples")
    assert len(whole) == len(pair) == 7


def test_alarms():
    lines = question_alarms(RESULTS)
    assert lines[0] == "states a and b overlap: 5.00% of the weight counts in both"
    assert "at 280 K the samples are worth 40 effective ones, of 500" in lines[1]
    assert lines[2] == "no F(b) - F(a) at 280 K by reweighting: few samples"
    assert question_alarms({"ess_fraction": 1.0, "n_samples": 10}) == []


def test_a_map(tmp_path):
    edges = np.linspace(0.1, 0.8, 11)
    axes = (
        plotting.MapAxis(np.linspace(-np.pi, np.pi, 21), "torsion phi2", "rad"),
        plotting.MapAxis(edges, "distance 1 2", "nm"),
    )
    assert axes[0].title == "torsion phi2 / degrees"
    assert axes[0].shown[-1] == 180.0
    shares = np.random.default_rng(0).random((20, 10))
    shares[:5] = 0.0
    path = tmp_path / "map.png"
    plotting.free_energy_map({"generated": shares / shares.sum()}, path, axes=axes)
    assert path.stat().st_size > 5000
