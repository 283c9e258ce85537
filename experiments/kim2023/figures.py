"""Figures 3 and 4 of Kim et al. 2023 (arXiv:2401.04246) from the rows that `table1.py` made.

fig3a: RMSF by residue. fig4a: maps of the torsions phi, psi and chi. fig4b: RMSD to the closest training frame.
fig4c: energies. chi: total variation of side-chain torsions, where there are any. figures.json: all numbers.

The paper draws its maps with UMAP, which distorts distances and densities. Ours are linear: principal components
of cosines and sines, or TICA with ``--projection tica``, fitted to training frames, so that an axis means the same
in every panel. Rows learned from the training frames; no training used the chains of the test frames. Structures
are of at most 2000 frames of each set, energies of all. Lengths in Angstrom, energies in kT, timescales in frames.

    python experiments/kim2023/figures.py --rows-in runs/table1-hp35 --data runs/hp35 --projection tica --lag 20
"""

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from published import PUBLISHED
from table1 import digest

from jbg import analysis
from jbg.analysis.energy_quantiles import CLASH
from jbg.coords import ReducedCoordinates, backbone_atoms, backbone_torsions
from jbg.coords.reduced_set import KINDS
from jbg.coords.torsions import rotor_torsions
from jbg.interfaces import ConfigError, Topology
from jbg.plotting.structure import few_powers
from jbg.plotting.style import REFERENCE, STATE_COLOURS, figure_file
from jbg.runs import Run, load_run
from jbg.studies import engine
from jbg.studies.dataset import ASIDE, LEARN, load_dataset
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.protein import observables, physics, problem, source
from jbg.studies.protein.structure import MOST, NM_TO_ANGSTROM, Ensemble, arrays_of, energies

DENSITY = {"slice": observables.SLICE, "dynamics": observables.MARGINAL}
STYLES = [{"color": c, "ls": s} for s, c in itertools.product(("-", "--", ":"), STATE_COLOURS)]
TRAINING = {"color": "#a0a0a0", "ls": "--", "zorder": 4}
FEW = 4  # CA atoms, below which the whole backbone is superposed
ANGSTROM, SHARE = "\N{ANGSTROM SIGN}", {"ylabel": "share of frames below", "ylim": (0, 1.02)}
Sets = dict[str, Ensemble]  # training, test and rows by name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments:
    """Which rows, which reference."""

    rows_in: Path
    """Folder that `table1.py` made."""
    data: Path | None = None
    """Run folder with the simulations; by default "data" in the folder of the rows."""
    reference: Literal["dynamics", "slice"] | None = None
    """Density of training and test frames; by default the one that the rows learned from."""
    seed_of_rows: int = 0
    """Seed of the rows that are drawn."""
    projection: Literal["pca", "tica"] = "pca"
    """Map of fig4a: pca (largest variance) or tica (slowest)."""
    lag: int = 10
    """Lag time of TICA in frames."""
    figures: Path | None = None
    """Folder for the figures; by default "figures" in the folder of the rows."""


def main() -> None:
    try:
        print(table(draw_all(tyro.cli(Arguments, description=__doc__))))
    except ConfigError as error:
        raise SystemExit(str(error)) from None


def draw_all(arguments: Arguments) -> dict[str, Any]:
    """Writes all files, and returns the numbers."""
    rows, asked = rows_of(arguments.rows_in, arguments.seed_of_rows)
    run = load_run(arguments.data or arguments.rows_in / "data")
    plan, molecule = engine.plan_of(run), load_molecule(run)
    if digest(plan) != asked.get("simulations"):
        raise SystemExit(f"{run.path} does not hold the data of these rows: give --data")
    coords = source.load_coordinates(run, molecule, asked["learn"])
    reference = arguments.reference or asked["learn"]
    known, stretch = simulated(run, coords, reference)
    folder = arguments.figures or arguments.rows_in / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    figures = Figures(folder, known | rows, molecule.topology, coords)
    parts = {
        "rmsf": figures.rmsf(),
        "map": figures.maps(stretch, arguments.lag if arguments.projection == "tica" else None),
        "novelty": figures.novelty(),
        "energies": figures.energies(),
        "chi": figures.side_chains(),
    }
    found = {name: {"reference": DENSITY[reference], **part} for name, part in parts.items()}
    found |= {"learned_from": DENSITY[asked["learn"]], "seed_of_rows": arguments.seed_of_rows}
    found["frames"] = {name: [len(e.x), len(e.u)] for name, e in (known | rows).items()}
    (folder / "figures.json").write_text(json.dumps(found, indent=1, default=np.ndarray.tolist))
    return found


