"""The layout holds: who may import whom, what `import jbg` costs, how long a file may be."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("jbg/**/*.py"), *ROOT.glob("experiments/**/*.py")])


def test_layers_import_only_downwards():
    # in a process of its own: import-linter keeps whatever sys.stdout was at its import
    code = (
        "from importlinter.cli import lint_imports\n"
        f"raise SystemExit(lint_imports(config_filename={str(ROOT / 'pyproject.toml')!r}, no_cache=True))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_jbg_is_light():
    code = (
        "import sys, jbg\n"
        "heavy = {'openmm', 'matplotlib', 'pymbar', 'mdtraj'} & set(sys.modules)\n"
        "assert not heavy, f'import jbg loads {heavy}'\n"
        "if 'jax' in sys.modules:\n"
        "    from jax._src import xla_bridge\n"
        "    assert not xla_bridge.backends_are_initialized(), 'import jbg starts a JAX backend'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_short(path):
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= 300, f"{path} has {n_lines} lines: split it by what its parts are about"
