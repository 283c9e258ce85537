"""Adaptive exploration from one configuration (Noe 2019, Fig. 4): latent moves, and a flow trained on the way.

The buffer starts as noisy copies of the deepest minimum of the double well or of the Mueller-Brown potential.
Written for each system and seed: the energies spent until a configuration of the other state was first seen, and
until a hundredth of the buffer was there; the free-energy difference from 1e5 reweighted samples of the final
flow beside the quadrature; one figure in the paper's layout. Settings are the defaults of
`jbg.sampling.exploration.Exploration`, 3e5 energies; its documentation names the paper's values.

With --systems lj-dimer the start is the closed dimer in its bath, and the row is that of a whole study, `jbg run
lj-dimer-explored`: exploration with hot moves (their relative temperature is in the table), chains in each
state from the archived configurations, a flow trained on them, and the difference by BAR through it, without
umbrella sampling. Each seed takes 1.4e8 energies, 3e5 of them for the exploration, and
about 20 minutes of four cores. Published differences at tau = 1 are 6.15 to 7.10 kT; the column "reference" is
from a run of `jbg run lj-dimer` if its folder is given.

An interrupted run resumes where it was saved last.

    python experiments/noe2019/fig4.py --seeds 3 --out runs/noe2019-fig4
    python experiments/noe2019/fig4.py --systems lj-dimer --reference runs/lj-dimer
"""

import dataclasses
import functools
import json
import time
from pathlib import Path

import numpy as np
import tyro

import jbg
from jbg import flows, runs
from jbg import plotting as plots
from jbg.analysis import free_energy_difference
from jbg.reweighting import ess_fraction, log_weights
from jbg.sampling.exploration import Exploration
from jbg.studies import engine
from jbg.studies.dimer import explored
from jbg.studies.dimer.exploring import Course, explore_in, load_course
from jbg.systems import dimer_distance
from jbg.targets import find_bounds, free_energy_difference_quadrature, make_target

FOUND = 0.01  # share of the buffer in the other state
FAST = {"budget": 6000, "buffer": 200, "batch": 50, "moves": 5, "first_steps": 10, "train_steps": 5}
PLANES = {"double-well": jbg.double_well, "mueller-brown": jbg.mueller_brown}
WINDOWS = {"double-well": ((-2.7, 2.7), (-4.5, 4.5)), "mueller-brown": ((-1.7, 1.3), (-0.5, 2.2))}


@functools.cache
def problem(name: str) -> tuple:
    """System, target and generator in the plane."""
    system = PLANES[name]()
    target = make_target(system)
    generator = jbg.Generator(base=flows.normal(2), bijector=flows.realnvp(2))
    return system, target, generator


def plane(name: str, seed: int, out: Path, *, fast: bool) -> dict:
    """Explore, reweight, draw; the row of one seed."""
    system, target, generator = problem(name)
    settings = dataclasses.replace(Exploration(), **(FAST if fast else {}))
    config = {"system": name, "seed": seed, "settings": dataclasses.asdict(settings)}
    run, since, (a, b) = (
        runs.open_run(out / f"{name}-{seed}", config),
        time.monotonic(),
        system.states[:2],
    )
    state = explore_in(
        run, generator, target, system.start[0],
        settings=settings, states=(a, b),
        on_part=lambda state, history: print(
            f"{run.path.name}: {int(state.n_evaluations)} energies, shares {np.round(history.shares[-1], 3)},"
            f" step {float(state.step):.3f}, {time.monotonic() - since:.0f} s", flush=True
        ),
    )  # fmt: skip
    drawn = generator.sample(run.key("sample"), state.train.average, 4000 if fast else 100_000)
    log_w = log_weights(target.reduced_energy(drawn.x), drawn.log_prob)
    found = free_energy_difference(
        log_w, a.contains(drawn.x), b.contains(drawn.x), seed=run.seed_for("bootstrap")
    )
    bounds = find_bounds(system.potential, system.start)
    exact = free_energy_difference_quadrature(system.potential, bounds, a.contains, b.contains)
    grid = [np.linspace(*edge, n) for edge, n in zip(WINDOWS[name], (120, 100), strict=True)]
    contour = (*grid, system.potential(np.stack(np.meshgrid(*grid))))
    return {
        **course_row(run, system, load_course(run), labels=("x", "y"), contour=contour),
        "ess": ess_fraction(log_w), "reference": exact, "estimator": "reweighting", **found._asdict(),
    }  # fmt: skip


