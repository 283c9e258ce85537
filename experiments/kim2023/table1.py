"""Table 1 of Kim et al. 2023 (arXiv:2401.04246): architectures and losses on one molecule, each row with its floor.

Data are made once: dynamics of all atoms, and chains on the slice of the reduced coordinates (`jbg run protein`).
Every row trains on frames of the *dynamics*, rebuilt, as the paper does, stops by chains of their own, and is measured
on chains that neither saw. Likelihood rows are to be read against rebuilt frames, rows with energy against the slice:
both references stand in each row. All samples count; the paper drops those above the median, which is here too.

    python experiments/kim2023/table1.py --pdb chignolin.pdb --scale small --out runs/table1-chignolin
    python experiments/kim2023/table1.py --sequence ACE-ALA-NME --forcefield amber14-all.xml implicit/obc2.xml

A killed script goes on where it was. ``--rows`` and ``--seeds`` choose; ``published`` rows are copied from the paper and
never filled with numbers of another system.
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from jbg.flows import MLP, GatedAttention, SplineFlowConfig, SplitFlowConfig
from jbg.flows.split import baseline, count_parameters
from jbg.runs import Run
from jbg.runs import open_run as open_folder
from jbg.studies import engine
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.problem import Problem
from jbg.studies.protein.observables import heldout_nll, references
from jbg.studies.protein.plan import ProteinPlan
from jbg.studies.protein.problem import load_problem, tokens_of
from jbg.studies.protein.source import load_coordinates
from jbg.studies.protein.stages import Strategy, make_stages
from jbg.studies.protein.structure import Ensemble, compared
from jbg.studies.training_run import train_stages
from jbg.units import kt_in_kcal

PUBLISHED = {
    "alanine dipeptide": {
        "nsf-nll": {"distortion": 0.09, "energy": [-11.9, 6.1], "nll": 38.29},
        "attention-nll": {"distortion": 0.08, "energy": [-11.8, 6.5], "nll": 36.15},
        "attention-nll-kl": {"distortion": 0.05, "energy": [-12.0, 5.9], "nll": 38.66},
        "attention-nll-w2": {"distortion": 0.04, "energy": [-10.6, 7.4], "nll": 38.12},
        "attention-all": {"distortion": 0.03, "energy": [-13.1, 5.2], "nll": 37.67},
    },
    "protein G": {
        "nsf-nll": {"distortion": 2.92, "energy": [2.15e10, 3.31e10], "nll": -263.46},
        "attention-nll": {"distortion": 1.81, "energy": [9.47e8, 15.4e8], "nll": -310.11},
        "attention-nll-kl": {"distortion": 16.09, "energy": [286, 62], "nll": -308.68},
        "attention-nll-w2": {"distortion": 0.18, "energy": [2.68e6, 4.31e6], "nll": -307.17},
        "attention-all": {"distortion": 0.19, "energy": [-304, 124], "nll": -309.10},
    },
    "HP35": {
        "nsf-nll": {"distortion": 0.81, "energy": [7.78e7, 17.4e7], "nll": 687.95},
        "attention-nll": {"distortion": 0.65, "energy": [5.29e6, 11.7e6], "nll": 651.90},
        "attention-nll-kl": {"distortion": 0.61, "energy": [646, 1430], "nll": 678.38},
        "attention-nll-w2": {"distortion": 0.38, "energy": [1.15e7, 1.76e7], "nll": 678.31},
        "attention-all": {"distortion": 0.39, "energy": [-466, 352], "nll": 667.45},
    },
}
Scale = Literal["tiny", "small", "paper"]
# couplings of backbone and of all, width of tokens, steps by example, batch, samples
SCALES: dict[Scale, tuple[int, int, int, int, int, int]] = {
    "tiny": (2, 2, 16, 20, 32, 200),
    "small": (10, 4, 64, 1500, 64, 4000),
    "paper": (48, 10, 128, 200_000, 256, 1_000_000),
}
RATE = {"attention": 2e-3, "nsf": 1e-3, "mlp": 1e-3}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments:
    """Which molecule, which rows."""

    pdb: Path | None = None
    """PDB file of one molecule."""
    sequence: str | None = None
    """Sequence instead of a file."""
    forcefield: tuple[str, ...] = ("amber14-all.xml", "implicit/obc2.xml")
    """Force field files of OpenMM."""
    scale: Scale = "small"
    """tiny (minutes, a check), small (10 + 4 couplings) or paper (48 + 10; a GPU)."""
    rows: tuple[str, ...] = ("nsf-nll", "attention-nll", "attention-nll-kl", "attention-nll-w2", "attention-all")
    """Rows: architecture (nsf, attention, mlp) and losses (nll, nll-kl, nll-w2, all, own-samples)."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of each row."""
    steps: int = 0
    """Steps by example; 0 for those of the scale."""
    within: float = 0.0
    """Largest backbone RMSD in nm from the structure given; 0 for any."""
    data_seed: int = 0
    """Seed of the simulations."""
    preset: Literal["quick", "full"] = "quick"
    """Size of the simulations."""
    out: Path = Path("runs/table1")
    """Folder."""
    quiet: bool = False
    """No progress bars."""


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    plan = plan_of(arguments)
    run = engine.open_run(arguments.out / "data", plan)
    engine.simulate(run, quiet=arguments.quiet)
    rows = open_folder(arguments.out / "rows", {"study": "table1", "scale": arguments.scale})
    for name in arguments.rows:
        for seed in arguments.seeds:
            found = arguments.out / f"{name}-{seed}.json"
            if not found.exists():
                number = make_row(arguments, plan, run, rows, name, seed)
                found.write_text(json.dumps(number, indent=1))
    print(table(arguments))


