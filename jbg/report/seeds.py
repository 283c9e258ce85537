"""The page of several seeds: each difference by seed, and how far they scatter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jbg.report.free_energies import difference_label, estimate
from jbg.report.markup import document, section, table, text
from jbg.report.numerals import number, number_with_error, percentage, reference
from jbg.report.page import write as write_page

MEANING = (
    "The mean is that of the seeds, with the standard deviation between them divided by the square root of their "
    "number as its error. chi² compares the seeds with their own errors: it is about the number of degrees of "
    "freedom where the errors are right; p is the probability of as much or more by chance."
)


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Write the page.

    Args:
        path: of the file.
        found: what ``seeds.json`` holds (`studies.seeds.spread`).
    """
    seeds = found["seeds"]
    title = f"{found['study']}, {len(seeds)} seeds"
    notes = [f'<div class="warning"><p>{text(w)}</p></div>' for w in found["warnings"]]
    differences = [_difference(entry) for entry in found["free_energy_differences"]]
    meaning = f'<p class="soft">{text(MEANING)}</p>' if differences else ""
    body = [f"<h1>{text(title)}</h1>", *notes, *differences, meaning, _samples(found)]
    write_page(path, document(title, body))


def _difference(entry: Mapping[str, Any]) -> str:
    rows = [
        (str(value["seed"]), _value(value), reference(value).removeprefix("reference "))
        for value in entry["values"]
    ]
    if entry["mean"] is not None:
        rows.append(("mean", number_with_error(entry["mean"], entry["stderr"]), ""))
    cells = table(("Seed", "Estimate / kT", "Reference / kT"), rows, {1, 2})
    at = "" if entry["tau"] == 1.0 else f" at tau {entry['tau']:g}"
    return section(f"{difference_label(entry)}{at}", f"{cells}<p></p>{_scatter(entry)}")


def _value(value: Mapping[str, Any]) -> str:
    return estimate(value) if "value" in value else f"not given: {value.get('reason', '')}"


def _scatter(entry: Mapping[str, Any]) -> str:
    if entry["mean"] is None:
        return ""
    rows = [
        ("scatter between seeds / kT", number(entry["scatter"])),
        ("root mean square of the errors / kT", number(entry["mean_stderr"])),
    ]
    if entry["chi2"] is None:
        shared = "the seeds share their trajectories, whose error no number of seeds makes smaller"
        return f'{table(("Number", "Value"), rows, {1})}<p class="soft">{shared}</p>'
    rows += [
        (f"chi², {entry['degrees']} degrees of freedom", number(entry["chi2"])),
        ("p", number(entry["p"])),
    ]
    return table(("Number", "Value"), rows, {1})


def _samples(found: Mapping[str, Any]) -> str:
    rows = [
        (str(seed), "not given" if share is None else percentage(share))
        for seed, share in zip(found["seeds"], found["ess_fraction"], strict=True)
    ]
    heading = f"Effective sample size, of {number(found['n_samples'])} samples"
    return section(heading, table(("Seed", "Share"), rows, {1}))
