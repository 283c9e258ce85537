"""What a run cost, and what its errors would have cost by continuing its own reference simulation.

The error of a simulation falls as one over the square root of its length: a standard error s where the run's own
simulation, of CPU time c, has S takes c (S / s)^2. S comes from L independent ladders and is itself uncertain: its
square is distributed as chi-squared with L - 1 degrees of freedom, which gives the interval.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from scipy import stats

from jbg.runs import Run

STAGES = ("simulate", "train", "sample", "correct", "evaluate")
MIN_LADDERS = 4  # fewer say next to nothing of the simulation's own error


def worth(run: Run, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entry of ``results.json``.

    Args:
        run: whose stages are timed.
        entries: free-energy differences as in the results, with ``reference_ladders`` where the reference is from
            a simulation of this run.

    Returns:
        ``cpu_seconds`` and ``compile_seconds`` by stage, ``total_cpu_seconds``, and for each difference the CPU
        seconds that the simulation would need for its error, the factor over the run, both with 95 % intervals, or
        the reason why not.
    """
    spent = {name: run.spent(name) for name in STAGES}
    cpu = {name: found.cpu_seconds for name, found in spent.items()}
    compiling = {name: found.compile_seconds for name, found in spent.items()}
    total, simulation = sum(cpu.values()), cpu["simulate"] - compiling["simulate"]
    return {
        "cpu_seconds": cpu,
        "compile_seconds": compiling,
        "total_cpu_seconds": total,
        "differences": [_against(entry, simulation, total) for entry in entries],
    }


def _against(entry: Mapping[str, Any], simulation: float, total: float) -> dict[str, Any]:
    found = {"states": entry["states"], "tau": entry["tau"], "stderr": entry["stderr"]}
    reason = _reason(entry)
    if reason or not (simulation > 0 and total > 0):
        return (
            found
            | {"simulation_cpu_seconds": None, "factor": None}
            | {"reason": reason or "no times"}
        )
    seconds = simulation * (entry["reference_stderr"] / entry["stderr"]) ** 2
    free = entry["reference_ladders"] - 1
    interval = [seconds * free / quantile for quantile in stats.chi2.ppf([0.975, 0.025], free)]
    return found | {
        "simulation_cpu_seconds": seconds,
        "interval95": interval,
        "factor": seconds / total,
        "factor_interval95": [limit / total for limit in interval],
    }


def _reason(entry: Mapping[str, Any]) -> str:
    """Why a difference cannot be set against a simulation; empty if it can."""
    if entry["value"] is None or not entry["stderr"]:
        return "the difference is not given"
    if entry["reference"] is None:
        return f"no reference: {entry.get('reference_reason', '')}"
    ladders = entry.get("reference_ladders", 0)
    if ladders < MIN_LADDERS or not entry["reference_stderr"]:
        return "the reference is no simulation of this run with an error from independent ladders"
    return ""