def rows_of(folder: Path, seed: int) -> tuple[Sets, dict[str, Any]]:
    """Samples of a seed's rows with finite positions, energies of all, and the settings that rows share."""
    stored = {json.loads(f.read_text())["row"]: f for f in sorted(folder.glob(f"*-{seed}.json"))}
    if not stored:
        raise SystemExit(f"no row of seed {seed} in {folder}: make one with table1.py")
    found = {}
    for name in sorted(stored, key=[*PUBLISHED["HP35"], *stored].index):
        file = stored[name].with_suffix(".npz")
        if not file.exists():
            raise SystemExit(f"{file} is missing: delete {stored[name]} and run table1.py again")
        with np.load(file) as kept:
            x, u = kept["x"][np.isfinite(kept["x"]).all(1)], kept["u"].astype(float)
        x, chain = x.reshape(len(x), -1, 3), np.zeros(len(x), int)
        found[name] = Ensemble("generated", "samples", x, u, chain)
    return found, json.loads(stored[name].read_text())["asked"]


def simulated(run: Run, coords: ReducedCoordinates, reference: str) -> tuple[Sets, np.ndarray]:
    """Training and test frames in the target's region, and the unbroken stretch of each training frame in it."""
    molecule, plan = load_molecule(run), engine.plan_of(run)
    if reference == "dynamics":
        target = physics.target_of(run, molecule, plan.options)
        data = problem.rebuilt_dynamics(run, coords, target, roles=(LEARN, ASIDE))
    else:
        data = load_dataset(run)
    data = data.where(np.argsort(data.chain, kind="stable"))
    native, found = physics.near_start(molecule, plan.data.within), {}
    inside = np.ones(len(data.x), bool) if native is None else problem.inside_of(native)(data.x)
    stretch = np.cumsum(~inside | (np.diff(data.chain, prepend=-1) != 0))
    for name, role in (("training", LEARN), ("test", ASIDE)):
        part = data.where(inside & (data.role == role))
        if part.n_chains < 2:
            raise SystemExit(f"{run.path}: fewer than 2 {name} chains in the target: simulate more")
        x = part.x.reshape(len(part.x), -1, 3)
        found[name] = Ensemble(name, DENSITY[reference], x, part.u, part.chain)
    return found, stretch[inside & (data.role == LEARN)]


def torsions_of(coords: ReducedCoordinates, topology: Topology) -> tuple[Any, Any, list[str]]:
    """Atoms ``(m, 4)`` and symmetry numbers ``(m,)`` of phi, psi and chi torsions, and names of the latter.

    chi1, chi2 and so on are the kept side-chain torsions from CA outwards, of the Z-matrix: chi1 may count from C
    in place of N, a turn by a constant. Half a turn of a phenyl or a carboxylate exchanges like atoms: symmetry 2.
    """
    fit, n, backbone = coords.fit, topology.n_atoms, backbone_torsions(topology)
    fold = np.ones(n - 3, int)
    fold[fit.flip_lead] = 2
    for members in rotor_torsions(fit.zmatrix, fit.rotor_groups):
        fold[members] = len(members)
    side = np.flatnonzero(fit.kind == KINDS.index("side-chain torsion"))
    side = side[np.lexsort((fit.kept[side], fit.residue[side]))]
    at, t = fit.residue[side].tolist(), fit.kept[side] - (2 * n - 3)
    named = [f"{topology.residue_names[topology.residue_ids.index(r)]}{r + 1}" for r in at]
    chi = [f"chi{at[: i + 1].count(r)} {named[i]}" for i, r in enumerate(at)]
    quads = np.concatenate([backbone["phi"], backbone["psi"], np.stack(fit.zmatrix, 1)[t + 3]])
    return quads, np.concatenate([np.ones(len(quads) - len(t), int), fold[t]]), chi


