"""All atoms of a protein in one shot, stage by stage of the training (Noe et al. 2019, Fig. 5).

A run of `jbg run protein --coordinates mixed`, and for the flow as it stands at the end of each stage: energies of
samples by quantiles beside those of simulated chains that training never saw, the share within three standard
deviations of their mean and the share that clashes, samples with a torsion beyond a turn, and how far the
distributions of bonds, angles and torsions are from the simulation's, with what its chains show among themselves.
One figure of the energies, ten structures, `fig5.json`.

    python experiments/noe2019/fig5.py --pdb experiments/kim2023/structures/chignolin_1uao_exp.pdb --out runs/fig5
    python experiments/noe2019/fig5.py --scale paper --dry-run

Without --pdb it is BPTI in the force field of the paper (99SB-ILDN with OBC1). The paper has 120 ns of dynamics
and 3e7 energies, ten hours of a GTX 1080; ``--scale small`` has 1 ns and 2.6e5, ``paper`` needs a GPU. With
``--network realnvp`` it is the paper's generator, with ``--schedule published`` its twelve stages by energy. An
interrupted run resumes where it was saved last.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from chain_table import chain_rows

from jbg import plotting, runs
from jbg.analysis import energy_shares
from jbg.interfaces import ConfigError
from jbg.reweighting import ess_fraction
from jbg.runs import environment
from jbg.runs.trajectory import save_trajectory
from jbg.studies import engine
from jbg.studies.dataset import ASIDE, load_dataset
from jbg.studies.molecule.files import PDB
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.protein.geometry import geometry_report
from jbg.studies.protein.mixed_stages import mixed_stages
from jbg.studies.protein.observables import relabelled
from jbg.studies.protein.plan import minutes
from jbg.studies.protein.published import published_stages
from jbg.studies.protein.structure import MOST, Ensemble
from jbg.studies.study import Plan

BPTI = Path(__file__).parents[1] / "kim2023/structures/bpti_1bpi_exp.pdb"
PUBLISHED = ("amber99sbildn.xml", "amber99_obc.xml")
UNTRAINED = "untrained"
Scale = Literal["tiny", "small", "paper"]
Schedule = Literal["ours", "published"]
# chains, ns of each, fs of a time step (hydrogens are heavy), steps by energy
SIZES = {
    "tiny": (8, 0.001, 2.0, 20),
    "small": (16, 0.0625, 4.0, 2000),
    "paper": (16, 7.5, 4.0, 230_000),
}
# share of the energies of the published schedule
SHARES = {"tiny": 1e-4, "small": 0.2, "paper": 1.0}
Q = (0.025, 0.25, 0.5, 0.75, 0.975)


def plan_of(options: dict[str, Any], scale: Scale, seed: int, schedule: Schedule = "ours") -> Plan:
    """The plan of the run, its dynamics and training as long as the scale says.

    Args:
        options: of the study.
        scale: lengths.
        seed: of the run.
        schedule: stages of jbg, or those of the paper (`published_stages`).
    """
    plan = engine.make_plan("protein", seed=seed, coordinates="mixed", anneal=0, **options)
    chains, ns, fs, steps = SIZES[scale]
    md = replace(plan.data.dynamics.options, chains=chains, ns=ns, timestep_fs=fs)
    if scale == "tiny":
        md = replace(md, equilibrate_ps=0.2, stride_ps=0.02)
    data = replace(plan.data, dynamics=replace(plan.data.dynamics, options=md))
    if schedule == "published":
        return replace(plan, data=data, stages=published_stages("fig5", SHARES[scale]))
    stages = mixed_stages(
        plan.options.losses,
        steps=steps,
        variables=data.variables,
        on_line=plan.options.network == "realnvp",
    )
    return replace(plan, data=data, stages=stages)


def reference_of(run: runs.Run, problem: Any) -> Ensemble:
    """Frames of the chains set aside, exchangeable atoms named as samples name them."""
    data = load_dataset(run)
    data = data.where(data.role == ASIDE)
    data = relabelled(problem.coords, data)
    x = data.x.reshape(len(data.x), -1, 3)
    return Ensemble("dynamics", "frames set aside", x, data.u, data.chain)


def row_of(
    run: runs.Run, problem: Any, stage: str, known: Ensemble, n: int
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """The numbers of the flow at the end of a stage, the n samples they are of, and the energies of these.

    Args:
        run: trained.
        problem: of the run.
        stage: name of the stage, or UNTRAINED.
        known: frames set aside.
        n: samples.
    """
    if stage == UNTRAINED:
        params = problem.init(run.key("untrained"))
    else:
        params = engine.load_params(run, problem, stage)
    x, log_q, u = (np.asarray(a) for a in problem.drawn(run.key("fig5"), (params, ()), n))
    u = np.where(np.isfinite(log_q), u, np.inf).astype(float)
    mean, std = known.u.mean(), known.u.std()
    shares = energy_shares(u, known.u)
    few = x[np.isfinite(u)][: len(known.thinned(MOST).x)]
    topology = load_molecule(run).topology
    shown = geometry_report(few.reshape(len(few), -1, 3), known.thinned(MOST), topology)
    row = {
        "stage": stage,
        "energies_spent": spent(engine.plan_of(run), stage),
        "energy_quantiles_above_md_mean": [finite(q) for q in np.quantile(u - mean, Q)],
        "within_three_std": float((np.abs(u - mean) <= 3 * std).mean()),
        "clashing": shares.clashing,
        "invalid": float((~np.isfinite(u)).mean()),
        "ess_fraction": ess_fraction(np.where(np.isfinite(u), -u - log_q, -np.inf)),
        "geometry": shown.numbers["geometry"],
    }
    return row, x, u


def finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def spent(plan: Plan, stage: str) -> int:
    """Energies of training up to the end of a stage."""
    total = 0
    for each in plan.stages if stage != UNTRAINED else ():
        total += each.steps * sum(term.energies(each.batch_size) for term in each.losses)
        if each.name == stage:
            break
    return total


def text(rows: list[dict[str, Any]], known: dict[str, Any]) -> str:
    """The rows as a table in markdown."""
    head = ("stage", "energies", "median - MD mean, kT", "within 3 std %", "clash %", "invalid %", "bonds",
            "angles", "torsions")  # fmt: skip
    cells = [head, ["---"] * len(head)]
    for row in rows:
        middle = row["energy_quantiles_above_md_mean"][2]
        of = [row["geometry"][kind]["median"] for kind in ("bonds", "angles", "torsions")]
        cells.append(
            (row["stage"], f"{row['energies_spent']:.2g}", "infinite" if middle is None else f"{middle:.3g}",
             f"{100 * row['within_three_std']:.1f}", f"{100 * row['clashing']:.1f}",
             f"{100 * row['invalid']:.1f}", *(f"{value:.3f}" for value in of))
        )  # fmt: skip
    floors = [
        rows[-1]["geometry"][kind]["floor_median"] for kind in ("bonds", "angles", "torsions")
    ]
    cells.append(
        ("chains", "", f"0, std {known['std']:.3g}", "", "", "", *(f"{f:.3f}" for f in floors))
    )
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def compared(run: runs.Run, problem: Any, plan: Plan, n: int, out: Path) -> dict[str, Any]:
    """The numbers of all stages and chains; prints the table, draws the figure and writes ten structures.

    Args:
        run: trained.
        problem: of the run.
        plan: of the run.
        n: samples of each stage.
        out: folder.
    """
    known, rows, energies, x = reference_of(run, problem), [], {}, np.zeros(0)
    for stage in (UNTRAINED, *(each.name for each in plan.stages)):
        row, x, energies[stage] = row_of(run, problem, stage, known, n)
        rows.append(row)
    md = {
        "mean": float(known.u.mean()),
        "std": float(known.u.std()),
        "chains": len(np.unique(known.chain)),
    }
    print(text(rows, md))
    plotting.energies_by_stage(out / "fig5.png", stages=energies, reference=known.u)
    save_trajectory(out / "structures.pdb", x[:10], run.path / PDB)
    return {
        "rows": rows,
        "md": md,
        "chains": chain_rows(run),
        "device": environment.devices(),
        "versions": environment.versions(),
    }


def main(
    *,
    pdb: Path | None = None,
    sequence: str | None = None,
    forcefield: tuple[str, ...] = (),
    starts: Path | None = None,
    network: Literal["mlp", "realnvp"] = "mlp",
    strategy: Literal["nll", "by-energy", "own-samples"] = "by-energy",
    schedule: Schedule = "ours",
    scale: Scale = "small",
    seed: int = 0,
    n: int = 4000,
    dry_run: bool = False,
    out: Path = Path("runs/noe2019-fig5"),
) -> None:
    """Simulates, trains, and compares the flow at the end of each stage with chains set aside.

    Args:
        pdb: file of a protein; BPTI where neither it nor a sequence is given.
        sequence: a peptide in place of a file.
        forcefield: files of OpenMM; by default those of `jbg run protein`, and of the paper for BPTI.
        starts: frames that chains start from in turn; by default all start from the structure.
        network: mlp (spline flow) or realnvp (the paper's).
        strategy: losses of the stages, of the schedule of jbg.
        schedule: ours, or published (losses, weights and softening of the paper, of whose flow realnvp is one).
        scale: tiny (a check), small, or paper (a GPU).
        seed: of the run.
        n: samples of each stage.
        dry_run: say what it costs and end.
        out: folder of the run and of what is made from it.
    """
    bpti = pdb is None and sequence is None
    options: dict[str, Any] = {"network": network, "strategy": strategy}
    options |= {"sequence": sequence} if sequence else {"pdb": BPTI if bpti else pdb}
    if starts is not None:
        options["starts"] = starts
    if forcefield or bpti:
        options["forcefield"] = forcefield or PUBLISHED
    try:
        plan = plan_of(options, scale, seed, schedule)
        if schedule == "published":
            print(f"stages of the paper with {SHARES[scale]:g} of its energies", flush=True)
        print(
            f"{plan.data.atoms} atoms; energies: dynamics {plan.data.evaluations:.2g}, training "
            f"{spent(plan, plan.stages[-1].name):.2g}; about {minutes(plan) / 60:.1g} hours of one core",
            flush=True,
        )
        if dry_run:
            return
        run = engine.open_run(out / "run", plan)
        engine.simulate(run)
        problem = engine.load_problem(run)
        engine.train(run, problem=problem)
    except ConfigError as error:
        raise SystemExit(f"fig5: {error}") from None
    result = compared(run, problem, plan, n, out)
    asked = options | {name: str(options.get(name, "")) for name in ("pdb", "starts")}
    result |= {"options": asked, "schedule": schedule, "scale": scale, "seed": seed}
    (out / "fig5.json").write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    tyro.cli(main)
