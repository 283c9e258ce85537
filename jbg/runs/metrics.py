"""The lines of ``metrics.jsonl``: one record for each logged step; cut where a stage goes on."""

import json
from pathlib import Path
from typing import Any

from jbg.interfaces import ConfigError


def read_lines(path: Path) -> list[str]:
    """Those that are whole records; a line that a kill tore is left out.

    Raises:
        ConfigError: cannot be read.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    return [line for line in lines if record(line) is not None]


def record(line: str) -> dict[str, Any] | None:
    """The record in a line, None where it is none: a stage, a whole step, numbers or null."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("stage"), str):
        return None
    step = found.get("step")
    if not isinstance(step, int) or isinstance(step, bool):
        return None
    values = (value for name, value in found.items() if name != "stage")
    return (
        found if all(value is None or isinstance(value, int | float) for value in values) else None
    )


def cut(lines: list[str], stage: str, step: int) -> list[str]:
    """The lines without those of ``stage`` from ``step`` on, and without all that follow these."""
    steps = {}  # of the lines of this stage
    for i, line in enumerate(lines):
        found = record(line)
        if found is not None and found["stage"] == stage:
            steps[i] = found["step"]
    before = [i for i in steps if steps[i] < step]
    if not steps:
        return lines
    return lines[: before[-1] + 1 if before else min(steps)]
