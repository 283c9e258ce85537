"""The table of the field: capped alanines in AMBER ff96 + OBC1 at 300 K, as published, from energies or from data.

    python experiments/alanine/field.py --peptides ala2 ala4 ala6 --energies 1e8 --out runs/field

``ala2`` is ACE-ALA-NME, ``ala4`` ACE-(ALA)3-NME, ``ala6`` ACE-(ALA)5-NME. Each row has its run folder: a finished
one is read back, an interrupted one is resumed. From energies alone the stages are those of ``--data none --preset
full``, with batches of ``--batch`` and as many steps as ``--energies`` allow; from data they are those of the
preset. Then n samples are streamed (phi, ln q and u are kept) and reported with their weights, all of them: ESS
plain and with the largest 1e-4 of the weights clipped as published, Pareto k, the largest share, and for every k
F(phi_k > 0) - F(phi_k < 0) with its error, or the reason why there is none. No choice uses a reference.

Published, from energies alone (von Klitzing et al. 2025, arXiv:2510.18460, Table 1; ESS clipped, n = 1e7): CMT
97.69, 68.60 and 29.63 % with 1e8, 1e8 and 4e8 energies.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro

import jbg
from jbg import analysis, reweighting
from jbg.coords import backbone_torsions, torsions_of
from jbg.flows import MLP
from jbg.runs import Run, adopt, environment, storage
from jbg.sampling.generate import generate
from jbg.studies import engine
from jbg.studies.dataset import load_dataset
from jbg.studies.molecule.states import named_torsions
from jbg.studies.study import Plan
from jbg.training import Stage

FORCEFIELD = ("amber96.xml", "implicit/obc1.xml")
PEPTIDES = {f"ala{n + 1}": "-".join(["ACE", *["ALA"] * n, "NME"]) for n in (1, 3, 5)}
PUBLISHED = {"ala2": (0.9769, 1e8), "ala4": (0.6860, 1e8), "ala6": (0.2963, 4e8)}
STREAMED = "streamed"


def budgeted(stages: tuple[Stage, ...], energies: float, batch: int) -> tuple[Stage, ...]:
    """The stages with larger batches, each with its share of the energies."""
    largest = max(stage.batch_size for stage in stages)
    total = sum(stage.energy_evaluations for stage in stages)

    def scaled(stage: Stage) -> Stage:
        size = batch * stage.batch_size // largest
        steps = energies * stage.energy_evaluations / total / size
        every = stage.eval_every or stage.log_every
        return dataclasses.replace(
            stage, batch_size=size, steps=max(1, round(steps / every)) * every
        )

    return tuple(scaled(stage) for stage in stages)


def base_plan(peptide: str, source: str, options: "Options") -> Plan:
    """The study as the command line makes it; its data are those of every row."""
    return jbg.make_plan(
        "molecule",
        preset=options.preset,
        seed=options.seed,
        sequence=PEPTIDES[peptide],
        forcefield=FORCEFIELD,
        data="none" if source == "energies" else "simulated",
    )


def plan_of(plan: Plan, source: str, options: "Options") -> Plan:
    """The plan of a row: the sizes of its flow, of its batches and of its training."""
    flow = dataclasses.replace(
        plan.spline_flow,
        n_blocks=options.blocks,
        conditioner=MLP(hidden=(options.hidden, options.hidden)),
        unroll=1,
    )
    if source == "energies":
        stages = budgeted(plan.stages, options.energies, options.batch)
        plan = dataclasses.replace(plan, stages=stages)
    sampling = dataclasses.replace(plan.sampling, batch=options.draw)
    return dataclasses.replace(plan, flow=flow, sampling=sampling)


def streamed(run: Run, n: int) -> tuple[np.ndarray, np.ndarray]:
    """phi ``(n, k)`` and log-weights ``(n,)`` of n samples of a trained run, and nothing else of them on disk."""
    problem = engine.load_problem(run)
    params = (engine.load_params(run, problem), ())
    whole, quads = problem.draw_at(1.0), backbone_torsions(problem.system.topology)["phi"]

    @jax.jit
    def draw(params, key):
        x, log_q, u = whole(params, key)
        return torsions_of(x.T, quads).T, log_q, u

    drawn = generate(
        run.path / STREAMED,
        draw,
        params,
        n=n,
        dim=len(quads),
        batch=problem.batch,
        key=run.key(STREAMED),
    )
    log_w, _ = reweighting.drop_non_finite(
        reweighting.log_weights(drawn.reduced_energy, drawn.log_q)
    )
    return np.asarray(drawn.positions), log_w


def open_row(out: Path, peptide: str, source: str, options: "Options") -> Run:
    """The run of a row, with the data that rows of its peptide, source and seed share."""
    plan = base_plan(peptide, source, options)
    data = jbg.open_run(out / f"{peptide}-{source}-data-seed{options.seed}", plan)
    engine.simulate(data)
    budget = f"{options.energies:.0e}" if source == "energies" else options.preset
    name = f"{peptide}-{source}-{budget}-{options.blocks}x{options.hidden}-seed{options.seed}"
    run = jbg.open_run(out / name, plan_of(plan, source, options))
    if not run.stage_done("simulate"):
        adopt(run, data.path / "data")
        run.mark_done("simulate")
    return run


def row_of(run: Run, peptide: str, source: str, n: int) -> dict[str, Any]:
    """The numbers of one row, made or read back."""
    if (run.path / "row.json").exists():
        return run.read_json("row.json")
    engine.train(run)
    with run.stage(STREAMED):
        phi, log_w = streamed(run, n)
    plan, spent = engine.plan_of(run), [run.spent(name) for name in ("train", STREAMED)]
    row = {
        "peptide": peptide,
        "source": source,
        "seed": plan.seed,
        "n_samples": n,
        "energies": {
            "simulate": load_dataset(run).evaluations,
            "train": plan.training_evaluations,
        },
        "ess_fraction": reweighting.ess_fraction(log_w),
        "ess_fraction_clipped": reweighting.ess_fraction(reweighting.clip_log_weights(log_w)),
        "pareto_k": reweighting.pareto_k(log_w),
        "largest_weight_share": reweighting.largest_weight_share(log_w),
        "free_energy_differences": differences(run, phi, log_w),
        # of training and streaming, over interruptions
        "minutes": sum(stage.wall_seconds for stage in spent) / 60,
        "cpu_minutes": sum(stage.cpu_seconds for stage in spent) / 60,
        "device": environment.devices(),
        "versions": environment.versions(),
        "source_code": environment.commit(),
    }
    run.write_json("row.json", row)
    return row


def differences(run: Run, phi: np.ndarray, log_w: np.ndarray) -> list[dict[str, Any]]:
    """F(phi_k > 0) - F(phi_k < 0) of every k."""
    torsions = named_torsions(engine.load_problem(run).system.topology)
    found = []
    for torsion, angle in zip(torsions, phi.T, strict=True):
        given = analysis.free_energy_difference(log_w, angle < 0, angle >= 0, seed=0)
        right = log_w[angle >= 0]
        found.append(
            {
                "torsion": torsion.name,
                "value": given.value,
                "stderr": given.stderr,
                "interval95": given.interval95,
                "reason": given.reason,
                "effective_samples_right": reweighting.effective_samples(right),
                "generated_share_right": len(right) / len(log_w),
            }
        )
    return found


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| peptide | from | published, clipped (energies) | clipped | ESS | Pareto k | largest share | energies | "
        "seed | minutes (CPU) | F(phi_k>0) - F(phi_k<0) / kT |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        ess, energies = PUBLISHED[r["peptide"]]
        published = f"{ess:.2%} ({energies:.0e})" if r["source"] == "energies" else "-"
        given = "; ".join(
            "null" if d["value"] is None else f"{d['value']:.2f} +- {d['stderr']:.2f}"
            for d in r["free_energy_differences"]
        )
        lines.append(
            f"| {r['peptide']} | {r['source']} | {published} | {r['ess_fraction_clipped']:.2%} | "
            f"{r['ess_fraction']:.2%} | {r['pareto_k']:.2f} | {r['largest_weight_share']:.1e} | "
            f"{sum(r['energies'].values()):.2e} | {r['seed']} | "
            f"{r['minutes']:.1f} ({r['cpu_minutes']:.1f}) | {given} |"
        )
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Of every row.

    Attributes:
        preset: of the study; from energies alone its stages are scaled.
        seed: seed of all random numbers.
        energies: energies that training spends on its steps, from energies alone.
        batch: largest batch of training, from energies alone.
        blocks: blocks of the linear variables.
        hidden: width of the hidden layers of a conditioner.
        draw: samples drawn at once.
    """

    preset: Literal["quick", "full"] = "full"
    seed: int = 1
    energies: float = 1e8
    batch: int = 4096
    blocks: int = 4
    hidden: int = 128
    draw: int = 20_000


def main(
    options: Annotated[Options, tyro.conf.OmitArgPrefixes] = Options(),
    out: Path = Path("runs/field"),
    peptides: tuple[Literal["ala2", "ala4", "ala6"], ...] = ("ala2", "ala4", "ala6"),
    sources: tuple[Literal["energies", "data"], ...] = ("energies",),
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 10_000_000,
) -> None:
    rows = []
    for source in sources:
        for peptide in peptides:
            rows.append(row_of(open_row(out, peptide, source, options), peptide, source, n))
            storage.write_json(out / "field.json", {"what": __doc__.splitlines()[0], "rows": rows})
    print(table(rows))


if __name__ == "__main__":
    tyro.cli(main)
