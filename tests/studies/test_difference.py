"""A free-energy difference says what it is, how it was made and what it is compared with."""

import dataclasses

import pytest

from jbg.analysis import FreeEnergyDifference
from jbg.interfaces import State
from jbg.studies.difference import Difference, relation
from jbg.studies.problem import state_pairs
from jbg.studies.study import Reference

A, B, C, D = (
    State(name=name, contains=lambda x: x[0] < 0, definition=f"where {name} is") for name in "abcd"
)
PLAIN = Difference(
    a=A,
    b=B,
    tau=2.0,
    value=1.5,
    stderr=0.1,
    interval95=(1.3, 1.7),
    reason="",
    relation=relation(A, B),
    method="error: guessed",
    reference=Reference(1.4, 0.0),
)


def test_an_entry_holds_numbers_and_says_what_they_are():
    assert PLAIN.as_results() == {
        "states": ["a", "b"],
        "tau": 2.0,
        "value": 1.5,
        "stderr": 0.1,
        "interval95": (1.3, 1.7),
        "definition": "F(b) - F(a) = -ln(P_b/P_a); a: where a is; b: where b is; error: guessed",
        "reference": 1.4,
        "reference_stderr": 0.0,
    }


def test_a_better_estimate_is_of_the_same_difference():
    found = FreeEnergyDifference(None, None, None, "too few")
    better = PLAIN.by("bar", found, "BAR").noting(samples=3).noting(chains=4)
    entry = better.as_results()
    assert (entry["value"], entry["stderr"], entry["interval95"]) == (None, None, None)
    assert (entry["reason"], entry["estimator"], entry["reference"]) == ("too few", "bar", 1.4)
    assert (entry["states"], entry["tau"]) == (["a", "b"], 2.0)
    assert entry["definition"].startswith("F(b) - F(a); a:")
    assert entry["definition"].endswith("; BAR")
    assert (entry["samples"], entry["chains"]) == (3, 4)
    assert "samples" not in PLAIN.as_results()


@pytest.mark.parametrize("expected", [True, False])
def test_a_reference_that_is_not_there_has_its_reason(expected):
    known = Reference(None, None, "none was simulated", expected)
    entry = dataclasses.replace(PLAIN, reference=known).as_results()
    assert (entry["reference"], entry["reference_stderr"]) == (None, None)
    assert entry["reference_reason"] == "none was simulated"
    assert entry.get("reference_expected", True) is expected


def test_states_are_compared_two_by_two():
    assert state_pairs((A, B, C, D)) == [(A, B), (C, D)]
    assert state_pairs(()) == []
    with pytest.raises(ValueError, match="shorter"):
        state_pairs((A, B, C))
