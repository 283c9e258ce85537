"""Each default of a study's options stands in one place: its dataclass. Flags, help and plans repeat it."""

import dataclasses
import re

import pytest

from jbg.cli import main as cli
from jbg.cli.options import RunOptions, composed, separated
from jbg.cli.questions import questions_beside
from jbg.studies import engine, registry
from jbg.studies.registry import MOLECULES

PEPTIDE = {"sequence": "ACE-ALA-NME"}
OPTIONS = {"molecule": PEPTIDE, "protein": PEPTIDE}  # the others need none
NAMES = [
    pytest.param(name, marks=pytest.mark.openmm)
    if name in ("alanine-dipeptide", "molecule", "protein")
    else name
    for name in registry.names()
]


def text_of(default) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


@pytest.mark.parametrize("name", NAMES)
def test_flags_and_their_defaults_are_those_of_the_dataclass(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert cli.main(["run", name, "--help"]) == 0
    page = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    shown = {}
    for text in re.split(r"\n\W{1,3}--(?=\w)", page)[1:]:
        flag, *words = text.replace("│", " ").split()
        found = re.search(r"\(default: (.*)\)|\(repeatable\)", " ".join(words))
        shown[flag] = (found[1] or "").strip()
    kinds = (registry.study(name).options, RunOptions, *questions_beside(name))
    fields = [field for kind in kinds for field in dataclasses.fields(kind)]
    expected = {field.name.replace("_", "-"): text_of(field.default) for field in fields}
    asked = {"state", "cv", "temperatures"}
    assert asked & set(shown) == (asked if registry.STUDIES[name].needs == MOLECULES else set())
    assert shown == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_without_options_has_the_defaults_of_the_dataclass(name):
    kind, given = registry.study(name).options, OPTIONS.get(name, {})
    defaults = kind(**given)
    assert engine.make_plan(name, **given).options == defaults
    flags = composed(kind, RunOptions, *questions_beside(name))(**given)
    assert separated(flags) == {f.name: getattr(defaults, f.name) for f in dataclasses.fields(kind)}
    assert (flags.preset, flags.seed) == ("quick", 0)


def test_options_are_checked_when_they_are_flags_too(capsys):
    assert cli.main(["run", "double-well", "--taus", "2", "3", "--dry-run"]) == 2
    assert "taus: 1, the system's own temperature, must be among them" in capsys.readouterr().err
