"""The report of a run: figures from what it left on disk, and one self-contained HTML page.

It computes nothing: numbers come from ``results.json``, curves from ``metrics.jsonl``, figures from
``evaluation.npz``. What a run does not have is left out.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jbg.report import page as report_page
from jbg.report.page import Row
from jbg.report.sections import SECTIONS, Drawn, Left
from jbg.runs import Run
from jbg.sampling.generate import Ensemble, count_samples
from jbg.systems import description_rows

RESULTS, EVALUATION, PAGE = "results.json", "evaluation.npz", "report.html"

HEADLINE = {  # result -> what it is called, and what it means; the first are shown large
    "ess_fraction": (
        "Effective sample size",
        "Kish fraction (sum w)^2 / (n sum w^2) of the generated samples, true energy",
    ),
    "ramachandran_tv": (
        "Ramachandran distance",
        "total variation between reference and reweighted samples, 100 x 100 bins: 0 the same, 1 disjoint; two "
        "ensembles of one density and of these sizes differ by the noise",
    ),
    "log_z": ("ln Z", "ln of the mean weight: the normalisation of exp(-u)"),
    "chirality_as_given_fraction": (
        "Chirality as given",
        "generated samples with every chiral centre as in the structure given, L or D, before any filter",
    ),
    "n_samples": ("Samples", "number of generated samples used"),
    "ess_fraction_clipped": (
        "ESS, weights clipped",
        "the same as ESS, with the largest 1e-4 of the weights lowered to the smallest among them",
    ),
    "largest_weight_share": ("Largest weight", "share of the total weight in one sample"),
    "forward_nll": (
        "Forward NLL",
        "mean of -ln q(x) over held-out data, nat per configuration, in the measure of x",
    ),
    "parameters": ("Parameters", "trainable parameters of the flow"),
}


def write_report(run: Run) -> Path:
    """Draws the figures of ``run`` and writes ``report.html``; returns its path.

    Raises:
        ConfigError: the run has no results yet, or a file is damaged.
        RunError: disk full.
    """
    results = run.read_json(RESULTS)
    figures = draw_figures(run, results)
    page = report_page.render(
        title=f"{results.get('system', run.path.name)}",
        subtitle=_subtitle(results, run.config),
        warnings=_out_of_date(run, results) + (results.get("warnings") or []),
        restriction=results.get("restriction"),
        molecule=description_rows.rows(results.get("molecule") or {}),
        headline=_headline(results),
        free_energies=_differences(results),
        costs=_costs(results),
        figures=figures,
        rerun=_rerun(run),
        config=run.config,
        manifest=run.manifest(),
    )
    path = run.file(PAGE)
    report_page.write(path, page)
    return path


def draw_figures(run: Run, results: Mapping[str, Any]) -> list[Drawn]:
    """Writes ``figures/*.png`` for whatever the run left, section by section."""
    arrays = run.load_arrays(EVALUATION) if (run.path / EVALUATION).exists() else {}
    left = Left(run, results, arrays)
    return [figure for section in SECTIONS for figure in section(left)]


def _differences(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The differences, each with that by plain reweighting where this is another."""
    entries = results.get("free_energy_differences") or []
    plain = results.get("reweighted_differences") or [None] * len(entries)
    return [
        dict(entry) | ({"reweighted": other} if other and "estimator" in entry else {})
        for entry, other in zip(entries, plain, strict=True)
    ]


def _out_of_date(run: Run, results: Mapping[str, Any]) -> list[str]:
    """A warning where more samples were drawn since the results."""
    n = count_samples(run.path / Ensemble().folder)
    if n == 0 or results.get("n_samples") in (None, n):
        return []
    return [
        f"the numbers are of {results['n_samples']} samples, but there are {n}: "
        "run jbg evaluate, then jbg report"
    ]


def _subtitle(results: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    options = config.get("options", {})
    which = options.get("sequence") or Path(options.get("pdb") or "").name
    parts = [which] if which else []
    if results.get("preset"):
        parts.append(f"preset {results['preset']}")
    if results.get("temperature") is not None:
        parts.append(f"{results['temperature']:g} K")
    if results.get("seed") is not None:
        parts.append(f"seed {results['seed']}")
    return ", ".join(parts)


def _headline(results: Mapping[str, Any]) -> list[Row]:
    """The numbers of ``HEADLINE`` that the run has; nulls with their reason."""
    rows = []
    for name, (label, definition) in HEADLINE.items():
        if name not in results:
            continue
        value = results[name]
        figure, note = _value_and_note(value, results.get(f"{name}_reason"))
        if name == "ramachandran_tv" and results.get("ramachandran_tv_noise") is not None:
            noise = report_page.number(results["ramachandran_tv_noise"])
            note = f"sampling noise alone gives {noise}"
        rows.append(Row(label, figure, note, definition))
    if results.get("local_chains"):
        gap = results["local_chains"]
        figure = f"{gap['n_above']} of {gap['n_close']}"
        definition = (
            "short simulations from relaxed random conformations that sit where the flow generates next to "
            "nothing; any is a part of the ensemble that the flow lost"
        )
        rows.append(Row("Chains outside the samples", figure, "", definition))
    for state, found in (results.get("ess_by_state") or {}).items():
        share = f"{found['generated_share']:.2%} of the samples were generated there"
        figure = report_page.number(round(found["effective_samples"]))
        definition = "effective samples (Kish's number) in this state"
        rows.append(Row(f"Effective samples in {state}", figure, share, definition))
    return rows


def _value_and_note(value: Any, reason: str | None) -> tuple[str, str]:
    """(the figure with its error, its reference or the reason why it is missing)."""
    if not isinstance(value, Mapping):
        return (report_page.number(value), "") if value is not None else ("not given", reason or "")
    if value.get("value") is None:
        return "not given", value.get("reason") or reason or "no absolute scale for this system"
    figure = report_page.number_with_error(value["value"], value.get("stderr"))
    return figure, report_page.reference(value)


def _costs(results: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(stage, energy evaluations, wall time) of each stage."""
    calls, seconds = results.get("energy_evaluations") or {}, results.get("wall_seconds") or {}
    return [
        (
            stage,
            report_page.number(calls[stage]) if stage in calls else "",
            report_page.duration(seconds.get(stage)),
        )
        for stage in dict.fromkeys([*seconds, *calls])
    ]


def _rerun(run: Run) -> list[str]:
    """Commands that make this run again, and that go on with this folder."""
    command = run.manifest().get("command") or []
    again = []
    if len(command) > 2 and command[1] in ("run", "simulate"):
        again = [shlex.join(["jbg", "run", *command[2:]])]
    folder = shlex.quote(str(run.path))
    return [*again, f"jbg evaluate {folder}", f"jbg report {folder}"]
