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
        first = "of the reference data, " if "data" in energies else ""
        caption = f"Reduced energy {first}of generated samples, and reweighted."
        figures.append(Drawn(path, "Energies", caption))
    if log_w is not None:
        path = run.file("figures/weights.png")
        plotting.weight_diagnostics(log_w, path)
        caption = (
            "Of the first 20 000 samples. Left: spread of the log-weights. "
            "Right: the share that the heaviest samples hold."
        )
        figures.append(Drawn(path, "Weights", caption))
    return figures
