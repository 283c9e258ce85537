"""What the command line makes of questions, and how it prints the answers."""

import pytest

from jbg.cli import questions
from jbg.cli.questions import EvaluateOptions
from jbg.units import in_molar_units, kt

VALUE = {"value": 3.875, "stderr": 0.031, "interval95": (3.81, 3.94)}


def test_free_energies_are_printed_in_three_units():
    entry = VALUE | {"estimator": "bar"} | in_molar_units(300.0, **VALUE)
    text = questions.free_energy_text(entry)
    assert text == "3.875 +- 0.031 kT (9.666 +- 0.077 kJ/mol, 2.310 +- 0.018 kcal/mol) by BAR"
    assert questions.free_energy_text(VALUE) == "3.875 +- 0.031 kT"


def test_units_are_those_of_the_temperature():
    found = in_molar_units(280.0, **VALUE, reference=None)
    assert found["kJ/mol"]["value"] == pytest.approx(3.875 * kt(280.0))
    assert found["kcal/mol"]["interval95"] == pytest.approx(
        [v * kt(280.0) / 4.184 for v in (3.81, 3.94)]
    )
    assert found["kJ/mol"]["reference"] is None


def test_options_become_questions(tmp_path):
    asked = questions.of(
        EvaluateOptions(dir=tmp_path, state=("a: rg < 1",), temperatures=(280.0, 300.0))
    )
    assert (asked.states, asked.variables) == (("a: rg < 1",), ())
    assert asked.temperatures == (280.0, 300.0)
    assert questions.of(EvaluateOptions(dir=tmp_path)) is None


def test_answers_are_printed_line_by_line(capsys):
    number = {"value": 2.123, "stderr": 0.31, "interval95": [1.5, 2.7]}
    missing = {"value": None, "stderr": None, "interval95": None, "reason": "few samples"}
    pair = {"states": ["a", "b"], "free_energy": number, "energy": missing, "entropy_term": number}
    questions.print_answers(
        {
            "states": {
                "a": {"population": {"value": 0.3, "stderr": 0.01, "interval95": [0.28, 0.32]}},
                "b": {"population": missing},
            },
            "temperature_series": [
                {
                    "temperature": 280.0,
                    "energy": number,
                    "heat_capacity": missing,
                    "differences": [pair],
                }
            ],
        }
    )
    assert capsys.readouterr().out.splitlines() == [
        "population of a = 30.00% +- 1.00% (28.00% to 32.00%)",
        "population of b = not given: few samples",
        "U at 280 K = 2.12 +- 0.31 kJ/mol",
        "C at 280 K = not given: few samples",
        "F(b) - F(a) at 280 K = 2.12 +- 0.31 kJ/mol",
        "U(b) - U(a) at 280 K = not given: few samples",
        "T S(b) - T S(a) at 280 K = 2.12 +- 0.31 kJ/mol",
    ]
