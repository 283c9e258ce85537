"""Table 1 of Kim et al. 2023 (arXiv:2401.04246): architectures and losses on one molecule, each row with floors.

Data are made once: dynamics of all atoms, and chains on the slice of the reduced coordinates (`jbg run protein`).
Rows train on frames of the *dynamics*, rebuilt, as the paper does (``--learn slice`` on those of the slice), stop
by chains of their own, and are measured on chains that neither saw. Likelihood aims at rebuilt frames, energies at
the slice, tens of kT lower; a row with both settles between the two where it learns from the dynamics, as the
paper's do. Both references stand in each file. All samples count; the statistic below the median is there too.

    python experiments/kim2023/table1.py --pdb chignolin.pdb --scale small --out runs/table1-chignolin
    python experiments/kim2023/table1.py --sequence ACE-ALA-NME --published "alanine dipeptide"

A killed script resumes. Published rows are copied from the paper and never filled with numbers of another system.
"""

import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import Any, Literal, get_args

import tyro
from measured import measured
from published import table

from jbg.flows import GatedAttention, SplineFlowConfig, SplitFlowConfig
from jbg.flows.split import baseline, count_parameters
from jbg.interfaces import ConfigError
from jbg.runs import Run, load_run
from jbg.runs import open_run as open_folder
from jbg.studies import engine
from jbg.studies.molecule.dynamics import langevin_plan
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.protein.plan import ProteinPlan, flow_settings
from jbg.studies.protein.problem import load_problem, tokens_of
from jbg.studies.protein.source import load_coordinates
from jbg.studies.protein.stages import Strategy, make_stages
from jbg.studies.training_run import train_stages

Scale = Literal["tiny", "small", "deep", "paper"]
# couplings of backbone and of all, width of tokens, steps by example, batch, samples
SCALES: dict[Scale, tuple[int, int, int, int, int, int]] = {
    "tiny": (2, 2, 16, 20, 32, 200),
    "small": (10, 4, 64, 1500, 64, 4000),
    "deep": (48, 10, 64, 1500, 64, 4000),
    "paper": (48, 10, 128, 200_000, 256, 1_000_000),
}
RATE = {"attention": 2e-3, "nsf": 1e-3, "mlp": 1e-3}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments:
    """Which molecule, which rows."""

    data: Path | None = None
    """Folder of a `jbg run protein` whose simulations are used, in place of the options of these."""
    pdb: Path | None = None
    """PDB file of one molecule."""
    sequence: str | None = None
    """Sequence instead of a file."""
    forcefield: tuple[str, ...] = ("amber14-all.xml", "implicit/obc2.xml")
    """Force field files of OpenMM."""
    scale: Scale = "small"
    """tiny (a check), small (10 + 4 couplings), deep (48 + 10, as narrow) or paper (48 + 10; a GPU). Rows of mlp
    differ in their steps alone."""
    rows: tuple[str, ...] = (
        "nsf-nll",
        "attention-nll",
        "attention-nll-kl",
        "attention-nll-w2",
        "attention-all",
    )
    """Rows: architecture (nsf, attention, mlp: that of `jbg run protein`) and losses (its --strategy)."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of each row."""
    steps: int = 0
    """Steps by example; 0 for those of the scale."""
    within: float = 0.0
    """Largest backbone RMSD in nm from the structure given; 0 for any."""
    learn: Literal["dynamics", "slice"] = "dynamics"
    """Data of all rows: dynamics (as in the paper) or slice."""
    published: str = ""
    """System of the paper whose rows are printed beside: alanine dipeptide, protein G or HP35."""
    data_seed: int = 0
    """Seed of the simulations."""
    preset: Literal["tiny", "quick", "full"] = "quick"
    """Size of the simulations: tiny (8 chains of 1 ps, a check), or those of `jbg run protein`."""
    ns: float = 0.0
    """Nanoseconds of the dynamics of each chain; 0 for those of the preset."""
    out: Path = Path("runs/table1")
    """Folder."""
    quiet: bool = False
    """No progress bars."""


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    plan, run = simulated(arguments)
    settings = {"study": "table1", "seed": plan.seed, **asked(arguments, plan)}
    rows = open_folder(arguments.out / "rows", settings)
    for name in arguments.rows:
        for seed in arguments.seeds:
            file = arguments.out / f"{name}-{seed}.json"
            own = row_plan(arguments, plan, run, name, seed)
            wanted = asked(arguments, plan) | {"network": digest_of(dataclasses.asdict(own.flow))}
            if not file.exists():
                row = {"asked": wanted, **make_row(arguments, own, run, rows, name, seed)}
                file.write_text(json.dumps(row, indent=1))
            kept = json.loads(file.read_text())
            if kept["asked"] != wanted:
                raise SystemExit(f"{file} was made with {kept['asked']}: choose another --out")
    print(table(arguments.out, arguments.rows, arguments.published))


