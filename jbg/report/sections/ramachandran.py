"""Ramachandran maps."""

import re

from jbg import plotting
from jbg.report.sections.section import Drawn, Left


def ramachandran(left: Left) -> list[Drawn]:
    figures, run, arrays = [], left.run, left.arrays
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
