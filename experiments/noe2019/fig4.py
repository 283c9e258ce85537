"""Adaptive exploration from one configuration (Noe 2019, Fig. 4): latent moves, and a flow that learns as they go.

The buffer starts as noisy copies of the deepest minimum of the double well or of the Mueller-Brown potential (or,
with --systems lj-dimer, of the closed dimer in its bath, one labelling of the discs). Written for each system and
seed: the energies spent until a hundredth of the buffer was in the other state, and the free-energy difference
from 1e5 reweighted samples of the final flow beside the quadrature; one figure in the paper's layout. Settings are
the defaults of `jbg.sampling.exploration.Exploration`, 3e5 energies; it names what the paper has instead. For the
dimer no reference is computed here: published differences at tau = 1 are 6.15 to 7.10 kT.

An interrupted run goes on from its last tenth.

    python experiments/noe2019/fig4.py --seeds 3 --out runs/noe2019-fig4
"""

import dataclasses
import functools
import json
import time
from pathlib import Path

import numpy as np
import tyro

import jbg
from jbg import coords, flows, runs
from jbg import plotting as plots
from jbg.analysis import free_energy_difference
from jbg.reweighting import ess, log_weights
from jbg.sampling.exploration import Exploration, ExplorationHistory, explore
from jbg.systems.dimer import dimer_distance, lattice, lj_dimer
from jbg.targets import find_bounds, free_energy_difference_quadrature, make_target, soften
from jbg.training import Checkpoints

FOUND = 0.01  # share of the buffer in the other state
N_PARTS = 10
FAST = {"budget": 6000, "buffer": 200, "batch": 50, "moves": 5, "first_steps": 10, "train_steps": 5}
DIMER = Exploration(
    buffer=1000, moves=5, first_steps=200, train_steps=20, noise=0.02, step=0.1, first_tau=10.0, w_kl=0.01,
    global_moves=0.1,
)  # fmt: skip
PLANES = {"double-well": jbg.double_well, "mueller-brown": jbg.mueller_brown}
WINDOWS = {"double-well": ((-2.7, 2.7), (-4.5, 4.5)), "mueller-brown": ((-1.7, 1.3), (-0.5, 2.2))}


@functools.cache
def problem(name: str) -> dict:
    """System, generator, targets and settings of an exploration."""
    if name == "lj-dimer":
        system, sites, discs = lj_dimer(), lattice(36, 0.95), np.arange(2, 38)
        flow = flows.spline_flow(
            0, system.dim, flows.SplineFlowConfig(n_blocks=6, hidden=(128, 128))
        )
        fit = coords.Standardisation(system.start[0], np.full(system.dim, 0.3))
        flow = flows.chain(flow, coords.standardisation(fit))
        given = {"settings": DIMER, "allowed": coords.cell_test(sites, discs)}
        e_high = 500.0
    else:
        system, flow, given, e_high = (
            PLANES[name](),
            flows.realnvp(2),
            {"settings": Exploration()},
            100.0,
        )
    target = make_target(system)
    return given | {
        "system": system, "target": target,
        "train_target": soften(target, e_high=e_high, e_max=1e20),
        "generator": jbg.Generator(base=flows.normal(system.dim), bijector=flow),
    }  # fmt: skip


