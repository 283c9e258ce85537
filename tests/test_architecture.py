"""The layout holds: who may import whom, what `import jbg` costs, the length of a file, documented parameters."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("jbg/**/*.py"), *ROOT.glob("experiments/**/*.py")])
MANY = 4  # parameters from which on a docstring needs ``Args:``


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


def public_functions(body, owner=None):
    """(class or None, function) of a module, but for functions inside functions."""
    for node in body:
        if getattr(node, "name", "_").startswith("_"):
            continue
        if isinstance(node, ast.ClassDef):
            yield from public_functions(node.body, node)
        else:
            yield owner, node


def parameters(function):
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def undocumented(function):
    """The parameters that are not named under ``Args:``, as in "name: ..." or "name, other: ..."."""
    section = re.search(r"^Args:\n((?: +.*\n?|\n)*)", ast.get_docstring(function) or "", re.M)
    text = section[1] if section else ""
    return [n for n in parameters(function) if not re.search(rf"\b{n}(?:, \w+)*:", text)]


def without_args(sources):
    """The offenders of modules {file: text}, each as "file:line name: parameters".

    A method that overrides a documented one of its base class, or implements that of a protocol, is exempt.
    """
    found = [
        (path, *each)
        for path in sources
        for each in public_functions(ast.parse(sources[path]).body)
    ]
    documented = {}
    for _, owner, function in found:
        if owner and not undocumented(function):
            documented.setdefault((function.name, *parameters(function)), []).append(owner)

    def inherited(owner, function):
        above = documented.get((function.name, *parameters(function)), ())
        bases = {ast.unparse(base).split(".")[-1] for base in owner.bases}
        protocols = [c for c in above if "Protocol" in map(ast.unparse, c.bases)]
        return bool(protocols) or any(c.name in bases for c in above)

    return [
        f"{path}:{function.lineno} {function.name}: {', '.join(missing)}"
        for path, owner, function in found
        if len(parameters(function)) >= MANY and (missing := undocumented(function))
        if not (owner and inherited(owner, function))
    ]


def test_functions_of_many_parameters_document_them():
    files = ROOT.glob("jbg/**/*.py")
    sources = {str(p.relative_to(ROOT)): p.read_text(encoding="utf-8") for p in sorted(files)}
    offenders = without_args(sources)
    assert not offenders, "document under Args:\n" + "\n".join(offenders)


EXAMPLE = """
def public(a, b, *, c, d=None):
    def inside(a, b, c, d): ...

def documented(a, b, c, d):
    '''Something.

    Args:
        a, b: numbers.
        c: another. d: the last.
    '''

def partly(a, b, c, d):
    '''Something about d: it is not where it belongs.

    Args:
        a, b, c: numbers.

    Returns:
        d: a number.
    '''

def few(a, b, c): ...
def _private(a, b, c, d): ...

class _Private:
    def method(self, a, b, c, d): ...

class Plan(Protocol):
    def make(self, a, b, c, d):
        '''Something.

        Args:
            a, b, c, d: numbers.
        '''

class Alike:
    def make(self, a, b, c, d): ...

class Base:
    def run(self, a, b, c, d):
        '''Something.

        Args:
            a, b, c, d: numbers.
        '''

class Derived(module.Base):
    def run(self, a, b, c, d): ...

class Stranger:
    def run(self, a, b, c, d): ...
    def make(self, a, b, c, other): ...
"""


def test_what_counts_as_documented():
    found = without_args({"x.py": EXAMPLE})
    assert [each.split(" ", 1)[1] for each in found] == [
        "public: a, b, c, d",
        "partly: d",
        "run: a, b, c, d",
        "make: a, b, c, other",
    ]