def dimer(seed: int, out: Path, reference: Path | None, *, fast: bool) -> dict:
    """The whole study of one seed; its row."""
    plan = jbg.make_plan("lj-dimer-explored", seed=seed)
    run = jbg.open_run(out / f"lj-dimer-{seed}", explored.shorten(plan) if fast else plan)
    if not run.stage_done("evaluate"):
        engine.run_all(run, quiet=True)
    results, system = run.read_json("results.json"), plan.options.system()
    (entry,) = results["free_energy_differences"]
    known = {} if reference is None else reference_entry(reference)
    project = lambda x: np.stack([dimer_distance(x.T), system.potential(x.T)], axis=1)
    return {
        **course_row(run, system, load_course(run), project, ("dimer distance", "energy / kT")),
        "ess": results["ess_fraction"], "reference": known.get("reference"),
        "reference_stderr": known.get("reference_stderr"),
        **{k: entry.get(k) for k in ("estimator", "value", "stderr", "interval95", "reason")},
        "reweighted": results["reweighted_differences"][0],
        "energies_in_all": sum(results["energy_evaluations"].values()),
    }  # fmt: skip


def reference_entry(folder: Path) -> dict:
    """The entry at tau = 1 of a run of `jbg run lj-dimer`."""
    entries = runs.load_run(folder).read_json("results.json")["free_energy_differences"]
    return next(entry for entry in entries if entry["tau"] == 1.0)


def course_row(run, system, course: Course, project=lambda x: x, labels=(), contour=None) -> dict:
    """Draws an exploration; what of its row is the same for every system."""
    history, (a, b) = course.history, system.states[:2]
    picked = [0, len(course.spent) // 2, len(course.spent) - 1]
    plots.exploration(
        run.file("exploration.png"), history._asdict(), state_names=[a.name, b.name], axis_labels=labels,
        contour=contour,
        snapshots=[(int(course.spent[i]), project(course.buffers[i])) for i in picked],
    )  # fmt: skip
    first = lambda there: int(history.n_evaluations[there.argmax()]) if there.any() else None
    return {
        "system": system.name, "seed": run.seed, "energies": int(history.n_evaluations[-1]),
        "first_seen": first(history.archived[:, 1] > 0), "found_after": first(history.shares[:, 1] > FOUND),
        "archived": history.archived[-1].tolist(), "taus_of_moves": history.tau[[0, -1]].tolist(),
        "share_of_other_state": float(history.shares[-1, 1]), "largest_share": float(history.shares[:, 1].max()),
        "difference": f"F({b.name}) - F({a.name})",
    }  # fmt: skip


def main(
    seeds: int = 3,
    first: int = 0,
    systems: tuple[str, ...] = ("double-well", "mueller-brown"),
    out: Path = Path("runs/noe2019-fig4"),
    reference: Path | None = None,
    *,
    fast: bool = False,
) -> None:
    rows = [
        dimer(seed, out, reference, fast=fast)
        if name == "lj-dimer"
        else plane(name, seed, out, fast=fast)
        for name in systems
        for seed in range(first, first + seeds)
    ]
    show = lambda v, digits=3: "-" if v is None else f"{v:.{digits}f}"
    print(
        "system | seed | tau of moves | first seen after | 1 % after | of | reference | ours +- error | by | ESS"
    )
    for r in rows:
        print(
            f"{r['system']} | {r['seed']} | {r['taus_of_moves'][0]:.3g} to {r['taus_of_moves'][1]:.3g}"
            f" | {show(r['first_seen'], 0)} | {show(r['found_after'], 0)} | {r['energies']}"
            f" | {show(r['reference'])} | {show(r['value'])} +- {show(r['stderr'])}"
            f" {r['reason'] or ''} | {r['estimator']} | {r['ess']:.3g}"
        )
    (out / "fig4.json").write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    tyro.cli(main)
