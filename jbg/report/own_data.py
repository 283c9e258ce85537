"""What the report says of trajectories of the user that a study learnt from."""

from collections.abc import Mapping
from typing import Any

from jbg.report import numerals
from jbg.report.page import Row

PM = "\N{PLUS-MINUS SIGN}"


def own_data(results: Mapping[str, Any]) -> list[Row]:
    """The rows of trajectories of the user; empty for other data."""
    found = results.get("own_data")
    if not found:
        return []
    files, blocks = found["files"], found["blocks"]
    of = "one trajectory" if files == 1 else f"{files} trajectories"
    errors = "Errors rest on blocks of one chain." if files == 1 else ""
    rows = [
        Row(
            "Frames",
            numerals.number(found["frames"]),
            f"in {blocks} blocks of {of}. {errors}".strip(),
            "Frames that are used. Blocks of time are learnt from, watched and set aside by turns, and stand for "
            "independent chains in errors and checks of equilibration: what a message calls a ladder is a block.",
        ),
        Row(
            "Left out",
            numerals.number(found["left_out"]),
            "; ".join(found["words"]),
            "Frames that are broken, of the other hand or without a finite energy, and what was done "
            "to the others.",
        ),
    ]
    if found.get("effective") is not None:
        rows.append(
            Row(
                "Effective frames",
                numerals.number(round(found["effective"])),
                "of a biased simulation, by their weights",
                "(sum w)^2 / sum w^2. Training takes frames by weight; no estimate takes them for the ensemble.",
            )
        )
    return [*rows, *_target(found)]


def _target(found: Mapping[str, Any]) -> list[Row]:
    """What the frames say of their temperature and of the forces on them."""
    rows = [
        Row(
            "Temperature of the frames",
            f"{found['temperature']:.1f} {PM} {found['temperature_stderr']:.1f} K",
            "",
            "By equipartition over bonds, angles and stiff torsions under the forces of the target.",
        )
    ]
    if found["coordinate"] is not None:
        rows.append(
            Row(
                "Largest deviation of a mean force",
                f"{found['deviation']:.2f} {PM} {found['deviation_stderr']:.2f} kT",
                f"along {found['coordinate']}",
                "Of all coordinates; zero for frames in equilibrium under the target's force field.",
            )
        )
    return rows
