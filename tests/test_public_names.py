"""The names of `jbg` are those that its stub lists, they exist, and type checkers see them."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import jbg

ROOT = Path(__file__).resolve().parents[1]
NAMES = [
    pytest.param(name, marks=pytest.mark.openmm if module in jbg._OF_MOLECULES else ())
    for module, names in jbg._EXPORTS.items()
    for name in names
]


def test_the_stub_exports_the_same_names_from_the_same_modules():
    listed = {}
    for node in ast.parse((ROOT / "jbg/__init__.pyi").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert alias.asname == alias.name, f"{alias.name} is not exported: `import x as x`"
                listed.setdefault(node.module, set()).add(alias.name)
    assert listed == {module: set(names) for module, names in jbg._EXPORTS.items()}


@pytest.mark.parametrize("name", NAMES)
def test_each_name_exists(name):
    assert getattr(jbg, name) is not None


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "jbg/py.typed").is_file()


def check_types(folder, text):
    """The messages of basedpyright about a file with this text, in a folder without other settings."""
    settings = {"typeCheckingMode": "basic", "extraPaths": [str(ROOT)], "include": ["uses.py"]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "uses.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 1
    return [f"{d.get('rule')}: {d['message']}" for d in found["generalDiagnostics"]]


@pytest.mark.study
def test_a_type_checker_sees_every_name(tmp_path):
    uses = ["import jbg", f"from jbg import {', '.join(jbg.__all__)}"]
    uses += [f"print(jbg.{name}, {name})" for name in jbg.__all__]
    assert check_types(tmp_path, "\n".join(uses) + "\n") == []
    # what has no known type could be assigned to anything
    uses += [f"wrong_{i}: int = {name}" for i, name in enumerate(jbg.__all__)]
    found = check_types(tmp_path, "\n".join(uses) + "\n")
    assert len(found) == len(jbg.__all__), found
    assert all(message.startswith("reportAssignmentType") for message in found), found
