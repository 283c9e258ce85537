"""Noé et al. 2019, Table S1: how architecture and weights of the losses change the error of the dimer's profile.

Each row is a RealNVP of so many blocks, hidden layers and units (tanh in S, ReLU in T), trained by example and
then by example, energy (w_KL = 1) and along the dimer distance, at tau 0.5, 1 and 2. The number is the
bootstrap standard error of -ln p(d) from reweighted samples at each of these temperatures, and in total the
root of the sum of the three squares. Beside the published numbers stand the same of the preset's spline flow,
which is trained at tau = 1 alone.

The paper leaves some choices open. Here its error is the root mean square over the bins of d in [0.5, 2.5] that
hold a hundredth of a sample's weight, as in its notebooks for the plane; `BINS` bins and `n` samples are ours.
With few effective samples a bootstrap underestimates the error, and the number can be small where the profile is
far off, so the notes give the effective samples and the root-mean-square error beside umbrella sampling. "4x200"
is taken as four hidden layers, as printed; the published code counts the output layer too. Published training is
20 steps by example and 3800 of batch 8000 at 8 to 9 temperatures; here `--steps` of each stage, batch 256 by
example and 256 at each of three temperatures by energy, coordinates standardised. Two published rows of one
setting differ by 0.6 kT: that is the noise between runs.

A row of 8 blocks costs 7.7e5 energies of training, 1.5e5 of samples and, by the rates of
`benchmarks/bench_dimer.py`, about four minutes on two free cores. Finished rows are read back.

    python experiments/noe2019/tableS1.py --run runs/dimer --rows 0 12 --out runs/noe2019-tableS1
"""

import dataclasses
import math
import time
from pathlib import Path

import numpy as np
import tyro

import jbg
from jbg import analysis, flows, reweighting, runs
from jbg.losses import NLL, ReactionCoordinate, ReverseKL
from jbg.report import comparison
from jbg.report.comparison import Row
from jbg.runs import Run
from jbg.sampling.generate import Ensemble, SampleSet
from jbg.studies import engine, two_generators
from jbg.studies.dimer import umbrella
from jbg.studies.evidence import Weighted, weigh
from jbg.studies.problem import Problem
from jbg.systems import dimer_distance

TAUS, BINS, BOUNDS = (0.5, 1.0, 2.0), 50, (0.5, 2.5)
PUBLISHED = (  # blocks, hidden layers, units, w_ML, w_RC; standard errors at TAUS and in total
    (8, 4, 200, 0.1, 10, 1.62, 2.07, 2.04, 3.33),
    (4, 4, 200, 0.1, 10, 2.23, 1.83, 1.53, 3.27),
    (6, 4, 200, 0.1, 10, 1.69, 1.64, 2.29, 3.28),
    (12, 4, 200, 0.1, 10, 1.49, 1.85, 2.0, 3.10),
    (8, 3, 200, 0.1, 10, 1.51, 1.97, 1.64, 2.97),
    (4, 3, 200, 0.1, 10, 1.41, 1.59, 1.78, 2.77),
    (6, 3, 200, 0.1, 10, 1.49, 1.73, 1.76, 2.88),
    (12, 3, 200, 0.1, 10, 1.84, 1.28, 2.24, 3.17),
    (8, 2, 200, 0.1, 10, 1.85, 1.58, 2.50, 3.48),
    (8, 4, 200, 0.1, 10, 1.69, 1.51, 1.52, 2.73),
    (8, 3, 50, 0.1, 10, 1.32, 1.71, 2.11, 3.02),
    (8, 3, 100, 0.1, 10, 2.85, 2.05, 2.16, 4.12),
    (8, 3, 200, 0.01, 10, 1.58, 1.33, 1.33, 2.45),
    (8, 3, 200, 1.0, 10, 1.87, 1.93, 1.63, 3.15),
    (8, 3, 200, 0.1, 1, 1.66, 1.83, 1.75, 3.02),
    (8, 3, 200, 0.1, 5, 1.73, 1.72, 1.81, 3.03),
    (8, 3, 200, 0.1, 20, 1.88, 2.06, 1.84, 3.34),
)


def stages(
    w_ml: float, w_rc: float, steps: tuple[int, int], taus: tuple[float, ...]
) -> tuple[jbg.Stage, ...]:
    """By example, then with energy and along d at all temperatures."""
    shared = {"clip_norm": 100.0, "ema": 0.99, "log_every": 10}
    losses = (NLL(w_ml), ReverseKL(taus=taus, along=ReactionCoordinate(w_rc)))
    return (
        jbg.Stage(name="by-example", steps=steps[0], batch_size=256, learning_rate=1e-3, losses=(NLL(),),
                  **shared),
        jbg.Stage(
            name="by-example-and-energy", steps=steps[1], batch_size=256 * len(taus), data_batch=256,
            learning_rate=3e-4, losses=losses, e_high=1000.0, e_max=1e10, **shared,
        ),
    )  # fmt: skip


def taus_of(run: Run) -> tuple[float, ...]:
    """Those of the table that the run has chains and a reference at."""
    return tuple(t for t in TAUS if t in run.config["sampling"]["taus"])


