"""Is a system of the plane right for every seed? Free energies, ln Z and ESS of many runs against quadrature.

Each seed is a whole `jbg run double-well` or `jbg run mueller-brown` (quick preset: Metropolis data, by example,
by example and energy). Printed per seed, pair of states and relative temperature: the error of F(b) - F(a), half
of its 95 % interval and whether that covers the exact value; per temperature the error of ln Z and the ESS
fraction. A summary for each pair and temperature follows; everything is written as JSON. Differences
that are not given (too few effective samples in a state) are counted separately.

    python experiments/plane_seeds.py --system double-well --seeds 20 --out runs/double-well-seeds
    python experiments/plane_seeds.py --taus 0.5 1 2 4 --out runs/double-well-taus-seeds
    python experiments/plane_seeds.py --system mueller-brown --seeds 20 --out runs/mueller-brown-seeds

A seed of the double well takes 1.9e6 energies and 73 s on one core, one of Mueller-Brown at five temperatures
5.6e6 and 140 s, most of them samples.
"""

import json
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

import jbg
from jbg.runs import Run
from jbg.studies import engine
from jbg.studies.plane.plan import shorten


def one(system: str, seed: int, out: Path, *, taus: tuple[float, ...] | None, fast: bool) -> Run:
    """Run (or read back) one seed."""
    plan = jbg.make_plan(system, seed=seed, **({} if taus is None else {"taus": taus}))
    run = jbg.open_run(out / f"seed-{seed}", shorten(plan) if fast else plan)
    if not run.stage_done("evaluate"):
        engine.run_all(run, quiet=True)
        jax.clear_caches()  # no later run uses these programs, and a process can map only so many
    return run


def rows_of(results: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each pair of states and temperature; a difference that was refused covers nothing."""
    at_tau = {
        entry["tau"]: entry for entry in results.get("temperatures", [results | {"tau": 1.0}])
    }
    seconds = sum(results["wall_seconds"].values())
    rows = []
    for entry in results["free_energy_differences"]:
        own = at_tau[entry["tau"]]
        row = {"seed": results["seed"], "states": " ".join(entry["states"]), "tau": entry["tau"]}
        row |= {"reference": entry["reference"], "difference": entry["value"]}
        row |= {"error": None, "half_width": None, "covers": False}
        if entry["value"] is not None:
            low, high = entry["interval95"]
            row["error"] = entry["value"] - entry["reference"]
            row["half_width"] = (high - low) / 2
            row["covers"] = low <= entry["reference"] <= high
        row["log_z_error"] = own["log_z"]["value"] - own["log_z"]["reference"]
        rows.append(row | {"ess_fraction": own["ess_fraction"], "seconds": seconds})
    return rows


def summary_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all seeds, one pair of states and one temperature."""
    given = [row for row in rows if row["error"] is not None]
    error = np.array([row["error"] for row in given])
    summary = {name: rows[0][name] for name in ("states", "tau", "reference")}
    summary |= {"seeds": len(rows), "refused": len(rows) - len(given)}
    if given:
        summary |= {
            "largest_error": float(np.abs(error).max()),
            "mean_error": float(error.mean()),
            "mean_error_stderr": float(error.std(ddof=1) / len(error) ** 0.5)
            if len(error) > 1
            else None,
            "largest_half_width": max(row["half_width"] for row in given),
        }
    return summary | {
        "intervals_that_cover": f"{sum(row['covers'] for row in rows)} of {len(given)}",
        "largest_log_z_error": max(abs(row["log_z_error"]) for row in rows),
        "smallest_ess_fraction": min(row["ess_fraction"] for row in rows),
        "median_seconds": float(np.median([row["seconds"] for row in rows])),
    }  # fmt: skip


def _line(values: dict[str, Any]) -> str:
    shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
    return "  ".join(shown)


def main(
    system: Literal["double-well", "mueller-brown"] = "double-well",
    seeds: int = 20,
    first: int = 0,
    out: Path | None = None,
    taus: tuple[float, ...] | None = None,
    *,
    fast: bool = False,
) -> None:
    """All seeds and their summary, at ``taus`` or the system's own; ``fast``: few steps, to see that it runs."""
    out = out or Path("runs") / f"{system}-seeds"
    rows = []
    for seed in range(first, first + seeds):
        found = rows_of(one(system, seed, out, taus=taus, fast=fast).read_json("results.json"))
        rows += found
        print("\n".join(_line(row) for row in found), flush=True)
    groups = dict.fromkeys((row["states"], row["tau"]) for row in rows)
    summary = [
        summary_of([r for r in rows if (r["states"], r["tau"]) == group]) for group in groups
    ]
    (out / "summary.json").write_text(json.dumps({"summary": summary, "rows": rows}, indent=2))
    print("\n".join(["summary", *(_line(entry) for entry in summary)]))


if __name__ == "__main__":
    tyro.cli(main)
