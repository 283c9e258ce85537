"""The HTML of a report: one page without outside resources, figures as base64."""

import base64
import dataclasses
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from jbg.analysis.estimate_alarms import at_tau
from jbg.report import glossary
from jbg.report.free_energies import definition, difference_label, estimate, interval, molar
from jbg.report.numerals import number, reference
from jbg.runs import storage

STYLE = """
:root { --ink: #1f2328; --soft: #656d76; --line: #e3e6ea; --accent: #0072B2; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 32px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 44px 0 12px; padding-bottom: 6px;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 15px; margin: 0 0 8px; }
p { margin: 0 0 10px; }
.soft, figcaption { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(215px, 1fr)); gap: 14px;
  margin-top: 24px; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px; }
.card b { display: block; font-size: 18px; font-weight: 600; line-height: 1.4;
  font-variant-numeric: tabular-nums; }
.card i { font-style: normal; font-size: 15px; font-weight: 400; color: var(--soft); }
.card span { display: block; color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
.warning { background: #fff6e5; border-left: 4px solid #E69F00; border-radius: 4px;
  padding: 10px 16px; margin-top: 14px; }
.note { background: #f3f7fb; border-left: 4px solid var(--accent); border-radius: 4px;
  padding: 10px 16px; margin-top: 14px; }
.warning p, .note p { margin: 0; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; color: var(--soft); font-size: 13px; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.figures { display: grid; grid-template-columns: 1fr 1fr; gap: 34px 28px;
  grid-auto-flow: dense; }
figure { margin: 0; min-width: 0; }
figure.wide { grid-column: 1 / -1; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { font-size: 13px; margin-top: 6px; }
pre { background: #f6f8fa; border-radius: 6px; padding: 12px 16px; overflow-x: auto;
  margin: 0 0 12px; font: 13px/1.5 ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; }
summary { cursor: pointer; color: var(--accent); margin-bottom: 8px; }
"""
WIDE = 1.6  # figures wider than this times their height span both columns


class Row(NamedTuple):
    """One number of the page, with a note and its definition."""

    label: str
    figure: str
    note: str
    definition: str


def write(path: Path, page: str) -> None:
    """Writes the page, atomically."""

    def write_page(file: BinaryIO) -> None:
        file.write(page.encode())

    storage.write_atomic(path, write_page)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """What a report shows, from top to bottom.

    Attributes:
        title, subtitle: of the page.
        warnings: above everything else, one paragraph each.
        restriction: of the ensemble that the numbers are of, if any.
        molecule: what and which, in pairs.
        headline: the numbers.
        free_energies: entries of the results.
        states: name, population, interval and definition of each state of the user.
        temperatures: rows at other temperatures, beginning with their heads and ending with a note.
        correction: the numbers of what corrected the samples.
        protein: the numbers of a protein's ensemble.
        costs: stage, energy evaluations, wall time, CPU time, and compiling.
        worth: sentences about what the errors would have cost by simulation.
        figures: each with ``path``, ``title`` and ``caption``.
        rerun: commands.
        config, manifest: of the run.
    """

    title: str
    subtitle: str
    warnings: Sequence[str]
    restriction: str | None
    molecule: Sequence[tuple[str, str]] = ()
    headline: Sequence[Row]
    free_energies: Sequence[Mapping[str, Any]]
    states: Sequence[tuple[str, ...]] = ()
    temperatures: tuple[Sequence[str], Sequence[tuple[str, ...]], str] = ((), (), "")
    correction: Sequence[Row] = ()
    protein: Sequence[Row] = ()
    costs: Sequence[tuple[str, ...]]
    worth: Sequence[str] = ()
    figures: Sequence[Any]
    rerun: Sequence[str]
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]


