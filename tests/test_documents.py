"""README stays short, links lead somewhere, and the contract of results.json is documented key by key."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def anchors(path: Path) -> set[str]:
    """The anchors of the headings of a document, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_readme_is_short():
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 1200
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) <= 11  # one table, ten rows and its head


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{path.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{path.name}: {link}"


def test_every_package_has_a_row():
    text = (ROOT / "docs" / "python.md").read_text()
    for package in ROOT.glob("jbg/*/__init__.py"):
        assert f"[jbg.{package.parent.name}]" in text