class Figures:
    """Each method draws a figure of all sets (training and test frames, rows) and returns its numbers."""

    def __init__(self, folder: Path, every: Sets, topology: Topology, coords: ReducedCoordinates):
        self.folder, self.every, self.topology = folder, every, topology
        self.rows = [name for name, e in every.items() if e.name == "generated"]
        self.sets = {n: e._replace(u=e.u[: len(e.x)]).thinned(MOST) for n, e in every.items()}
        self.training, self.test = self.sets["training"], self.sets["test"]
        self.quads, self.folds, self.chi = torsions_of(coords, topology)
        styles = [TRAINING, {"color": REFERENCE, "zorder": 3}, *STYLES]
        self.lines = {n: {"label": n} | style for n, style in zip(every, styles, strict=False)}

    @contextlib.contextmanager
    def panel(self, name: str, width: float = 6.4, **axes: Any) -> Iterator[Axes]:
        """Axes with labels and a legend."""
        with figure_file(self.folder / name, width, 4.2) as figure:
            ax = figure.subplots()
            yield ax
            ax.set(**axes)
            ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)

    def shares(self, ax: Axes, name: str, values: np.ndarray) -> None:
        """Share of a set below each value; those that are not finite are the highest."""
        v, share = np.sort(values[np.isfinite(values)]), np.arange(1, len(values) + 1) / len(values)
        ax.plot(v, share[: len(v)], **self.lines[name])

    def rmsf(self) -> dict[str, Any]:
        """Of CA atoms by residue, of the test frames with half of the 95 % interval."""
        found = {n: arrays_of(self.sets[n], self.test, self.topology) for n in ("test", *self.rows)}
        names = [f"rmsf_{what}" for what in ("residue", "reference", "reference_half")]
        residue, known, half = (found["test"][name] for name in names)
        values = {name: arrays["rmsf_generated"] for name, arrays in found.items()}
        axes = {"xlabel": "residue", "ylabel": f"RMSF of CA / {ANGSTROM}", "ylim": (0, None)}
        with self.panel("fig3a.png", **axes) as ax:
            ax.fill_between(residue, known - half, known + half, color=REFERENCE, alpha=0.15, lw=0)
            for name, value in values.items():
                ax.plot(residue, value, marker="o", ms=3, **self.lines[name])
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        return {"residue": residue, "test_half_of_95_percent": half, "sets": values}

    def features(self, x: np.ndarray) -> np.ndarray:
        """Cosines and sines of the torsions of frames, in pieces."""
        pieces = (x[i : i + MOST] for i in range(0, len(x), MOST))
        angles = np.concatenate([analysis.torsions(piece, self.quads) for piece in pieces])
        return analysis.torsion_features(angles * self.folds)

    def maps(self, stretch: np.ndarray, lag: int | None) -> dict[str, Any]:
        """Two components fitted to training frames; for a lag time, TICA within each ``stretch``."""
        if lag is not None:
            fit = analysis.fit_tica(self.features(self.every["training"].x), stretch, lag)
            numbers = np.nan_to_num(analysis.implied_timescales(fit, lag))
            labels = [f"TIC {i} ({t:.0f} frames)" for i, t in enumerate(numbers, 1)]
        else:
            fit = analysis.fit_pca(known := self.features(self.training.x))
            numbers = fit.values / known.var(0, ddof=1).sum()
            labels = [f"PC {i} ({share:.0%} of variance)" for i, share in enumerate(numbers, 1)]
        points = {name: fit.of(self.features(e.x)) for name, e in self.sets.items()}
        compare = lambda x: analysis.map_overlap(x, points["test"], self.test.chain)._asdict()
        found = {name: compare(points[name]) for name in ("training", *self.rows)}
        title = "overlap {overlap:.2f}, floor {floor_overlap:.2f}".format
        second = {name: title(**overlap) for name, overlap in found.items()}
        with figure_file(self.folder / "fig4a.png", 0.5 + 2.2 * len(points), 2.9) as figure:
            axes = figure.subplots(1, len(points), sharex=True, sharey=True)
            for ax, (name, x) in zip(axes, points.items(), strict=True):
                ax.scatter(*points["training"].T, s=3, color="#dadada", lw=0)
                ax.scatter(*x.T, s=3, color=self.lines[name]["color"], alpha=0.6, lw=0)
                ax.set_title(f"{name}\n{second.get(name, 'reference')}", fontsize=9)
            axes[0].set_ylabel(labels[1])
            figure.supxlabel(labels[0], fontsize=10)
        return {"lag": lag, "timescales" if lag else "variance_shares": numbers, "sets": found}

    def novelty(self) -> dict[str, Any]:
        """RMSD to the closest training frame, of CA atoms or, where these are few, of the backbone."""
        alpha = np.flatnonzero(np.array(self.topology.atom_names) == "CA")
        which = "CA" if len(alpha) >= FEW else "backbone"
        atoms = alpha if which == "CA" else np.array(sorted(backbone_atoms(self.topology)))
        x = {name: NM_TO_ANGSTROM * e.x[:, atoms] for name, e in self.sets.items()}
        known, label = x["training"], f"{which} RMSD to the closest training frame / {ANGSTROM}"
        with self.panel("fig4b.png", xlabel=label, xlim=(0, None), **SHARE) as ax:
            for name in ("test", *self.rows):
                self.shares(ax, name, analysis.nearest_rmsd(x[name], known))
        compare = lambda new: analysis.novelty(new, known, x["test"], heldout_chain=self.test.chain)
        found = {name: compare(x[name])._asdict() for name in self.rows}
        return {"atoms": which, "training_frames": len(known), "sets": found}

    def energies(self) -> dict[str, Any]:
        """Quantiles and shares that clash, of all energies."""
        known, u = self.every["test"], self.every["test"].u
        low, middle, high, top = np.quantile(u[np.isfinite(u)], (0.0, 0.5, 0.75, 0.975))
        linear = max(100.0, 10 ** np.ceil(np.log10(4 * (high - middle))))
        axes = {"xlabel": "energy above the median of test frames / kT", **SHARE}
        with self.panel("fig4c.png", **axes, xlim=(1.5 * (low - middle), None)) as ax:
            for name, e in self.every.items():
                self.shares(ax, name, e.u - middle)
            ax.axvline(top - middle + CLASH, color="#666666", lw=1.0, ls=":", label="clashes above")
            ax.set_xscale("symlog", linthresh=linear, linscale=3.0)
            few_powers(ax)
        return {"sets": {name: energies(e, known) for name, e in self.every.items()}}

    def side_chains(self) -> dict[str, Any]:
        """Total variation of the histogram of each side-chain torsion from that of the test frames."""
        n = len(self.chi)
        if not n:
            return {"torsions": [], "sets": {}}
        quads, folds, chain = self.quads[-n:], self.folds[-n:], self.test.chain
        angles = {name: analysis.torsions(e.x, quads) for name, e in self.sets.items()}
        distance = lambda x: analysis.torsion_distance(x, angles["test"], chain, folds=folds)
        found = {name: distance(angles[name])._asdict() for name in self.rows}
        floor, at = np.mean([tv["floor"] for tv in found.values()], 0), np.arange(n)
        axes = {"ylabel": "total variation", "ylim": (0, None)}
        with self.panel("chi.png", max(5.6, 1.5 + 0.24 * min(n, 68)), **axes) as ax:
            ax.hlines(floor, at - 0.4, at + 0.4, color=REFERENCE, lw=1.2, label="floor")
            for i, (name, row) in enumerate(found.items()):
                style = self.lines[name] | {"ls": "none", "marker": "o", "ms": 4, "clip_on": False}
                ax.plot(at + 0.1 * (i - (len(found) - 1) / 2), row["total_variation"], **style)
            ax.set_xticks(at, self.chi, rotation=90, fontsize=8)
        return {"torsions": self.chi, "symmetry_numbers": folds, "sets": found}


def table(found: dict[str, Any]) -> str:
    """Numbers of each row, floors in brackets."""
    text = [
        f"reference: {found['map']['reference']}",
        "row | on the map: overlap, covered, beyond | RMSD to training frames / A | closer, farther | clashes",
    ]
    for name, new in found["novelty"]["sets"].items():
        at, u = found["map"]["sets"][name], found["energies"]["sets"][name]
        shares = [f"{at[k]:.3f} ({at[f'floor_{k}']:.3f})" for k in ("overlap", "covered", "beyond")]
        text.append(
            f"{name} | {', '.join(shares)} | {new['median']:.2f} ({new['heldout_median']:.2f}) | "
            f"{new['closer']:.3f}, {new['farther']:.3f} (0.025) | {u['clashing']:.4f}"
        )
    return "\n".join(text)


if __name__ == "__main__":
    main()
