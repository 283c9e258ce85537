"""Is the double well right for every seed? Free energy, log Z and ESS of many runs against quadrature.

Each seed is a whole `jbg run double-well` (quick preset: Metropolis data, by example, by example and energy),
8.7e5 energies and about half a minute. Printed per seed and written as JSON: the error of F(right) - F(left)
and whether its 95 % interval covers the exact value, the error of ln Z, and the ESS fraction at N = 1e5.

    python experiments/double_well_seeds.py --seeds 20 --out runs/double-well-seeds
"""

import json
from pathlib import Path

import numpy as np
import tyro

import jbg
from jbg import study


def one(seed: int, out: Path) -> dict[str, float]:
    """Run (or read back) one seed."""
    run = jbg.open_run(out / f"seed-{seed}", jbg.make_config("double-well", seed=seed))
    if not run.stage_done("evaluate"):
        study.run_all(run, quiet=True)
    results = run.read_json("results.json")
    found, log_z = results["free_energy_differences"][0], results["log_z"]
    low, high = found["interval95"]
    return {
        "seed": seed,
        "difference": found["value"],
        "error": found["value"] - found["reference"],
        "half_width": (high - low) / 2,
        "covers": low <= found["reference"] <= high,
        "log_z_error": log_z["value"] - log_z["reference"],
        "ess_fraction": results["ess_fraction"],
        "seconds": sum(results["wall_seconds"].values()),
    }


def main(seeds: int = 20, first: int = 0, out: Path = Path("runs/double-well-seeds")) -> None:
    rows = []
    for seed in range(first, first + seeds):
        rows.append(one(seed, out))
        print("  ".join(f"{name} {value:.4g}" for name, value in rows[-1].items()), flush=True)
    column = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    summary = {
        "largest_error": float(np.abs(column["error"]).max()),
        "mean_error": float(column["error"].mean()),
        "largest_half_width": float(column["half_width"].max()),
        "intervals_that_cover": f"{int(column['covers'].sum())} of {seeds}",
        "largest_log_z_error": float(np.abs(column["log_z_error"]).max()),
        "smallest_ess_fraction": float(column["ess_fraction"].min()),
        "median_seconds": float(np.median(column["seconds"])),
    }
    (out / "summary.json").write_text(json.dumps({"summary": summary, "seeds": rows}, indent=2))
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    tyro.cli(main)
