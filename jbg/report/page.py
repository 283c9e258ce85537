"""The HTML of a report: one page without outside resources, figures as base64."""

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from jbg.analysis.estimate_alarms import at_tau
from jbg.report import glossary
from jbg.report.free_energies import definition, difference_label, estimate, interval, molar
from jbg.report.markup import document, section, table, text
from jbg.report.numerals import number, reference
from jbg.runs import storage

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
        own_data: of trajectories of the user.
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
    own_data: Sequence[Row] = ()
    costs: Sequence[tuple[str, ...]]
    worth: Sequence[str] = ()
    figures: Sequence[Any]
    rerun: Sequence[str]
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]


def render(page: Page) -> str:
    """The HTML of it all; all text is escaped."""
    notes = "".join(f'<div class="warning"><p>{text(w)}</p></div>' for w in page.warnings)
    if page.restriction:
        notes += f'<div class="note"><p><b>Ensemble.</b> {text(page.restriction)}</p></div>'
    heads = ("Stage", "Energy evaluations", "Wall time", "CPU time", "Compiling")
    what = table(("What", "Which"), page.molecule, set())
    body = [
        f"<h1>{text(page.title)}</h1>",
        f'<p class="soft">Boltzmann generator, {text(page.subtitle)}</p>',
        notes,
        _cards(page.free_energies, page.headline),
        section("Molecule", what) if page.molecule else "",
        _free_energy_section(
            page.free_energies, glossary.notes(page.free_energies, molecule=bool(page.molecule))
        ),
        _table_section(
            "States", ("State", "Population", "95 % interval", "Definition"), page.states
        ),
        _table_section("Temperatures", *page.temperatures),
        section("Your trajectories", _numbers(page.own_data)) if page.own_data else "",
        section("Correction", _numbers(page.correction)) if page.correction else "",
        section("Ensemble", _numbers(page.protein)) if page.protein else "",
        _figure_section(page.figures),
        section("Numbers and what they mean", _numbers(page.headline)) if page.headline else "",
        section("Cost", table(heads, page.costs, {1, 2, 3, 4}) + _paragraphs(page.worth)),
        section("How to run it again", f"<pre>{text(chr(10).join(page.rerun))}</pre>"),
        section("Settings", _settings(page.config)),
        section("Made with", _made_with(page.manifest)),
    ]
    return document(page.title, body)


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
        f'<div class="card"><span>{text(label)}</span><b>{text(figure)}<i>{unit}</i></b>'
        f"<span>{text(note)}</span></div>"
        for label, figure, unit, note in rows
    )
    return f'<div class="cards">{cards}</div>'


def _free_energy_section(entries: Sequence[Mapping[str, Any]], notes: str) -> str:
    if not entries:
        return ""
    molecule = any("kJ/mol" in entry for entry in entries)
    units = ("kJ/mol", "kcal/mol") if molecule else ()
    heads = ("Difference", "tau", "Estimate / kT", *(f"/ {unit}" for unit in units))
    heads += ("95 % interval", "Reference / kT")
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
            )
        )
    cells = table(heads, rows, {1, *range(2, 3 + len(units)), 4 + len(units)})
    # beside so many columns of figures there is no room for sentences
    told = dict.fromkeys((difference_label(entry), definition(entry)) for entry in entries)
    what = table(("Difference", "States and method"), list(told), set())
    return section("Free-energy differences", f'{cells}<p class="soft">{text(notes)}</p>{what}')


def _table_section(
    title: str, heads: Sequence[str], rows: Sequence[tuple[str, ...]], note: str = ""
) -> str:
    """A table with a note below it; nothing without rows."""
    if not rows:
        return ""
    return section(title, table(heads, rows, set()) + (_paragraphs([note]) if note else ""))


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
            f"<figure{kind}><h3>{text(figure.title)}</h3>"
            f'<img src="{source}" width="{width * 2 // 3}" alt="{text(figure.title)}">'
            f"<figcaption>{text(figure.caption)}</figcaption></figure>"
        )
    return section("Figures", f'<div class="figures">{"".join(parts)}</div>')


def _numbers(rows: Sequence[Row]) -> str:
    cells = [(r.label, r.figure, "; ".join(filter(None, (r.note, r.definition)))) for r in rows]
    return table(("Number", "Value", "Meaning"), cells, {1})


def _paragraphs(sentences: Sequence[str]) -> str:
    return "".join(f'<p class="soft">{text(sentence)}</p>' for sentence in sentences)


def _settings(config: Mapping[str, Any]) -> str:
    flat = {k: v for k, v in config.items() if k != "options"} | config.get("options", {})
    if flat.get("data") == "simulated":  # a recipe is how to learn without data
        flat.pop("recipe", None)
    plain = [(k, str(v)) for k, v in flat.items() if not isinstance(v, dict | list)]
    whole = text(json.dumps(config, indent=2))
    known = table(("Setting", "Value"), plain, set())
    details = f"<details><summary>The whole config.json</summary><pre>{whole}</pre></details>"
    return f"{known}<p></p>{details}"


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
    return table(("What", "Which"), [(k, "" if v is None else str(v)) for k, v in rows], set())
