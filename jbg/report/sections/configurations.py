"""Configurations in the plane, and data in the latent space."""

import numpy as np

from jbg import plotting
from jbg.report.sections.section import Drawn, Left


def configurations(left: Left) -> list[Drawn]:
    figures, run, arrays = [], left.run, left.arrays
    names = [str(name) for name in arrays.get("state_names", ())]
    by_state = {"state_data": arrays.get("state_data"), "state_names": names}
    if np.ndim(arrays.get("x_data")) == 2 and arrays["x_data"].shape[1] == 2:
        path = run.file("figures/configurations.png")
        axes = ("contour_x", "contour_y", "contour_u")
        contour = tuple(arrays[n] for n in axes) if set(axes) <= arrays.keys() else None
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
            "The same data mapped to the latent variables; of a perfect flow, one round cloud."
        )
        figures.append(Drawn(path, "Latent space", caption))
    return figures
