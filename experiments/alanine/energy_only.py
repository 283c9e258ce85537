"""Alanine dipeptide from its energies alone, as published: AMBER ff96 + OBC1, 300 K, no simulated data.

Each recipe of `jbg run alanine-dipeptide --data none` has a run folder. One long replica exchange
(``--reference-rounds`` times 16 ladders of 6 temperatures, several frames a picosecond) is the reference; no
training uses it. Of each generator N samples are streamed (phi, psi, ln q and u are kept), and reported with their
weights:

- ESS: Kish's fraction; clipped: the largest 1e-4 of the weights lowered to the smallest among them, as published;
- Ramachandran TV: total variation of the reweighted histogram, 100 x 100 bins, to the reference's; beside it what
  two ensembles of one density and these sizes would show (in older files two halves of the reference: twice that);
- F(phi > 0) - F(phi < 0), with the reference's; effective samples with phi > 0;
- energies spent before sampling: harmonic frames, training, and the evaluations that watch it.

Published (same force field and molecule, spline flows, ESS clipped at 1e-4, N = 1e7): CMT 97.7 % and TA-BG 95.8 %
with 1e8 energies, FAB 94.8 % with 2.1e8 (von Klitzing et al. 2025, arXiv:2510.18460). TA-BG reweights while
cooling from 1200 K; `annealed-kl` does not. The full own-samples recipe takes about an hour on three cores and N =
1e7 samples a quarter; finished parts are read back.

    python experiments/alanine/energy_only.py --out runs/alanine --preset full --recipes own-samples -n 10000000
"""

import dataclasses
import time
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import jbg
from jbg import analysis, reweighting
from jbg.coords import backbone_torsions, torsions_of
from jbg.runs import Run, environment, storage
from jbg.sampling.generate import generate
from jbg.studies import engine
from jbg.studies.dataset import load_dataset
from jbg.studies.molecule.files import DOMAIN
from jbg.studies.molecule.options import RECIPES

FORCEFIELD = ("amber96.xml", "implicit/obc1.xml")
KEYS = ("name", "ess_fraction_clipped", "energy_evaluations")
PUBLISHED = {
    "transport": ("CMT", 0.977, 1e8),
    "bootstrap": ("FAB", 0.948, 2.1e8),
}


@dataclasses.dataclass(frozen=True)
class Reference:
    """The long simulation within the flow's domain: torsions ``(n,)`` and the ladder of each frame."""

    phi: np.ndarray
    psi: np.ndarray
    ladder: np.ndarray
    difference: float
    stderr: float


def angles(topology, x):
    """phi and psi ``(2, n)`` of flat positions ``(3 atoms, n)``."""
    quads = backbone_torsions(topology)
    return torsions_of(x, np.concatenate([quads["phi"], quads["psi"]]))


