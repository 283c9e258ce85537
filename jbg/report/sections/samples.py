"""Energies and weights of the generated samples."""

from jbg import plotting
from jbg.report.sections.section import Drawn, Left


def samples(left: Left) -> list[Drawn]:
    figures, run, arrays = [], left.run, left.arrays
    log_w = arrays.get("log_weights")
    energies = {n: arrays[f"u_{n}"] for n in ("data", "generated") if f"u_{n}" in arrays}
    if energies:
        path = run.file("figures/energies.png")
        plotting.energy_histograms(energies, path, log_weights=log_w)
        first = (
            "of the data, whose states need not have Boltzmann weights, "
            if "data" in energies
            else ""
        )
        caption = (
            f"Reduced energy {first}of the generated samples, and of these with their weights."
        )
        figures.append(Drawn(path, "Energies", caption))
    if log_w is not None:
        path = run.file("figures/weights.png")
        plotting.weight_diagnostics(log_w, path)
        caption = (
            "Of the first 20 000 samples. Left: log-weights, relative to the mean weight; those below the left "
            f"edge (at {plotting.LOWEST_LOG_WEIGHT:g}, or where 0.2 % lie below) are counted in the first bar. "
            "Right: share of the total weight in the heaviest samples."
        )
        figures.append(Drawn(path, "Weights", caption))
    return figures
