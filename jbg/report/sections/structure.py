"""Figures of a protein's ensemble, from the arrays of `studies.protein.structure`."""

from jbg import plotting
from jbg.report.sections.section import Drawn, Left

GEOMETRY = "geometry_"


def structure(left: Left) -> list[Drawn]:
    figures, run, arrays = [], left.run, left.arrays
    if "rmsf_residue" not in arrays:
        return []
    path = run.file("figures/rmsf.png")
    plotting.fluctuations(
        path,
        residue=arrays["rmsf_residue"],
        generated=arrays["rmsf_generated"],
        reference=arrays["rmsf_reference"],
        half=arrays["rmsf_reference_half"],
    )
    caption = (
        "Fluctuation of each residue's CA about the mean structure; band: 95 % interval over chains of the "
        "reference. Samples are not weighted."
    )
    figures.append(Drawn(path, "Fluctuations", caption))
    path = run.file("figures/energy_quantiles.png")
    plotting.energy_quantile_curves(
        path,
        generated=arrays["u_structure_generated"],
        reference=arrays["u_structure_reference"],
    )
    caption = "All samples, without weights. Frames to the right of the dashed line clash."
    figures.append(Drawn(path, "Energies by quantile", caption))
    path = run.file("figures/distances.png")
    plotting.distance_maps(
        path,
        residue=arrays["rmsf_residue"],
        generated=arrays["distances_generated"],
        reference=arrays["distances_reference"],
    )
    caption = "Left: above the diagonal the reference, below it the samples. Right: the difference."
    figures.append(Drawn(path, "Mean distances of CA atoms", caption))
    kinds = {
        name.removeprefix(GEOMETRY): arrays[name] for name in arrays if name.startswith(GEOMETRY)
    }
    if kinds:
        path = run.file("figures/geometry.png")
        plotting.geometry_distances(path, kinds=kinds)
        caption = (
            "Every bond, angle and torsion: the Kolmogorov distance of its distribution from the reference's "
            "(Kuiper's of torsions), beside that between halves of the reference's chains."
        )
        figures.append(Drawn(path, "Bonds, angles and torsions", caption))
    return figures
