"""What commands print: the plan before a run, its numbers after it."""

from typing import Any

from jbg.cli import questions


def print_results(run: Any) -> None:
    """Print the main numbers in a few lines."""
    results = run.read_json("results.json")
    print(
        f"ESS fraction {number(results.get('ess_fraction'))} of {results.get('n_samples')} samples"
    )
    gap = results.get("gap") or {}
    if gap.get("value") is not None:
        print(f"gap to the simulation {gap['value']:.2f} +- {gap['stderr']:.2f} nats")
    elif gap:
        print(f"gap to the simulation not given: {gap['reason']}")
    entries = results.get("free_energy_differences", [])
    several = len({entry.get("tau") for entry in entries}) > 1
    for entry in entries:
        to, of = entry["states"][::-1][:2]
        at = f" at tau {entry['tau']:g}" if several else ""
        if entry.get("value") is None:
            figure = f"not given: {entry.get('reason')}"
        else:
            figure = questions.free_energy_text(entry)
        print(f"F({to}) - F({of}){at} = {figure}{questions.reference_text(entry)}")
    questions.print_answers(results)
    for warning in results.get("warnings", []):
        print(f"warning: {warning}")
    report = run.path / "report.html"
    if report.exists() and report.stat().st_mtime >= (run.path / "results.json").stat().st_mtime:
        print(f"report: {report}")


def print_rows(rows: list[tuple[str, str]], to: Any = None) -> None:
    """Print what will be simulated; to standard error where results go to standard output."""
    for what, which in rows:
        print(f"{what}: {which}", file=to)


def print_cost(cost: dict[str, Any]) -> None:
    """Print what a plan would cost."""
    for what, value in cost.items():
        print(f"{what.replace('_', ' ')}: {number(value)}")


def number(value: Any) -> str:
    """A figure with spaces between thousands, or three digits."""
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    return f"{value:.3g}" if isinstance(value, float) else str(value)