def simulated(arguments: Arguments) -> tuple[ProteinPlan, Run]:
    """The plan of the data, and the folder that holds them."""
    if arguments.data is None:
        plan = plan_of(arguments)
        run = engine.open_run(arguments.out / "data", plan)
        engine.simulate(run, quiet=arguments.quiet)
        return plan, run
    try:
        run = load_run(arguments.data)
    except ConfigError as error:
        raise SystemExit(str(error)) from None
    if not run.stage_done("simulate"):
        raise SystemExit(f"{arguments.data} has no data yet: run `jbg simulate` there first")
    plan = engine.plan_of(run)
    if arguments.learn == "slice" and plan.options.learnt != "slice":
        raise SystemExit(
            f"{arguments.data} was made with --learn dynamics: rows learn from those only"
        )
    options = dataclasses.replace(plan.options, learn=arguments.learn)
    return dataclasses.replace(plan, options=options), run


def asked(arguments: Arguments, plan: ProteinPlan) -> dict[str, Any]:
    """What a row follows from beside its name and its seed."""
    simulations = {"within": plan.data.within, "data_seed": plan.seed, "simulations": digest(plan)}
    return {name: getattr(arguments, name) for name in ("scale", "steps", "learn")} | simulations


def digest(plan: ProteinPlan) -> str:
    """Of all settings that the simulations follow from, the molecule among them."""
    return digest_of([plan.seed, dataclasses.asdict(plan.data)])


def digest_of(settings: Any) -> str:
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plan_of(arguments: Arguments) -> ProteinPlan:
    options = {
        "pdb": arguments.pdb,
        "sequence": arguments.sequence,
        "forcefield": arguments.forcefield,
    }
    plan = engine.make_plan(
        "protein",
        preset="full" if arguments.preset == "full" else "quick",
        seed=arguments.data_seed,
        learn=arguments.learn,
        within=arguments.within,
        anneal=0,
        **options,
    )
    md, ladder, tiny = plan.data.dynamics.options, plan.data.ladder, arguments.preset == "tiny"
    if tiny:
        md = dataclasses.replace(md, chains=8, ns=0.001, equilibrate_ps=0.2, stride_ps=0.02)
        sizes = {"n_rounds": 40, "n_burn_in": 20, "block": 20, "stride": 2, "n_ladders": 8}
        ladder = dataclasses.replace(ladder, **sizes)
    if arguments.ns:
        md = dataclasses.replace(md, ns=arguments.ns)
    known = plan.data
    dynamics = langevin_plan(md, seed=plan.seed, atoms=known.atoms, sha256=known.sha256)
    data = dataclasses.replace(known, dynamics=dynamics, ladder=ladder)
    sampling = dataclasses.replace(plan.sampling, batch=100) if tiny else plan.sampling
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
        flow = baseline(
            tokens_of(load_coordinates(run, molecule, plan.options.learnt), molecule.topology),
            attention,
        )
    elif architecture == "mlp":
        flow = dataclasses.replace(flow_settings("mlp"), seed=seed)
    size = batch if architecture == "attention" else 4 * batch
    stages = make_stages(
        _strategy(strategy),
        steps=arguments.steps or steps,
        batch=size,
        rate=RATE[architecture],
        of_target=arguments.learn == "slice",
    )
    return dataclasses.replace(plan, flow=flow, stages=stages)


def _strategy(name: str) -> Strategy:
    known: tuple[Strategy, ...] = get_args(Strategy)
    for each in known:
        if name == each:
            return each
    raise SystemExit(f"rows: losses must be one of {', '.join(known)}, got {name!r}")


def make_row(
    arguments: Arguments, own: ProteinPlan, run: Run, rows: Run, name: str, seed: int
) -> dict[str, Any]:
    """Trains one row and measures it.

    Args:
        arguments: of the script.
        own: plan of the row.
        run: that has them.
        rows: folder of the trainings.
        name: of the row.
        seed: of the row.
    """
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
    clock = rows.path / f"cpu-{name}-{seed}.json"  # of earlier sittings too
    before = json.loads(clock.read_text()) if clock.exists() else 0.0
    trained = before + time.process_time() - cpu
    clock.write_text(json.dumps(trained))
    numbers = measured(own, run, problem, params, n, seed, arguments.out / f"{name}-{seed}.npz")
    curve = [m for m in rows.metrics() if str(m.get("stage", "")).startswith(f"{name}-{seed}-")]
    return {
        "row": name,
        "seed": seed,
        "scale": arguments.scale,
        "parameters": parameters,
        "stages": [[s.name, s.steps, s.batch_size] for s in own.stages],
        "examples_seen": sum(s.steps * s.batch_size for s in own.stages),
        "cpu_seconds_training": trained,
        "heldout_nll": [[m["step"], m["heldout_nll"]] for m in curve if "heldout_nll" in m],
        **numbers,
    }


if __name__ == "__main__":
    main()
