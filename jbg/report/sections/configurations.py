"""Configurations in the plane, and data in the latent space."""

import numpy as np

from jbg import plotting
from jbg.report.sections.section import Drawn, Left


def configurations(left: Left) -> list[Drawn]:
    figures, run, arrays = [], left.run, left.arrays
    names = [str(name) for name in arrays.get("state_names", ())]
    by_state = {"state_data": arrays.get("state_data"), "state_names": names}
    if "x_data" in arrays and np.shape(arrays["x_data"])[1:] == (2,):
        path = run.file("figures/configurations.png")
        x, y, u = (arrays.get(name) for name in ("contour_x", "contour_y", "contour_u"))
        contour = None if x is None or y is None or u is None else (x, y, u)
        plotting.configurations(
            path,
            x_data=arrays["x_data"],
            x_generated=arrays.get("x_generated"),
            contour=contour,
            **by_state,
        )
        caption = "Training data by state and generated samples; contours of u every 1 kT."
        figures.append(Drawn(path, "Configurations", caption))
    if "z_data" in arrays:
        path = run.file("figures/latent.png")
        plotting.latent(path, z_data=arrays["z_data"], **by_state)
        caption = (
            "The same data mapped to the latent variables. A perfect flow maps data with Boltzmann weights to one "
            "round cloud; a state that the data hold more often than that is denser there."
        )
        figures.append(Drawn(path, "Latent space", caption))
    return figures
