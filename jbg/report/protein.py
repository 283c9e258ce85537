"""What the report says of a protein: chains on the slice, rebuilt frames, structures, bonds and annealing."""

from collections.abc import Mapping, Sequence
from typing import Any

from jbg.report import numerals
from jbg.report.page import Row

PM = "\N{PLUS-MINUS SIGN}"
ANGSTROM = "\N{ANGSTROM SIGN}"
MOST_NAMED = 6  # torsions in a row


def protein(results: Mapping[str, Any]) -> list[Row]:
    """The rows of a protein; empty for other studies."""
    rows = []
    if results.get("annealing"):
        rows += _annealing(results["annealing"])
    for name, found in (results.get("structure") or {}).items():
        rows += _nll(found) if name == "nll" else _structure(name, found)
    rows += [_geometry(kind, found) for kind, found in (results.get("geometry") or {}).items()]
    if results.get("slice"):
        rows += _slice(results["slice"])
    if results.get("rebuild"):
        rows += _rebuild(results["rebuild"])
    return rows


def _annealing(found: Mapping[str, Any]) -> list[Row]:
    best, plain = found["annealed"], found["plain"]
    share = numerals.percentage(best["largest_share"])
    note = f"{numerals.number(round(best['effective']))} of {numerals.number(found['particles'])} particles"
    rows = [
        Row(
            "ESS after annealing",
            numerals.percentage(best["ess_fraction"]),
            f"{note}, largest share {share}, Pareto k {_short(best['pareto_k'])}",
            f"{found['levels']} levels between the flow and the target; of the same flow's samples without "
            f"annealing {numerals.percentage(plain['ess_fraction'])}",
        )
    ]
    sides = found.get("ln_z")
    if sides:
        gap = numerals.number_with_error(sides["gap"], sides["gap_stderr"])
        forward = numerals.number_with_error(sides["forward"], sides["forward_stderr"])
        backward = numerals.number_with_error(sides["backward"], sides["backward_stderr"])
        rows.append(
            Row(
                "Gap of ln Z",
                gap,
                f"from the flow {forward}, back from frames {backward}",
                "what the two sides disagree by: parts of the target that one of them does not see",
            )
        )
    return rows


def _structure(name: str, found: Mapping[str, Any]) -> list[Row]:
    against = f"against the {name}" + (" (learnt)" if found.get("learnt") else "")
    energies, known = found["energies"], found["reference_energies"]
    distortion, floor = found["distortion"], found["distortion_floor"]
    clash = numerals.percentage(energies["clashing"])
    return [
        Row(
            f"Clashes, {against}",
            clash,
            f"energy quantiles 2.5, 50, 97.5 %: {_quantiles(energies)} kT",
            f"share of samples 50 kT above the 97.5 % quantile of the reference, whose quantiles are "
            f"{_quantiles(known)}; reference: {found['reference']}",
        ),
        Row(
            f"Distance distortion, {against}",
            f"{distortion['of_means']:.3f} {ANGSTROM}",
            f"chains among themselves {floor['of_means']:.3f}",
            f"of mean backbone distances, of which a perfect model may show half of what chains do; as printed by "
            f"Kim et al. {distortion['printed']:.3f}, chains {floor['printed']:.3f}",
        ),
        Row(
            f"RMSF difference, {against}",
            f"{found['rmsf_difference']:.3f} {ANGSTROM}",
            f"error of the reference {found['rmsf_stderr']:.3f}",
            "mean over residues, of CA atoms",
        ),
        Row(
            f"W2 of distances, {against}",
            f"{found['w2']:.3g} {ANGSTROM}\N{SUPERSCRIPT TWO}",
            f"data against data {found['w2_floor']:.3g}",
            "squared Wasserstein distance of Gaussian fits to backbone distances",
        ),
        *_rotamers(against, found.get("lost_rotamers")),
    ]


def _rotamers(against: str, found: Mapping[str, Any] | None) -> list[Row]:
    """The torsions that lost most; no row where nothing was compared, as in older runs."""
    if found is None:
        return []
    worst = list(found["torsions"].items())[:MOST_NAMED]
    named = ", ".join(
        f"{name} {numerals.percentage(each['share'])} ({numerals.percentage(each['floor'])})"
        for name, each in worst
    )
    return [
        Row(
            f"Torsions with lost rotamers, {against}",
            f"{found['n_lost']} of {found['n_torsions']}",
            named or "no torsion lost 1 %",
            "by torsion the share of the reference in bins of 30 degrees where samples have less than a fifth of "
            "it; in brackets what a chain loses to the others on average. A torsion counts where most of all "
            f"{found['chains']} chains lose more than 5 % to the samples, and more than to each other",
        )
    ]


def _geometry(kind: str, found: Mapping[str, Any]) -> Row:
    worst = ", ".join(f"{name} {value:.2f}" for name, value in list(found["worst"].items())[:3])
    return Row(
        f"{kind.capitalize()} against the dynamics",
        f"{found['median']:.3f}",
        f"chains among themselves {found['floor_median']:.3f}",
        f"median of the {found['measure']} distance over {found['number']} {kind}, largest {found['largest']:.2f} "
        f"({found['floor_largest']:.2f} among chains); the worst: {worst}. Of two halves of the chains, so that a "
        "perfect model may show half",
    )


def _nll(found: Mapping[str, Any]) -> list[Row]:
    rows = []
    for name, each in found.items():
        if name == "measure":
            continue
        value = numerals.number_with_error(each["value"], each["stderr"])
        note = f"of the base alone {each['base']:.1f}; {each['chains']} chains set aside"
        rows.append(Row(f"NLL, {name}", value, note, f"mean of -ln q in {found['measure']}"))
    return rows


def _slice(found: Mapping[str, Any]) -> list[Row]:
    slow = ", ".join(f"{name} ({r:.2f})" for name, r in list(found["slow"].items())[:4])
    locked = ", ".join(found["locked"]) or "none"
    rows = [
        Row(
            "R-hat of chains on the slice",
            f"{found['r_hat']:.3f}",
            found["r_hat_of"],
            f"largest over kept coordinates and {found['chains']} ladders, need 1.05; {found['n_slow']} above it: "
            f"{slow or 'none'}; locked: {locked}; over replicas {_short(found['r_hat_walkers'])}; "
            f"{found.get('distinct_starts')} starts",
        )
    ]
    if "target" in found:
        coldest, hottest = found["turned_back"][0], found["turned_back"][-1]
        rows.append(
            Row(
                "Turned back at the edge of the target",
                numerals.percentage(coldest),
                f"at {found['temperatures'][-1]:.0f} K {numerals.percentage(hottest)}",
                f"share of the trajectories on the slice that energies would accept and that end outside; "
                f"{found['target']}",
            )
        )
    return rows


def _rebuild(found: Mapping[str, Any]) -> list[Row]:
    rmsd = found["rmsd"]
    return [
        Row(
            "Rebuilt frames",
            f"{rmsd['all'][0]:.2f} {ANGSTROM}",
            f"backbone {rmsd['backbone'][0]:.2f}, heavy atoms {rmsd['heavy'][0]:.2f}",
            f"RMSD with {found['kept']} of {found['all']} coordinates; "
            f"{numerals.percentage(found['clashing'])} of {found['frames']} frames rise by 100 kcal/mol or more",
        )
    ]


def _quantiles(found: Mapping[str, Any]) -> str:
    q: Sequence[float | None] = found["quantiles"]
    return ", ".join(_short(each) for each in (q[0], q[2], q[4]))


def _short(value: float | None) -> str:
    return "infinite" if value is None else numerals.number(value)