def one_row(
    run: Run, problem: Problem, k: int, out: Path, *, n: int, steps: tuple[int, int]
) -> list[Row]:
    """Train, sample and measure one row, or read it back."""
    blocks, layers, units, w_ml, w_rc, *published = PUBLISHED[k]
    name = f"R{blocks} {layers}x{units} wML {w_ml:g} wRC {w_rc:g}"
    kept = runs.open_run(
        out / f"row-{k}", {"seed": run.seed, "row": name, "n": n, "steps": steps, "of": run.config}
    )
    if (kept.path / "row.json").exists():
        return [Row(**row) for row in kept.read_json("row.json")]
    bijector = flows.realnvp(problem.system.dim, n_blocks=blocks, hidden=(units,) * layers)
    flow = jbg.Generator(base=problem.flow.base, bijector=bijector)
    symmetry = problem.symmetry.not_averaged()
    one, since = dataclasses.replace(problem, flow=flow, symmetry=symmetry), time.monotonic()
    recipe = stages(w_ml, w_rc, steps, taus_of(run))
    params = two_generators.train_generator(kept.key(f"train {k}"), one, recipe)
    spent = time.monotonic() - since
    weighted = [
        weigh(
            one,
            SampleSet(*two_generators.draw(kept.key(f"draw {t:g}"), one, params, n=n, tau=t)),
            t,
        )
        for t in taus_of(run)
    ]
    rows = rows_of(
        run, weighted, f"{k}: {name}", published, f"{spent:.0f} s of training, {sum(steps)} steps"
    )
    kept.write_json("row.json", [row._asdict() for row in rows])
    return rows


def rows_of(
    run: Run, weighted: list[Weighted], name: str, published: list[float | None], note: str
) -> list[Row]:
    """The standard error at each temperature, and their root sum of squares where all of TAUS are there."""
    rows, errors, edges = [], [], np.linspace(*BOUNDS, BINS + 1)
    reference, taus = run.load_arrays(umbrella.REFERENCE), run.config["sampling"]["taus"]
    for w in weighted:
        printed = published[TAUS.index(w.tau)]
        d, t = dimer_distance(np.asarray(w.samples.positions).T), taus.index(w.tau)
        found = analysis.weighted_profile(
            d, w.log_w, edges, seed=run.seed_for(f"profile {w.tau:g}")
        )
        exact = exact_at(
            0.5 * (edges[1:] + edges[:-1]), reference[f"edges_{t}"], reference[f"profile_{t}"]
        )
        known = np.where(np.isfinite(exact), found.free_energy, np.nan)
        off = analysis.profile_error(
            0.5 * (edges[1:] + edges[:-1]), known, found.stderr, exact, BOUNDS
        )
        error = standard_error(found.stderr)
        errors.append(error)
        effective = reweighting.ess_fraction(w.log_w) * len(w.log_w)
        n_bins = np.isfinite(found.stderr).sum()
        about = f"{effective:.0f} effective samples, {n_bins} bins, rms error {off.rms:.2f} kT"
        rows.append(Row("lj-dimer", name, f"s.e. of F(d), tau {w.tau:g}", "kT", printed, None, error, None,
                        run.seed, about))  # fmt: skip
    whole = math.sqrt(sum(e**2 for e in errors)) if len(errors) == len(TAUS) else math.nan
    return [
        *rows,
        Row("lj-dimer", name, "total", "kT", published[-1], None, whole, None, run.seed, note),
    ]


def standard_error(stderr: np.ndarray) -> float:
    """Root mean square over the bins that have one."""
    return math.sqrt(np.nanmean(stderr**2)) if np.isfinite(stderr).any() else math.nan


def exact_at(centres: np.ndarray, edges: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """The reference between its bins; NaN outside."""
    return np.interp(centres, 0.5 * (edges[1:] + edges[:-1]), profile, left=np.nan, right=np.nan)


def main(
    run: Path | None = None,
    rows: tuple[int, ...] = tuple(range(len(PUBLISHED))),
    steps: tuple[int, int] = (2000, 1000),
    n: int = 50_000,
    seed: int = 0,
    out: Path = Path("runs/noe2019-tableS1"),
    *,
    fast: bool = False,
) -> None:
    """The table; ``run``: a finished run of lj-dimer; ``rows``: of `PUBLISHED`; ``fast``: to see it work."""
    if run is None:
        plan = jbg.make_plan("lj-dimer", seed=seed)
        found = jbg.open_run(out / "run", umbrella.shorten(plan) if fast else plan)
        engine.run_all(found, quiet=True)
    else:
        found = runs.load_run(run)
    problem, size = engine.load_problem(found), {"n": n, "steps": steps}
    if fast:
        rows, size = rows[:1], {"n": 2000, "steps": (10, 10)}
    ours = [weigh(problem, engine.load_ensemble(found, Ensemble(t)), t) for t in taus_of(found)]
    ours = [weigh(problem, SampleSet(*(a[: size["n"]] for a in w.samples)), w.tau) for w in ours]
    table = rows_of(
        found, ours, "spline flow of the preset", [None] * (len(TAUS) + 1), "trained at tau = 1"
    )
    for k in rows:
        table += one_row(found, problem, k, out, **size)
        comparison.write(table, out / "table.json")
    print(comparison.text(table))


if __name__ == "__main__":
    tyro.cli(main)
