"""A plain installation runs the systems in the plane, and says how to get what molecules need."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import jbg
from jbg.cli import doctor
from jbg.cli.main import main
from jbg.interfaces import ConfigError
from jbg.runs import extras
from jbg.studies import registry

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = """
import sys
from importlib.machinery import PathFinder

OPTIONAL = {"openmm", "pdbfixer", "PeptideBuilder", "mdtraj", "pymbar"}

class Absent(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in OPTIONAL else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Absent
"""


@pytest.fixture
def absent(monkeypatch):
    """Nothing optional is installed."""
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)


def test_extras_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = lambda entries: {re.split(r"[><=!\[]", entry)[0] for entry in entries}
    for extra, packages in extras.EXTRAS.items():
        assert names(project["optional-dependencies"][extra]) == set(packages)
        assert not set(packages) & names(project["dependencies"])


@pytest.mark.parametrize("study", ["molecule", "alanine-dipeptide", "lj-dimer"])
def test_a_study_names_the_extra_that_it_needs(study, absent):
    with pytest.raises(ConfigError, match=rf"{study} needs .*pip install 'jbg\[molecules\]'"):
        registry.study(study)


def test_systems_in_the_plane_need_no_extra(absent):
    assert registry.study("double-well").name == "double-well"


@pytest.mark.parametrize(
    "command", [["md"], ["energy"], ["export", "nowhere", "--out", "x.dcd"], ["run", "molecule"]]
)
def test_commands_name_the_extra_in_one_line(command, absent, capsys):
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "openmm" in error
    assert "pip install 'jbg[molecules]'" in error


def test_the_doctor_is_content_without_what_is_optional(absent):
    (check,) = doctor.check_platforms()
    assert not check.needed
    assert "pip install 'jbg[molecules]'" in check.found


def test_a_plain_installation_plans_and_reports():
    """Nothing that a system in the plane needs imports an optional package."""
    code = WITHOUT + (
        "import jbg, jbg.report\n"
        "from jbg.studies import engine\n"
        "plan = jbg.make_plan('double-well')\n"
        "molecules = []\n"
        "for name in jbg.__all__:\n"
        "    try:\n"
        "        getattr(jbg, name)\n"
        "    except jbg.ConfigError as error:\n"
        "        assert f'jbg.{name} needs openmm' in str(error), error\n"
        "        molecules.append(name)\n"
        "print(engine.cost(plan)['training_steps'], *molecules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    names = ["energies", "molecular_problem", "molecule", "simulate", "trajectory_data"]
    assert done.stdout.split() == ["2100", *names]


def test_the_version_stands_once():
    assert "version" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", jbg.__version__)
    assert importlib.metadata.version("jbg") == jbg.__version__
    assert f"version: {jbg.__version__}" in (ROOT / "CITATION.cff").read_text()
