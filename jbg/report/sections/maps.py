"""Maps over two collective variables of the user."""

import re

from jbg import plotting
from jbg.report.sections.section import Drawn, Left

KINDS = ("reference", "generated", "reweighted")


def maps(left: Left) -> list[Drawn]:
    figures, arrays = [], left.arrays
    about = left.results.get("variables") or {}
    names = (re.fullmatch(r"map_(.+)_edgesx", name) for name in arrays)
    for name in (found[1] for found in names if found):
        kinds = {k: arrays[f"map_{name}_{k}"] for k in KINDS if f"map_{name}_{k}" in arrays}
        known = about.get(name, {})
        quantities = known.get("quantities") or [{}, {}]
        axes = tuple(
            plotting.MapAxis(
                edges=arrays[f"map_{name}_edges{letter}"],
                label=str(quantity.get("label", letter)),
                unit=str(quantity.get("unit", "")),
            )
            for letter, quantity in zip("xy", quantities, strict=True)
        )
        path = left.run.file(f"figures/map_{name}.png")
        plotting.free_energy_map(kinds, path, axes=(axes[0], axes[1]))
        caption = f"{known.get('definition', '')}. White cells were never visited."
        figures.append(Drawn(path, f"Free energy over {known.get('label', name)}", caption))
    return figures
