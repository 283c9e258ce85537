"""Noé et al. 2019 (doi:10.1126/science.aaw1147), Figure 2: two systems of the plane, with and without RC loss.

A flow is trained on separate simulations of each basin, by example and by energy, at tau = 1; once more with the
negative entropy along x (double well) or y (Mueller-Brown), which makes it generate the barrier too. Reweighted,
the profile is then right everywhere. The table, printed and written as JSON, has for every seed the difference of
the states, the barrier, and the errors of the profile between the bounds of the coordinate; the figure has the
paper's columns. Exact values are by quadrature.

Paper and code disagree in the double well: the figure belongs to the code's x^4 - 6 x^2 + x + y^2/2, used here,
not to the supplement's formula. In Mueller-Brown's potential the supplement prints c_3 = +6.5, with which it is
unbounded; -6.5 is used. The published notebook draws its profiles with RC loss from additive (NICE) layers,
root-mean-square standard error 0.05 to 0.09 kT over the bins, and 0.80 kT for RealNVP without it; no difference
of states is printed for the double well, and that of Mueller-Brown (3.77) is read off Figure S3a.

The weight of the RC loss is `W_RC` = 5, not the paper's 1. With the reverse KL alone a weight w makes the flow
generate p(r)^(1 / (1 + w)): of the barrier of 11 kT 5 kT are left at w = 1, about 30 of 1e5 samples in a bin at
its top, and 2 kT at w = 5, nearly as many as elsewhere. `N` = 4e5 samples keep the error of the emptiest bin
near 0.05 kT. A run takes 2.2e6 energies, and took 2 to 8 minutes where several programs shared two cores.

    python experiments/noe2019/fig2.py --seeds 3 --out runs/noe2019-fig2
"""

import dataclasses
from pathlib import Path

import jax
import tyro

import jbg
from jbg import plotting
from jbg.analysis import barrier, profile_error
from jbg.report import comparison
from jbg.report.comparison import Row
from jbg.runs import Run
from jbg.studies import engine
from jbg.studies.plane.plan import shorten
from jbg.systems import double_well, mueller_brown

SYSTEMS = {"double-well": double_well, "mueller-brown": mueller_brown}
W_RC, N = 5.0, 400_000
TRAININGS = {"without RC": 0.0, "with RC": W_RC}
DIFFERENCE = {"double-well": None, "mueller-brown": 3.77}  # published F(B) - F(A), kT
PROFILE_STDERR = {  # published root mean square over the bins, kT
    ("double-well", "without RC"): 0.80,
    ("double-well", "with RC"): 0.05,
}


def one(system: str, training: str, seed: int, out: Path, *, fast: bool) -> Run:
    """Run (or read back) one study."""
    plan = jbg.make_plan(system, seed=seed, taus=(1.0,), w_rc=TRAININGS[training])
    plan = dataclasses.replace(plan, sampling=dataclasses.replace(plan.sampling, n=N))
    plan = shorten(plan) if fast else plan
    run = jbg.open_run(out / f"{system}-{training.replace(' ', '-').lower()}-seed-{seed}", plan)
    if not run.stage_done("evaluate"):
        engine.run_all(run, quiet=True)
        jax.clear_caches()  # no later run uses these programs, and a process can map only so many
    return run


def profile(run: Run) -> tuple[dict, tuple[float, float], str]:
    """Profile along the collective variable, its bounds and its name."""
    variable = SYSTEMS[run.config["study"]]().collective_variable
    arrays, start = run.load_arrays("evaluation.npz"), f"profile_{variable.name}_"
    found = {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
    return found, variable.bounds, variable.name


def rows_of(run: Run, system: str, training: str, seed: int) -> list[Row]:
    """The numbers of one run."""
    results, (p, bounds, name) = run.read_json("results.json"), profile(run)
    entry = results["free_energy_differences"][0]
    off = profile_error(p["centers"], p["reweighted"], p["stderr"], p["reference"], bounds)
    top = barrier(p["reweighted"], p["stderr"], p["reference"])
    a, b = entry["states"]
    empty = (
        f"{off.n_missing} of the bins without value"
        if off.n_missing
        else f"at {name} = {off.at:.2f}"
    )
    spent = sum(results["energy_evaluations"].values())
    minutes = sum(results["wall_seconds"].values()) / 60
    cost = f"{spent:.2g} energies, {minutes:.1f} min, ESS {results['ess_fraction']:.2f}"
    numbers = [
        (f"F({b}) - F({a})", DIFFERENCE[system], entry["reference"], entry["value"], entry["stderr"], cost),
        (f"barrier along {name}", None, top.reference, top.value, top.stderr, ""),
        (f"F({name}), largest error", None, 0.0, off.largest, off.stderr, empty),
        (f"F({name}), rms error", None, 0.0, off.rms, None, ""),
        (f"F({name}), rms standard error", PROFILE_STDERR.get((system, training)), None, off.rms_stderr, None, ""),
    ]  # fmt: skip
    return [
        Row(system, training, what, "kT", published, reference, value, error, seed, note)
        for what, published, reference, value, error, note in numbers
    ]


def figure_row(runs: list[Run]) -> dict:
    """What the figure shows of one system: samples of the last training, profiles of all."""
    arrays = runs[-1].load_arrays("evaluation.npz")
    _, bounds, name = profile(runs[-1])
    keep = ("x_data", "z_data", "state_data", "state_names", "x_generated")
    return {k: arrays[k] for k in keep} | {
        "title": runs[-1].config["study"],
        "contour": [arrays[f"contour_{k}"] for k in "xyu"],
        "profiles": [profile(run)[0] for run in runs],
        "label": name,
        "bounds": bounds,
    }


def main(seeds: int = 3, out: Path = Path("runs/noe2019-fig2"), *, fast: bool = False) -> None:
    """The table and the figure; ``fast``: few steps, to see that it runs."""
    rows, shown = [], []
    for system in SYSTEMS:
        for seed in range(seeds):
            runs = [one(system, training, seed, out, fast=fast) for training in TRAININGS]
            for training, run in zip(TRAININGS, runs, strict=True):
                rows += rows_of(run, system, training, seed)
            if seed == 0:
                shown.append(figure_row(runs))
    print(comparison.text(rows))
    comparison.write(rows, out / "table.json")
    plotting.plane_systems(shown, out / "fig2.png", profile_titles=tuple(TRAININGS))


if __name__ == "__main__":
    tyro.cli(main)
