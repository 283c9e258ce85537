"""The code in docs and CONTRIBUTING runs: every block of a document, top to bottom, in one namespace."""

import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbg
from jbg.cli import main as cli
from jbg.flows import MLP, SplineFlowConfig
from jbg.losses import LossContext
from jbg.report import sections
from jbg.studies import engine, registry
from jbg.testing import check_bijector, check_loss
from tests.molecules import peptide

pytestmark = pytest.mark.study

ROOT = Path(__file__).parents[1]
NOT_RUN = "<!-- not run"
DOCS = (
    *("gallery", "molecules", "numbers", "python", "quick-start", "running", "settings"),
    "states",
)


def blocks(path: Path) -> list[tuple[str, bool]]:
    """(code, whether it is marked as not run) of each Python block."""
    parts = re.split(r"```python\n(.*?)```", path.read_text(), flags=re.S)
    before = parts[0:-1:2]
    return [
        (code, NOT_RUN in text.rstrip().rpartition("\n")[2])
        for text, code in zip(before, parts[1::2], strict=True)
    ]


@pytest.mark.parametrize("name", DOCS)
def test_the_snippets_of_a_document_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "snippet"}
    for code, not_run in blocks(ROOT / "docs" / f"{name}.md"):
        if not not_run:
            with jax.numpy_rank_promotion("allow"):  # as users have it
                exec(compile(code, f"{name}.md", "exec"), namespace)


def test_a_pdb_file_to_free_energies_in_twelve_lines(tmp_path, monkeypatch, capsys):
    """The block of the quick start, with fewer frames, steps and samples."""
    (code,) = (
        code for code, _ in blocks(ROOT / "docs" / "quick-start.md") if "jbg.molecule(" in code
    )
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 12
    small = {
        "temperature=300)  # or": "temperature=300, n_ladders=4, n_rounds=60, n_burn_in=40)  # or",
        "steps=600": "steps=20",
        "steps=1000": "steps=20",
        "100_000": "2000",
    }
    for old, new in small.items():
        assert old in code
        code = code.replace(old, new)
    monkeypatch.chdir(tmp_path)
    Path("mine.pdb").write_text(peptide("ACE-ALA-NME").pdb)
    exec(compile(code, "quick-start.md", "exec"), {})
    assert "FreeEnergyDifference(value=" in capsys.readouterr().out


@pytest.fixture(scope="module")
def skeletons():
    """The skeletons of CONTRIBUTING, by the heading that they stand under."""
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## Skeletons")[1]
    found = {}
    for part in text.split("\n### ")[1:]:
        title = part.splitlines()[0]
        found[title] = re.findall(r"```python\n(.*?)```", part, re.S)
    return found


def executed(code: str, name: str = "skeleton") -> dict:
    namespace = {"__name__": name}
    exec(compile(code, f"{name}.py", "exec"), namespace)
    return namespace


def test_a_new_study_is_its_module_and_a_line_in_the_registry(
    skeletons, tmp_path, monkeypatch, capsys
):
    (code,) = skeletons["A study"]
    (observe, draw) = skeletons["An observable and its section of the report"]
    code += "\n\n" + observe.split('"""', 2)[2].replace("def radius(", "def radius_of(")
    code = code.replace("observables=(", "observables=(lambda evidence: radius_of(evidence), ")
    module = tmp_path / "ring.py"
    module.write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    entry = registry.Entry("a ring in the plane", "plane.ring")
    monkeypatch.setitem(registry.STUDIES, "ring", entry)
    import importlib

    ring = importlib.import_module("ring")
    monkeypatch.setitem(sys.modules, "jbg.studies.plane.ring", ring)
    section = executed(draw)["radius_section"]
    monkeypatch.setattr("jbg.report.report.SECTIONS", (*sections.SECTIONS, section))
    assert cli.main(["run", "ring", "--dry-run"]) == 0
    assert cli.main(["run", "ring", "--radius", "-1"]) == 2
    assert "radius must be positive, got -1.0" in capsys.readouterr().err
    plan = engine.make_plan("ring", radius=1.2)
    from jbg.studies.plane.plan import shorten

    run = engine.open_run(tmp_path / "run", shorten(plan))
    engine.run_all(run, quiet=True)
    results = run.read_json("results.json")
    assert 1.0 < results["mean_radius"]["value"] < 1.5
    assert results["free_energy_differences"][0]["states"] == ["left", "right"]
    assert (run.path / "figures" / "radius.png").exists()
    assert "Distance from the origin" in (run.path / "report.html").read_text()


def test_the_loss_of_contributing_conforms(skeletons, key):
    (code,) = skeletons["A loss term"]
    term = executed(code)["MatchMean"](0.5)
    flow = jbg.Generator(base=jbg.normal(2), bijector=jbg.realnvp(2, n_blocks=1, hidden=(4,)))
    params = jax.tree.map(lambda p: p + 0.1, flow.init(key))
    batch = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16)), jnp.float32)
    check_loss(term.build(LossContext(generator=flow, n_samples=16)), params, batch, key)
    found = jbg.fit(key, flow, data=batch.T + 1.0, losses=(jbg.NLL(), term), steps=10)
    assert jax.tree.structure(found) == jax.tree.structure(params)


def test_the_conditioner_of_contributing_conforms(skeletons, x64):
    (code,) = skeletons["A conditioner"]
    affine = executed(code)["Affine"]()
    flow = jbg.spline_flow(1, 2, SplineFlowConfig(n_blocks=1, n_bins=4, conditioner=affine))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda p: p + 0.05 * rng.normal(size=p.shape), flow.init(jax.random.key(0))
    )
    check_bijector(flow, params, jnp.asarray(rng.normal(size=(3, 8))), atol=1e-6)
    assert SplineFlowConfig().conditioner == MLP()