def go_on(run: runs.Run, p: dict) -> tuple:
    """The exploration to its end, a tenth at a time: last state, history, buffers and energies at each tenth."""
    system, settings = p["system"], p["settings"]
    options = {"train_target": p["train_target"], "settings": settings, "allowed": p.get("allowed"),
               "states": system.states[:2]}  # fmt: skip
    advance = lambda state, n: explore(
        run.key("explore"),
        p["generator"],
        p["target"],
        system.start[0],
        state=state,
        n_iterations=n,
        **options,
    )
    state, _ = advance(None, 0)
    checkpoints, old, since = Checkpoints(run.path / "checkpoints"), {}, time.monotonic()
    if checkpoints.latest():
        state = checkpoints.restore(state)
        old = run.load_arrays("history.npz")
    else:
        old = {
            "buffers": np.asarray(state.buffer)[None],
            "spent": np.array([int(state.n_evaluations)]),
        }
    while int(state.iteration) < settings.n_iterations:
        done = int(state.iteration)
        state, history = advance(state, -(-settings.n_iterations // N_PARTS))
        new = {k: v for k, v in history._asdict().items() if k != "losses"}
        n_parts = (
            -(-done * N_PARTS // settings.n_iterations) + 1
        )  # what a kill left beyond the checkpoint goes
        old = {k: np.concatenate([old[k][:done], v]) if k in old else v for k, v in new.items()} | {
            "buffers": np.concatenate([old["buffers"][:n_parts], np.asarray(state.buffer)[None]]),
            "spent": np.append(old["spent"][:n_parts], int(state.n_evaluations)),
        }
        run.save_arrays("history.npz", **old)
        checkpoints.save(int(state.iteration), state)
        print(f"{run.path.name}: {int(state.n_evaluations)} energies, shares {np.round(history.shares[-1], 3)},"
              f" step {float(state.step):.3f}, {time.monotonic() - since:.0f} s", flush=True)  # fmt: skip
    checkpoints.close()
    buffers, spent = old.pop("buffers"), old.pop("spent")
    return state, ExplorationHistory(**old, losses={}), buffers, spent


def one_seed(name: str, seed: int, out: Path, *, fast: bool) -> dict:
    """Explore, reweight, draw; the row of one seed."""
    p = problem(name)
    if fast:
        p = p | {"settings": dataclasses.replace(p["settings"], **FAST)}
    system, target, generator = p["system"], p["target"], p["generator"]
    run = jbg.open_run(
        out / f"{name}-{seed}",
        {"system": name, "seed": seed, "settings": dataclasses.asdict(p["settings"])},
    )
    state, history, buffers, spent = go_on(run, p)
    drawn = generator.sample(state.train.average, run.key("sample"), 4000 if fast else 100_000)
    log_w = log_weights(target.reduced_energy(drawn.x), drawn.log_prob)
    if "allowed" in p:
        log_w = np.where(p["allowed"](drawn.x), log_w, -np.inf)
    a, b = system.states[:2]
    found = free_energy_difference(
        log_w, a.contains(drawn.x), b.contains(drawn.x), seed=run.seed_for("bootstrap")
    )
    there = np.flatnonzero(history.shares[:, 1] > FOUND)
    exact, contour = None, None
    project, labels = (lambda x: x), ("x", "y")
    if name in PLANES:
        bounds = find_bounds(system.potential, system.start)
        exact = free_energy_difference_quadrature(system.potential, bounds, a.contains, b.contains)
        grid = [np.linspace(*edge, n) for edge, n in zip(WINDOWS[name], (120, 100), strict=True)]
        contour = (*grid, system.potential(np.stack(np.meshgrid(*grid))))
    else:
        project = lambda x: np.stack([dimer_distance(x.T), system.potential(x.T)], axis=1)
        labels = ("dimer distance", "energy / kT")
    picked = [0, len(spent) // 2, len(spent) - 1]
    plots.exploration(
        run.file("exploration.png"), n_evaluations=history.n_evaluations, acceptance=history.accepted_local,
        step=history.step, shares=history.shares, state_names=[a.name, b.name], axis_labels=labels,
        contour=contour,
        snapshots=[(int(spent[i]), project(buffers[i])) for i in picked],
    )  # fmt: skip
    return {
        "system": name, "seed": seed, "energies": int(state.n_evaluations),
        "found_after": int(history.n_evaluations[there[0]]) if len(there) else None,
        "share_of_other_state": float(history.shares[-1, 1]), "largest_share": float(history.shares[:, 1].max()),
        "ess": ess(log_w), "reference": exact,
        "difference": f"F({b.name}) - F({a.name})", **found._asdict(),
    }  # fmt: skip


def main(
    seeds: int = 3,
    first: int = 0,
    systems: tuple[str, ...] = ("double-well", "mueller-brown"),
    out: Path = Path("runs/noe2019-fig4"),
    *,
    fast: bool = False,
) -> None:
    rows = [
        one_seed(name, seed, out, fast=fast)
        for name in systems
        for seed in range(first, first + seeds)
    ]
    show = lambda v, digits=3: "-" if v is None else f"{v:.{digits}f}"
    print("system | seed | energies until found | of | reference | ours +- error | ESS")
    for r in rows:
        print(
            f"{r['system']} | {r['seed']} | {show(r['found_after'], 0)} | {r['energies']}"
            f" | {show(r['reference'])} | {show(r['value'])} +- {show(r['stderr'])}"
            f" {r['reason'] or ''} | {r['ess']:.3f}"
        )
    (out / "fig4.json").write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    tyro.cli(main)
