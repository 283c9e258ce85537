"""Free-energy profiles, from the arrays of `studies.profiles`."""

from jbg import plotting
from jbg.report.sections.section import Drawn, Left


def profiles(left: Left) -> list[Drawn]:
    figures, run, arrays = [], left.run, left.arrays
    known = (left.results.get("profiles") or {}) | (left.results.get("variables") or {})
    for name in (n[len("profile_") : -len("_centers")] for n in arrays if n.endswith("_centers")):
        about = known.get(name, {})
        start = f"profile_{name}_"
        profile = {n.removeprefix(start): arrays[n] for n in arrays if n.startswith(start)}
        path = run.file(f"figures/profile_{name}.png")
        label = about.get("label", name)
        plotting.free_energy_profile(profile, path, label=label, unit=about.get("unit") or "")
        first = "Reference, generated" if "reference" in profile else "Generated"
        what = f"{about['definition']}. " if "definition" in about else ""
        caption = (
            f"{what}{first} samples, and the reweighted ones where their error is below "
            f"{plotting.LARGEST_ERROR:g} kT; elsewhere the background is grey, and values without a known error "
            "are open circles. Bands are 95 % intervals."
        )
        figures.append(Drawn(path, f"Free energy along {label}", caption))
    return figures
