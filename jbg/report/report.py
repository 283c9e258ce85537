"""The report of a run: figures from what it left on disk, and one self-contained HTML page.

It computes nothing: numbers come from ``results.json``, curves from ``metrics.jsonl``, figures from
``evaluation.npz``. What a run does not have is left out.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jbg import plotting
from jbg.interfaces import ConfigError
from jbg.report import page as report_page
from jbg.report.page import Row
from jbg.runs import Run, storage
from jbg.runs.run import METRICS, WRITE_WAIT
from jbg.sampling.generate import SAMPLES, count_samples
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


class Drawn(NamedTuple):
    """One figure of the report."""

    path: Path
    title: str
    caption: str


def write_report(run: Run) -> Path:
    """Draws the figures of ``run`` and writes ``report.html``; returns its path.

    Raises:
        ConfigError: the run has no results yet, a file is damaged, or another process is at work in the folder.
        RunError: disk full.
    """
    with storage.only_process(run.path, wait=WRITE_WAIT):
        return _write(run)


def _write(run: Run) -> Path:
    results = run.read_json(RESULTS)
    if not isinstance(results, dict):
        raise ConfigError(
            f"{run.path / RESULTS}: no results (a {type(results).__name__}): jbg evaluate"
        )
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
    n = count_samples(run.path / SAMPLES)
    if n == 0 or results.get("n_samples") in (None, n):
        return []
    return [
        f"the numbers are of {results['n_samples']} samples, but there are {n}: "
        "run jbg evaluate, then jbg report"
    ]


def draw_figures(run: Run, results: Mapping[str, Any]) -> list[Drawn]:
    """Writes ``figures/*.png`` for whatever the run left, in the order of the report."""
    arrays = run.load_arrays(EVALUATION) if run.holds(EVALUATION) else {}
    figures = [
        *_ramachandran_figures(run, arrays),
        *_profile_figures(run, arrays, results.get("profiles") or {}),
        *_sample_figures(run, arrays),
        *_plane_figures(run, arrays),
    ]
    if run.holds(METRICS):
        path = run.file("figures/training.png")
        caption = "Each metric against the training step; dotted lines part the stages."
        if plotting.training_curves(run.metrics(), path):
            figures.append(Drawn(path, "Training", caption))
    return figures


def _profile_figures(run: Run, arrays: Mapping, known: Mapping) -> list[Drawn]:
    figures = []
    for name in (n[len("profile_") : -len("_centers")] for n in arrays if n.endswith("_centers")):
        about = known.get(name, {})
        start = f"profile_{name}_"
        profile = {n.removeprefix(start): arrays[n] for n in arrays if n.startswith(start)}
        path = run.file(f"figures/profile_{name}.png")
        label = about.get("label", name)
        plotting.free_energy_profile(profile, path, label=label, unit=about.get("unit") or "")
        first = "Reference, generated" if "reference" in profile else "Generated"
        caption = (
            f"{first} samples, and these with their weights where the error is below "
            f"{plotting.LARGEST_ERROR:g} kT; elsewhere the background is grey, and values whose "
            "error is not known are open circles. Bands are 95 % intervals."
        )
        figures.append(Drawn(path, f"Free energy along {label}", caption))
    return figures


def _ramachandran_figures(run: Run, arrays: Mapping) -> list[Drawn]:
    figures = []
    labels = (re.fullmatch(r"ramachandran_(.+)_edges", name) for name in arrays)
    for k in (found[1] for found in labels if found):
        kinds = ("reference", "generated", "reweighted")
        maps = {
            n: arrays[f"ramachandran_{k}_{n}"] for n in kinds if f"ramachandran_{k}_{n}" in arrays
        }
        if maps:
            path = run.file(f"figures/ramachandran_{k}.png")
            plotting.ramachandran(maps, path)
            caption = "Free energy over both backbone torsions; white cells were never visited."
            figures.append(Drawn(path, f"Ramachandran map, {k}", caption))
    return figures


def _plane_figures(run: Run, arrays: Mapping) -> list[Drawn]:
    figures = []
    names = [str(name) for name in arrays.get("state_names", ())]
    by_state = {"state_data": arrays.get("state_data"), "state_names": names}
    if np.ndim(arrays.get("x_data")) == 2 and arrays["x_data"].shape[1] == 2:
        path = run.file("figures/configurations.png")
        axes = ("contour_x", "contour_y", "contour_u")
        contour = tuple(arrays[n] for n in axes) if set(axes) <= arrays.keys() else None
        plotting.configurations(
            path,
            x_data=arrays["x_data"],
            x_generated=arrays.get("x_generated"),
            contour=contour,
            **by_state,
        )
        caption = "Training data by state and generated samples; contours of u every 1 kT."
        figures.append(Drawn(path, "Configurations", caption))
    if "z_data" in arrays:
        path = run.file("figures/latent.png")
        plotting.latent(path, z_data=arrays["z_data"], **by_state)
        caption = (
            "The same data mapped to the latent variables; of a perfect flow, one round cloud."
        )
        figures.append(Drawn(path, "Latent space", caption))
    return figures


def _sample_figures(run: Run, arrays: Mapping) -> list[Drawn]:
    figures, log_w = [], arrays.get("log_weights")
    energies = {n: arrays[f"u_{n}"] for n in ("data", "generated") if f"u_{n}" in arrays}
    if energies:
        path = run.file("figures/energies.png")
        plotting.energy_histograms(energies, path, log_weights=log_w)
        first = "of the reference data, " if "data" in energies else ""
        caption = f"Reduced energy {first}of generated samples, and reweighted."
        figures.append(Drawn(path, "Energies", caption))
    if log_w is not None:
        path = run.file("figures/weights.png")
        plotting.weight_diagnostics(log_w, path)
        caption = (
            "Of the first 20 000 samples. Left: spread of the log-weights. "
            "Right: the share that the heaviest samples hold."
        )
        figures.append(Drawn(path, "Weights", caption))
    return figures


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