def render(page: Page) -> str:
    """The HTML of it all; all text is escaped."""
    notes = "".join(f'<div class="warning"><p>{_text(w)}</p></div>' for w in page.warnings)
    if page.restriction:
        notes += f'<div class="note"><p><b>Ensemble.</b> {_text(page.restriction)}</p></div>'
    heads = ("Stage", "Energy evaluations", "Wall time", "CPU time", "Compiling")
    what = _table(("What", "Which"), page.molecule, set())
    body = [
        f"<h1>{_text(page.title)}</h1>",
        f'<p class="soft">Boltzmann generator, {_text(page.subtitle)}</p>',
        notes,
        _cards(page.free_energies, page.headline),
        _section("Molecule", what) if page.molecule else "",
        _free_energy_section(
            page.free_energies, glossary.notes(page.free_energies, molecule=bool(page.molecule))
        ),
        _table_section(
            "States", ("State", "Population", "95 % interval", "Definition"), page.states
        ),
        _table_section("Temperatures", *page.temperatures),
        _section("Correction", _numbers(page.correction)) if page.correction else "",
        _section("Ensemble", _numbers(page.protein)) if page.protein else "",
        _figure_section(page.figures),
        _section("Numbers and what they mean", _numbers(page.headline)) if page.headline else "",
        _section("Cost", _table(heads, page.costs, {1, 2, 3, 4}) + _paragraphs(page.worth)),
        _section("How to run it again", f"<pre>{_text(chr(10).join(page.rerun))}</pre>"),
        _section("Settings", _settings(page.config)),
        _section("Made with", _made_with(page.manifest)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>jbg: {_text(page.title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _cards(free_energies: Sequence[Mapping[str, Any]], headline: Sequence[Row]) -> str:
    """The first differences, those at the system's own temperature before others, and numbers, large."""
    free_energies = sorted(free_energies, key=lambda entry: entry.get("tau", 1.0) != 1.0)
    rows = [
        (
            difference_label(entry) + at_tau(entry.get("tau", 1.0)),
            estimate(entry),
            " kT",
            reference(entry),
        )
        for entry in free_energies[:2]
        if entry.get("value") is not None
    ]
    given = [row for row in headline if row.figure != "not given"]
    rows += [(row.label, row.figure, "", row.note) for row in given[: 4 - len(rows)]]
    cards = "".join(
        f'<div class="card"><span>{_text(label)}</span><b>{_text(figure)}<i>{unit}</i></b>'
        f"<span>{_text(note)}</span></div>"
        for label, figure, unit, note in rows
    )
    return f'<div class="cards">{cards}</div>'


def _free_energy_section(entries: Sequence[Mapping[str, Any]], notes: str) -> str:
    if not entries:
        return ""
    molecule = any("kJ/mol" in entry for entry in entries)
    units = ("kJ/mol", "kcal/mol") if molecule else ()
    heads = ("Difference", "tau", "Estimate / kT", *(f"/ {unit}" for unit in units))
    heads += ("95 % interval", "Reference / kT", "States")
    rows = []
    for entry in entries:
        if entry.get("value") is None:
            value, range_ = "not given", entry.get("reason") or ""
        else:
            value, range_ = estimate(entry), interval(entry)
        rows.append(
            (
                difference_label(entry),
                number(entry.get("tau", 1.0)),
                value,
                *(molar(entry, unit) for unit in units),
                range_,
                reference(entry).removeprefix("reference "),
                definition(entry),
            )
        )
    table = _table(heads, rows, {1, *range(2, 3 + len(units)), 4 + len(units)})
    return _section("Free-energy differences", f'{table}<p class="soft">{_text(notes)}</p>')


def _table_section(
    title: str, heads: Sequence[str], rows: Sequence[tuple[str, ...]], note: str = ""
) -> str:
    """A table with a note below it; nothing without rows."""
    if not rows:
        return ""
    return _section(title, _table(heads, rows, set()) + (_paragraphs([note]) if note else ""))


def _figure_section(figures: Sequence[Any]) -> str:
    if not figures:
        return ""
    parts = []
    for figure in figures:
        data = figure.path.read_bytes()
        width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))  # PNG header
        kind = ' class="wide"' if width > WIDE * height or figure.title == "Training" else ""
        source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        parts.append(
            f"<figure{kind}><h3>{_text(figure.title)}</h3>"
            f'<img src="{source}" width="{width * 2 // 3}" alt="{_text(figure.title)}">'
            f"<figcaption>{_text(figure.caption)}</figcaption></figure>"
        )
    return _section("Figures", f'<div class="figures">{"".join(parts)}</div>')


def _numbers(rows: Sequence[Row]) -> str:
    cells = [(r.label, r.figure, "; ".join(filter(None, (r.note, r.definition)))) for r in rows]
    return _table(("Number", "Value", "Meaning"), cells, {1})


def _paragraphs(sentences: Sequence[str]) -> str:
    return "".join(f'<p class="soft">{_text(sentence)}</p>' for sentence in sentences)


def _settings(config: Mapping[str, Any]) -> str:
    flat = {k: v for k, v in config.items() if k != "options"} | config.get("options", {})
    if flat.get("data") == "simulated":  # a recipe is how to learn without data
        flat.pop("recipe", None)
    plain = [(k, str(v)) for k, v in flat.items() if not isinstance(v, dict | list)]
    text = _text(json.dumps(config, indent=2))
    table = _table(("Setting", "Value"), plain, set())
    whole = f"<details><summary>The whole config.json</summary><pre>{text}</pre></details>"
    return f"{table}<p></p>{whole}"


def _made_with(manifest: Mapping[str, Any]) -> str:
    source = manifest.get("source") or {}
    dirty = " with local changes" if source.get("dirty") else ""
    device = manifest.get("device") or {}
    rows = [
        ("begun", manifest.get("created")),
        ("last written", manifest.get("updated")),
        ("device", f"{device.get('device_count')} x {device.get('device_kind')}"),
        ("CPUs", device.get("cpu_count")),
        ("jbg commit", f"{source['commit']}{dirty}" if source else "not a checkout"),
        *((name, version) for name, version in (manifest.get("versions") or {}).items()),
    ]
    return _table(("What", "Which"), [(k, "" if v is None else str(v)) for k, v in rows], set())


def _section(title: str, inner: str) -> str:
    return f"<h2>{_text(title)}</h2>{inner}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], numeric: set[int]) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        marks = (' class="n"' if i in numeric else "" for i in range(len(cells)))
        inner = (f"<{tag}{m}>{_text(c)}</{tag}>" for m, c in zip(marks, cells, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    return f"<table>{line('th', heads)}{''.join(line('td', row) for row in rows)}</table>"


def _text(value: Any) -> str:
    return html.escape(str(value))
