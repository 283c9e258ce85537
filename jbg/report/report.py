"""The report of a run: figures from its files, and one self-contained HTML page.

It computes nothing: numbers come from ``results.json``, curves from ``metrics.jsonl``, figures from
``evaluation.npz``. Parts without data are omitted.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jbg.interfaces import ConfigError
from jbg.processes.worker import by_writer
from jbg.report import numerals
from jbg.report import page as report_page
from jbg.report.correction import correction
from jbg.report.own_data import own_data
from jbg.report.page import Row
from jbg.report.protein import protein
from jbg.report.questions import (
    TEMPERATURE_HEADS,
    TEMPERATURE_NOTE,
    population_rows,
    temperature_rows,
)
from jbg.report.sections import SECTIONS, Drawn, Left
from jbg.runs import Run, storage
from jbg.runs.run import WRITE_WAIT
from jbg.sampling.generate import Ensemble, count_samples
from jbg.systems import description_rows

RESULTS, EVALUATION, PAGE = "results.json", "evaluation.npz", "report.html"

HEADLINE = {  # key of results.json -> label and definition; the first are shown large
    "ess_fraction": (
        "Effective sample size",
        "Kish's effective sample size as a share of the generated samples, (sum w)^2 / (n sum w^2), with weights "
        "w from the true energy",
    ),
    "ramachandran_tv": (
        "Ramachandran distance",
        "total variation between reference and reweighted samples, 100 x 100 bins: 0 identical, 1 disjoint; two "
        "samples of these sizes from the same density differ by the noise",
    ),
    "log_z": ("ln Z", "ln of the mean weight: the normalisation of exp(-u)"),
    "chirality_as_given_fraction": (
        "Chirality as given",
        "generated samples with every chiral centre as in the structure given, L or D, before any filter",
    ),
    "n_samples": ("Samples", "number of generated samples used"),
    "ess_fraction_clipped": (
        "ESS, weights clipped",
        "the effective sample size after the largest 1e-4 of the weights are lowered to the smallest among them; "
        "a diagnostic, used by no estimate",
    ),
    "largest_weight_share": ("Largest weight", "share of the total weight in one sample"),
    "pareto_k": (
        "Pareto k",
        "shape of the tail of the weights: their variance is finite below 0.5; above 0.7 averages are usable only "
        "where undrawn weights would add little",
    ),
    "gap": (
        "Gap to the simulation",
        "KL(p|q) in nats: mean of ln w over frames that training did not see, less ln Z by BAR; reweighting works "
        "below about 2, and not at all beyond 10",
    ),
    "forward_nll": (
        "Forward NLL",
        "mean of -ln q(x) over held-out data, nat per configuration, in the measure of x",
    ),
    "parameters": ("Parameters", "trainable parameters of the flow"),
}
SHARES = {name for name in HEADLINE if name.endswith(("_fraction", "_clipped", "_share"))}
REASONS = {
    "log_z": "no absolute scale: it depends on the convention for the molecule's position and orientation"
}


def write_report(run: Run) -> Path:
    """Draw the figures of ``run`` and write ``report.html``; returns its path.

    Raises:
        ConfigError: the run has no results yet, a file is damaged, or another process is at work in the folder.
        RunError: disk full.
    """
    _write(run)
    return run.path / PAGE


@by_writer
def _write(run: Run) -> None:
    with storage.only_process(run.path, wait=WRITE_WAIT):
        _write_held(run)


def _write_held(run: Run) -> None:
    results = run.read_json(RESULTS)
    if not isinstance(results, dict):
        raise ConfigError(
            f"{run.path / RESULTS}: no results (a {type(results).__name__}): jbg evaluate"
        )
    figures = draw_figures(run, results)
    page = report_page.Page(
        title=f"{results.get('system', run.path.name)}",
        subtitle=_subtitle(results, run.config),
        warnings=_out_of_date(run, results) + (results.get("warnings") or []),
        restriction=results.get("restriction"),
        molecule=description_rows.rows(results.get("molecule") or {}),
        headline=_headline(results),
        free_energies=_differences(results),
        states=population_rows(results),
        temperatures=(TEMPERATURE_HEADS, temperature_rows(results), TEMPERATURE_NOTE),
        correction=correction(results),
        protein=protein(results),
        own_data=own_data(results),
        costs=_costs(results),
        worth=_worth(results),
        figures=figures,
        rerun=_rerun(run),
        config=run.config,
        manifest=run.manifest(),
    )
    report_page.write(run.file(PAGE), report_page.render(page))


def draw_figures(run: Run, results: Mapping[str, Any]) -> list[Drawn]:
    """Writes ``figures/*.png`` for whatever the run left, section by section."""
    arrays = run.load_arrays(EVALUATION) if run.holds(EVALUATION) else {}
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
        f"the numbers are those of {results['n_samples']} samples, but there are {n}: "
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
        figure, note = _value_and_note(value, results.get(f"{name}_reason") or REASONS.get(name))
        if name in SHARES and value is not None:
            figure = numerals.percentage(value)
        if name == "ess_fraction" and value is not None and results.get("n_samples"):
            n = results["n_samples"]
            note = f"{numerals.number(round(value * n))} of {numerals.number(n)} samples"
        if name == "pareto_k" and results.get("tail_kt") is not None:
            note = f"weights that were not drawn may add {results['tail_kt']:.2g} kT to ln Z"
        if name == "ramachandran_tv" and results.get("ramachandran_tv_noise") is not None:
            noise = numerals.number(results["ramachandran_tv_noise"])
            note = f"sampling noise alone gives {noise}"
        rows.append(Row(label, figure, note, definition))
    if results.get("local_chains"):
        gap = results["local_chains"]
        figure = f"{gap['n_above']} of {gap['n_close']}"
        definition = (
            "short simulations from relaxed random conformations in regions where the flow generates next to "
            "nothing; each is a part of the ensemble that the flow lost"
        )
        rows.append(Row("Chains outside the samples", figure, "", definition))
    for state, found in (results.get("ess_by_state") or {}).items():
        share = (
            f"{numerals.percentage(found['generated_share'])} of the samples were generated there"
        )
        figure = numerals.number(round(found["effective_samples"]))
        definition = "effective samples (Kish's number) in this state"
        rows.append(Row(f"Effective samples in {state}", figure, share, definition))
    return rows


def _value_and_note(value: Any, reason: str | None) -> tuple[str, str]:
    """(the figure with its error, its reference or the reason why it is missing)."""
    if not isinstance(value, Mapping):
        return (numerals.number(value), "") if value is not None else ("not given", reason or "")
    if value.get("value") is None:
        return "not given", value.get("reason") or reason or "no reason stored"
    figure = numerals.number_with_error(value["value"], value.get("stderr"))
    return figure, numerals.reference(value)


def _costs(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """(stage, energy evaluations, wall time, CPU time, compiling) of each stage."""
    worth = results.get("worth") or {}
    calls, seconds = results.get("energy_evaluations") or {}, results.get("wall_seconds") or {}
    return [
        (
            stage,
            numerals.number(calls[stage]) if stage in calls else "",
            numerals.duration(seconds.get(stage)),
            *(
                numerals.duration((worth.get(f"{kind}_seconds") or {}).get(stage))
                for kind in ("cpu", "compile")
            ),
        )
        for stage in dict.fromkeys([*seconds, *calls])
    ]


def _worth(results: Mapping[str, Any]) -> list[str]:
    """What the error of each difference would have cost by continuing the run's own simulation."""
    worth, sentences = results.get("worth") or {}, []
    total = numerals.duration(worth.get("total_cpu_seconds"))
    for entry in worth.get("differences") or []:
        what = f"F({entry['states'][1]}) - F({entry['states'][0]})"
        if entry.get("factor") is None:
            sentences.append(f"{what}: not compared with simulation alone, {entry.get('reason')}.")
            continue
        low, high = (f"{limit:.2g}" for limit in entry["factor_interval95"])
        sentences.append(
            f"{what}: the same standard error by continuing this run's own simulation would take about "
            f"{numerals.duration(entry['simulation_cpu_seconds'])} of CPU time, "
            f"{entry['factor']:.2g} times ({low} to {high}) the {total} of the whole run."
        )
    return sentences


def _rerun(run: Run) -> list[str]:
    """Commands that repeat this run, and that resume this folder."""
    command = run.manifest().get("command") or []
    again = []
    if len(command) > 2 and command[1] in ("run", "simulate"):
        again = [shlex.join(["jbg", "run", *command[2:]])]
    folder = shlex.quote(str(run.path))
    return [*again, f"jbg evaluate {folder}", f"jbg report {folder}"]
