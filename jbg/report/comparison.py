"""Tables of published, exact and own numbers: one row for each quantity."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jbg.runs import storage


class Row(NamedTuple):
    """One number beside its published and its reference value; None or NaN where there is none."""

    system: str
    training: str
    quantity: str
    unit: str
    published: float | None
    reference: float | None
    value: float | None
    stderr: float | None
    seed: int | None = None
    note: str = ""  # remarks about the value, such as the warnings of its run


COLUMNS = ("system", "training", "seed", "quantity", "published", "reference", "ours", "note")
NOTE = 70  # characters of a note that the text shows; the file has all


def text(rows: Sequence[Row]) -> str:
    """The rows as a table of plain text, with a header: `COLUMNS`, ours as value +- standard error."""
    cells = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    lines = (" | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in cells)
    header, *body = (line.rstrip() for line in lines)
    return "\n".join([header, "-+-".join("-" * w for w in widths), *body])


def write(rows: Sequence[Row], path: Path) -> None:
    """The rows as a JSON list of objects with the fields of `Row`, atomically; NaN becomes null."""
    storage.write_json(path, [row._asdict() for row in rows])


def _cells(row: Row) -> tuple[str, ...]:
    ours = _number(row.value)
    if ours != "-" and _number(row.stderr) != "-":
        ours += f" +- {row.stderr:.2g}"
    return (
        row.system,
        row.training,
        "" if row.seed is None else str(row.seed),
        f"{row.quantity} / {row.unit}" if row.unit else row.quantity,
        _number(row.published),
        _number(row.reference),
        ours,
        textwrap.shorten(row.note, NOTE, placeholder=" ..."),
    )


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.4g}"
