"""The notebooks run from the first cell to the last in their fast setting, and are stored without outputs."""

import ast
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

pytestmark = pytest.mark.study

NOTEBOOKS = Path(__file__).resolve().parents[2] / "experiments" / "notebooks"


def code_of(path: Path) -> list[str]:
    """The code cells, plain Python."""
    cells = json.loads(path.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture
def execute(monkeypatch):
    """Runs a notebook and returns its names; its figures are closed afterwards."""

    def go(name: str) -> dict:
        monkeypatch.setenv("JBG_FAST", "1")
        path, names = NOTEBOOKS / name, {"__name__": "__main__"}
        for i, source in enumerate(code_of(path)):
            exec(compile(source, f"{path.name}, code cell {i}", "exec"), names)
        return names

    yield go
    plt.close("all")


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_stored_without_outputs(path):
    book = json.loads(path.read_text())
    assert book["nbformat"] == 4
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    assert book["cells"][0]["cell_type"] == "markdown"
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert code
    for cell in code:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


def labelled(axes) -> bool:
    """Whether every axis has a name, a shared one at least once in its row or column."""
    return all(
        any(ax.get_xlabel() for ax in axes) and any(a.get_ylabel() for a in axes) for ax in axes
    )


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_imports_and_names_of_the_library_exist(path):
    tree = ast.parse("\n".join(code_of(path)))
    imports = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), path.name, "exec"), names := {})
    used = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
    ours = {n.attr for n in used if isinstance(n.value, ast.Name) and n.value.id == "jbg"}
    assert ours
    assert [name for name in ours if not hasattr(names["jbg"], name)] == []


@pytest.mark.slow
def test_the_double_well_finds_the_exact_free_energy(execute, capsys):
    names = execute("double_well.ipynb")
    assert names["exact"] == pytest.approx(3.380, abs=1e-3)
    found = names["difference"]
    assert abs(found.value - names["exact"]) < 4.5 * found.stderr
    assert found.stderr < 0.2
    off = (names["reweighted"].free_energy - names["reference"]) / names["reweighted"].stderr
    assert np.nanmean(np.abs(off[np.isfinite(names["firm"])])) < 2.5  # 0.8 for normal errors
    assert "F(right) - F(left)" in capsys.readouterr().out
    figures = [plt.figure(n) for n in plt.get_fignums()]
    assert len(figures) == 2
    assert all(labelled(figure.axes) for figure in figures)


@pytest.mark.slow
def test_the_exploration_spends_its_budget(execute, capsys):
    names = execute("exploration.ipynb")
    assert names["exact"] == pytest.approx(3.380, abs=1e-3)
    spent = [n for n, _ in names["looks"]]
    assert spent[0] < spent[1] < spent[2] <= names["settings"].budget
    assert len(names["shares"]) == names["settings"].n_iterations == len(names["spent"])
    np.testing.assert_allclose(names["shares"].sum(axis=1), 1.0, atol=1e-6)
    first, *_, last = (buffer for _, buffer in names["looks"])
    assert np.std(first, axis=0).max() < 0.1  # copies of one configuration, noise 0.05
    assert np.std(last, axis=0).max() > 0.3
    assert "exact 3.380 kT" in capsys.readouterr().out
    assert len(plt.get_fignums()) == 2
