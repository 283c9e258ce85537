"""Free energies over two coordinates."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jbg.plotting.style import figure_file

DEEPEST = 10.0  # kT above the lowest cell, where the colours end


class MapAxis(NamedTuple):
    """One axis of a map: edges of its cells ``(n + 1,)``, name and unit; radians are shown in degrees."""

    edges: np.ndarray
    label: str
    unit: str

    @property
    def shown(self) -> np.ndarray:
        return np.degrees(self.edges) if self.unit == "rad" else np.asarray(self.edges)

    @property
    def title(self) -> str:
        unit = "degrees" if self.unit == "rad" else self.unit
        return f"{self.label} / {unit}" if unit else self.label


def free_energy_map(
    maps: Mapping[str, ArrayLike], path: Path, *, axes: tuple[MapAxis, MapAxis]
) -> None:
    """-ln p per area over two coordinates, side by side under one colour bar.

    Args:
        maps: title -> probabilities of the cells, the first coordinate along rows.
        path: the PNG to write.
        axes: of the rows and of the columns.
    """
    with np.errstate(divide="ignore"):
        free = {title: -np.log(np.asarray(p, float)) for title, p in maps.items()}
    finite = np.concatenate([f[np.isfinite(f)] for f in free.values()] or [np.zeros(1)])
    lowest = finite.min() if finite.size else 0.0
    top = min(DEEPEST, float(finite.max() - lowest)) if finite.size else DEEPEST
    x, y = axes
    with figure_file(path, 3.1 * len(free) + 0.8, 3.4) as figure:
        panels = figure.subplots(1, len(free), sharey=True, squeeze=False)[0]
        for ax, (title, f) in zip(panels, free.items(), strict=True):
            shown = np.ma.masked_invalid(f - lowest).T
            image = ax.pcolormesh(x.shown, y.shown, shown, vmin=0.0, vmax=max(top, 1.0))
            ax.set(title=title, xlabel=x.title)
            ax.grid(visible=False)
        panels[0].set_ylabel(y.title)
        bar = figure.colorbar(image, ax=panels, fraction=0.03, pad=0.015, extend="max")
        bar.set_label("$-$ln p / kT, above the minimum")