def plan_of(arguments: Arguments) -> ProteinPlan:
    options = {"pdb": arguments.pdb, "sequence": arguments.sequence, "forcefield": arguments.forcefield}
    plan = engine.make_plan(
        "protein",
        preset=arguments.preset,
        seed=arguments.data_seed,
        learn="dynamics",
        within=arguments.within,
        anneal=0,
        **options,
    )
    if arguments.scale != "tiny":
        return plan
    md = dataclasses.replace(plan.data.dynamics.options, chains=8, ns=0.001, equilibrate_ps=0.2)
    ladder = dataclasses.replace(plan.data.ladder, n_rounds=40, n_burn_in=20, block=20, n_ladders=8)
    dynamics = dataclasses.replace(plan.data.dynamics, options=md, block=6)
    data = dataclasses.replace(plan.data, dynamics=dynamics, ladder=ladder)
    sampling = dataclasses.replace(plan.sampling, batch=100)
    return dataclasses.replace(plan, data=data, sampling=sampling)


def row_plan(
    arguments: Arguments, plan: ProteinPlan, run: Run, name: str, seed: int
) -> ProteinPlan:
    """The plan with the flow and the stages of a row."""
    backbone, joint, width, steps, batch, _ = SCALES[arguments.scale]
    architecture, strategy = name.split("-", 1)
    attention = SplitFlowConfig(
        n_backbone_couplings=backbone,
        n_joint_couplings=joint,
        conditioner=GatedAttention(width=width, dropout=0.1 if arguments.scale == "paper" else 0.0),
        floor=1e-3,
        seed=seed,
    )
    molecule = load_molecule(run)
    flow: SplitFlowConfig | SplineFlowConfig = attention
    if architecture == "nsf":
        flow = baseline(tokens_of(load_coordinates(run, molecule), molecule.topology), attention)
    elif architecture == "mlp":
        flow = SplineFlowConfig(
            n_blocks=4, n_circular_blocks=2, conditioner=MLP(hidden=(64, 64)), floor=1e-2, seed=seed
        )
    size = batch if architecture == "attention" else 4 * batch
    stages = make_stages(
        _strategy(strategy), steps=arguments.steps or steps, batch=size, rate=RATE[architecture]
    )
    # energies and distances settle on what they ask for where nothing is chosen by likelihood afterwards
    return dataclasses.replace(plan, flow=flow, stages=stages)


def _strategy(name: str) -> Strategy:
    known: tuple[Strategy, ...] = ("nll", "nll-kl", "nll-w2", "all", "own-samples")
    for each in known:
        if name == each:
            return each
    raise SystemExit(f"rows: losses must be one of {', '.join(known)}, got {name!r}")