def reference(out: Path, rounds: int) -> Reference:
    plan = jbg.make_plan("alanine-dipeptide", preset="full", seed=77, forcefield=FORCEFIELD)
    exchange = dataclasses.replace(plan.data.exchange, n_rounds=rounds, n_burn_in=2000)
    plan = dataclasses.replace(plan, data=dataclasses.replace(plan.data, exchange=exchange))
    run = jbg.open_run(out / "reference", plan)
    engine.simulate(run)
    data = load_dataset(run).where(run.load_arrays(DOMAIN)["inside"])
    topology, ladder = engine.load_problem(run).system.topology, data.chain
    of = jax.jit(lambda x: angles(topology, x))
    pieces = np.array_split(data.x, max(1, len(data.x) // 50_000))
    phi, psi = np.concatenate([np.asarray(of(jnp.asarray(p.T))) for p in pieces], axis=1)
    counts = [np.bincount(ladder[side], minlength=16) for side in (phi < 0, phi >= 0)]
    found = analysis.reference_free_energy(*counts, seed=0)
    return Reference(phi, psi, ladder, found.value, found.stderr)


def streamed(run: Run, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """phi, psi and log-weights ``(n,)`` of n samples of a trained run, and nothing else of them on disk."""
    problem = engine.load_problem(run)
    params = (engine.load_params(run, problem), ())
    whole, topology = problem.draw_at(1.0), problem.system.topology

    @jax.jit
    def draw(params, key):
        x, log_q, u = whole(params, key)
        return angles(topology, x.T).T, log_q, u

    folder = run.path / "streamed"
    key = run.key("streamed")
    drawn = generate(folder, draw, params, n=n, dim=2, batch=problem.batch, key=key)
    log_w = reweighting.log_weights(drawn.reduced_energy, drawn.log_q)
    log_w, _ = reweighting.drop_non_finite(log_w)
    return drawn.positions[:, 0], drawn.positions[:, 1], log_w


def row(run: Run, known: Reference, n: int) -> dict:
    """What is reported of one trained run."""
    begin = time.monotonic()
    phi, psi, log_w = streamed(run, n)
    reweighted = analysis.ramachandran_histogram(phi, psi, log_w)
    of_reference = analysis.ramachandran_histogram(known.phi, known.psi)
    found = analysis.free_energy_difference(log_w, phi < 0, phi >= 0, seed=0)
    right = log_w[phi >= 0]
    spent = run.read_json("results.json")["energy_evaluations"]
    return {
        "n_samples": n,
        "ess_fraction": reweighting.ess_fraction(log_w),
        "ess_fraction_clipped": reweighting.ess_fraction(reweighting.clip_log_weights(log_w)),
        "largest_weight_share": reweighting.largest_weight_share(log_w),
        "pareto_k": reweighting.pareto_k(log_w),
        "ramachandran_tv": analysis.total_variation(of_reference, reweighted),
        "ramachandran_tv_noise": analysis.ramachandran_noise_floor(
            known.phi, known.psi, known.ladder, samples=(phi, psi, log_w)
        ),
        "free_energy_difference": found.value,
        "stderr": found.stderr,
        "reference": known.difference,
        "reference_stderr": known.stderr,
        "effective_samples_right": reweighting.ess_fraction(right) * len(right),
        "energy_evaluations": spent["simulate"] + spent["train"],
        "seconds": {name: run.wall_seconds(name) for name in ("simulate", "train")}
        | {"streamed": time.monotonic() - begin},
    }


def table(rows: dict[str, dict]) -> str:
    lines = [
        "| recipe | published ESS (energies) | ESS | clipped | energies | minutes | "
        "Ramachandran TV (noise) | F(phi>0) - F(phi<0) / kT (reference) | effective phi>0 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, r in rows.items():
        label, ess, energies = PUBLISHED.get(name, ("-", None, None))
        published = "-" if ess is None else f"{label} {ess:.1%} ({energies:.1e})"
        mine = _with_error(r["free_energy_difference"], r["stderr"], 3)
        known = _with_error(r["reference"], r["reference_stderr"], 2)
        lines.append(
            f"| {name} | {published} | {r['ess_fraction']:.2%} | {r['ess_fraction_clipped']:.2%} | "
            f"{r['energy_evaluations']:.2e} | {(r['seconds']['simulate'] + r['seconds']['train']) / 60:.0f} | "
            f"{r['ramachandran_tv']:.4f} ({r['ramachandran_tv_noise']:.4f}) | {mine} ({known}) | "
            f"{r['effective_samples_right']:.0f} |"
        )
    return "\n".join(lines)


def _with_error(value: float | None, stderr: float | None, digits: int) -> str:
    return "null" if value is None else f"{value:.{digits}f} +- {stderr:.{digits}f}"


def main(
    out: Path = Path("runs/alanine"),
    recipes: tuple[str, ...] = RECIPES,
    preset: str = "quick",
    seed: int = 1,
    reference_rounds: int = 40_000,
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 100_000,
) -> None:
    known = reference(out, reference_rounds)
    rows = {}
    for recipe in recipes:
        options = dict(forcefield=FORCEFIELD, data="none", recipe=recipe)
        plan = jbg.make_plan("alanine-dipeptide", preset=preset, seed=seed, **options)
        run = jbg.open_run(out / f"{preset}-{recipe}-seed{seed}", plan)
        engine.run_all(run)
        rows[recipe] = row(run, known, n)
    found = {
        "what": __doc__.splitlines()[0],
        "preset": preset,
        "seed": seed,
        "rows": rows,
        "published": {k: dict(zip(KEYS, v, strict=True)) for k, v in PUBLISHED.items()},
        "device": environment.devices(),
        "versions": environment.versions(),
        "source": environment.commit(),
    }
    text = table(rows)
    storage.write_json(out / f"energy-only-{preset}.json", found)
    print(text)


if __name__ == "__main__":
    tyro.cli(main)
