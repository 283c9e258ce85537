"""The rows of Table 1 as published, and the text of a table beside them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# distortion in Angstrom, energy below the median in kcal/mol with its standard deviation, NLL
PUBLISHED = {
    "alanine dipeptide": {
        "nsf-nll": {"distortion": 0.09, "energy": [-11.9, 6.1], "nll": 38.29},
        "attention-nll": {"distortion": 0.08, "energy": [-11.8, 6.5], "nll": 36.15},
        "attention-nll-kl": {"distortion": 0.05, "energy": [-12.0, 5.9], "nll": 38.66},
        "attention-nll-w2": {"distortion": 0.04, "energy": [-10.6, 7.4], "nll": 38.12},
        "attention-all": {"distortion": 0.03, "energy": [-13.1, 5.2], "nll": 37.67},
    },
    "protein G": {
        "nsf-nll": {"distortion": 2.92, "energy": [2.15e10, 3.31e10], "nll": -263.46},
        "attention-nll": {"distortion": 1.81, "energy": [9.47e8, 15.4e8], "nll": -310.11},
        "attention-nll-kl": {"distortion": 16.09, "energy": [286, 62], "nll": -308.68},
        "attention-nll-w2": {"distortion": 0.18, "energy": [2.68e6, 4.31e6], "nll": -307.17},
        "attention-all": {"distortion": 0.19, "energy": [-304, 124], "nll": -309.10},
    },
    "HP35": {
        "nsf-nll": {"distortion": 0.81, "energy": [7.78e7, 17.4e7], "nll": 687.95},
        "attention-nll": {"distortion": 0.65, "energy": [5.29e6, 11.7e6], "nll": 651.90},
        "attention-nll-kl": {"distortion": 0.61, "energy": [646, 1430], "nll": 678.38},
        "attention-nll-w2": {"distortion": 0.38, "energy": [1.15e7, 1.76e7], "nll": 678.31},
        "attention-all": {"distortion": 0.39, "energy": [-466, 352], "nll": 667.45},
    },
}


def table(folder: Path, names: Sequence[str], published: str = "") -> str:
    """The rows as text: means over seeds with standard deviations, floors in brackets, published ones below.

    Args:
        folder: with a file for each row and seed.
        names: of the rows.
        published: system of the paper, empty for none.
    """
    lines = [
        "row (seeds) | reference | distortion of means / A | printed / A | median u less the slice's, the "
        "dynamics' / kT | clashes | NLL of the dynamics (base)"
    ]
    for name in names:
        files = sorted(folder.glob(f"{name}-*.json"))
        rows = [row for row in (json.loads(f.read_text()) for f in files) if row["row"] == name]
        if rows:
            lines.append(_line(name, rows))
        known = PUBLISHED.get(published, {}).get(name)
        if known:
            energy = " +- ".join(f"{e:.3g}" for e in known["energy"])
            lines.append(
                f"  published: distortion {known['distortion']} A, energy below the median {energy} kcal/mol, NLL "
                f"{known['nll']} (another measure)"
            )
    return "\n".join(lines)


def _line(name: str, rows: list[dict[str, Any]]) -> str:
    by_energy = any(word in name for word in ("kl", "all", "own"))
    key = "slice" if by_energy else "dynamics"

    def of(*path: Any, against: str = key) -> np.ndarray:
        values = []
        for row in rows:
            found = row["against"][against]
            for step in path:
                found = found[step]
            values.append(found)
        return np.array(values, float)

    middle = {
        each: of("energies", "quantiles", 2, against=each)
        - of("reference_energies", "quantiles", 2, against=each)
        for each in ("slice", "dynamics")
    }
    nll = [np.array([row["nll"]["dynamics"][what] for row in rows]) for what in ("value", "base")]
    return (
        f"{name} ({len(rows)}) | {key} | {_pm(of('distortion', 'of_means'))} "
        f"({of('distortion_floor', 'of_means').mean():.3f}) | {_pm(of('distortion', 'printed'))} "
        f"({of('distortion_floor', 'printed').mean():.3f}) | {_pm(middle['slice'])}, "
        f"{_pm(middle['dynamics'])} | {_pm(of('energies', 'clashing'))} | {_pm(nll[0])} "
        f"({nll[1].mean():.1f})"
    )


def _pm(values: np.ndarray) -> str:
    spread = f" +- {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}"