def make_row(
    arguments: Arguments, plan: ProteinPlan, run: Run, rows: Run, name: str, seed: int
) -> dict[str, Any]:
    """Trains one row and measures it.

    Args:
        arguments: of the script.
        plan: of the data.
        run: that has them.
        rows: folder of the trainings.
        name: of the row.
        seed: of the row.
    """
    own = row_plan(arguments, plan, run, name, seed)
    problem = load_problem(own, run)
    parameters, n = count_parameters(problem.flow.bijector), SCALES[arguments.scale][-1]
    cpu = time.process_time()
    stages = tuple(
        dataclasses.replace(stage, name=f"{name}-{seed}-{stage.name}") for stage in own.stages
    )
    params = train_stages(
        rows,
        stages,
        problem,
        problem.init(run.key(f"init {name} {seed}")),
        key=run.key(f"train {name} {seed}"),
        folder=f"{name}-{seed}",
        quiet=arguments.quiet,
    )
    trained = time.process_time() - cpu
    numbers = measured(own, run, problem, params, n, seed)
    curve = [m for m in rows.metrics() if str(m.get("stage", "")).startswith(f"{name}-{seed}-")]
    return {
        "row": name,
        "seed": seed,
        "scale": arguments.scale,
        "parameters": parameters,
        "stages": [[s.name, s.steps, s.batch_size] for s in own.stages],
        "cpu_seconds_training": trained,
        "cpu_seconds_all": time.process_time() - cpu,
        "heldout_nll": [[m["step"], m["heldout_nll"]] for m in curve if "heldout_nll" in m],
        **numbers,
    }


def measured(
    plan: ProteinPlan, run: Run, problem: Problem, params: Any, n: int, seed: int
) -> dict[str, Any]:
    """Structures and energies against both references, and the likelihood of chains set aside.

    Args:
        plan: of the row.
        run: with the data.
        problem: of the row.
        params: trained.
        n: number of samples.
        seed: of the samples.
    """
    from types import SimpleNamespace

    x, log_q, u = problem.drawn(run.key(f"samples {seed}"), (params, ()), n)
    molecule = load_molecule(run)
    evidence: Any = SimpleNamespace(
        run=run, plan=plan, problem=problem, params=params, dataset=_dataset(run)
    )
    shaped = x.reshape(len(x), -1, 3)
    generated = Ensemble("generated", "samples", shaped, np.asarray(u, float), np.zeros(n, int))
    against = {
        key: compared(generated, reference, molecule.topology, molecule.positions, seed=seed)
        for key, reference in references(evidence).items()
    }
    finite = np.isfinite(u)
    log_w = np.where(finite, -u - log_q, -np.inf)
    w = np.exp(log_w - log_w.max())
    return {
        "samples": n,
        "ess": float(w.sum() ** 2 / np.sum(w**2) / n),
        "kt_in_kcal": kt_in_kcal(plan.options.temperature),
        "against": against,
        "nll": heldout_nll(evidence),
    }


def _dataset(run: Run) -> Any:
    from jbg.studies.dataset import load_dataset

    return load_dataset(run)


def table(arguments: Arguments) -> str:
    """The rows as text: means over seeds, each with the published one of the same system where there is one."""
    lines = ["row | distortion of means / A (floor) | printed (floor) | median u - slice / kT | clashes | NLL (base)"]
    for name in arguments.rows:
        files = sorted(arguments.out.glob(f"{name}-*.json"))
        found = [json.loads(f.read_text()) for f in files]
        found = [f for f in found if f["row"] == name]
        if not found:
            continue
        key = "slice" if "kl" in name or "all" in name or "own" in name else "dynamics"
        of = lambda get: np.array([get(f["against"][key]) for f in found])
        means = of(lambda a: a["distortion"]["of_means"]), of(lambda a: a["distortion_floor"]["of_means"])
        printed = of(lambda a: a["distortion"]["printed"]), of(lambda a: a["distortion_floor"]["printed"])
        middle = of(lambda a: a["energies"]["quantiles"][2] - a["reference_energies"]["quantiles"][2])
        clash = of(lambda a: a["energies"]["clashing"])
        nll = np.array([f["nll"]["dynamics"]["value"] for f in found])
        base = np.array([f["nll"]["dynamics"]["base"] for f in found])
        lines.append(
            f"{name} ({len(found)}), against the {key} | {_pm(means[0])} ({means[1].mean():.3f}) | {_pm(printed[0])} "
            f"({printed[1].mean():.3f}) | {_pm(middle)} | {_pm(clash)} | {_pm(nll)} ({base.mean():.1f})"
        )
    return "\n".join(lines)


def _pm(values: np.ndarray) -> str:
    spread = f" +- {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}"


if __name__ == "__main__":
    main()
