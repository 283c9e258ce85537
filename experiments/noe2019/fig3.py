"""Noé et al. 2019, Figure 3: the bistable dimer in its bath, one flow for both states and several temperatures.

The script makes a run of `lj-dimer` (or, with --run, reads one of ``jbg run lj-dimer`` back) and shows it in the
layout of the figure: configurations; the profile along the dimer distance at each temperature beside umbrella
sampling; energies of generated samples beside simulated ones; F(open) - F(closed) against temperature by BAR
through the flow and by plain reweighting; energies along straight lines of latent space between closed and open
frames, 100 pairs. The table, printed and written as JSON, also has for the end of each stage of training, so
with and without training by energy, the forward gap of each state and of both in equal parts
(`analysis.forward_gap`), the median of u - log R of generated samples beside the floor of its mean
(`analysis.kl_loss_floor`), and the ESS.

Published: BG points and umbrella lines digitised from Fig. 3E; three stored umbrella repeats of the repository,
mean and standard error. The two published references differ by up to 1.6 kT. The paper reweights RealNVP
samples with errors of 1.1 to 1.4 kT. On a latent path u falls at first: the middle of two typical points of 76
dimensions lies nearer to the origin than either, where energies are low. Its text and code disagree on the
dimer's energy and on the wall: the stored runs' are used (`systems.dimer`). ln Z is that of one labelling of
the discs with the dimer's left particle first.

    python experiments/noe2019/fig3.py --out runs/noe2019-fig3
    python experiments/noe2019/fig3.py --run runs/dimer --out runs/noe2019-fig3
"""

import math
from pathlib import Path

import jax
import numpy as np
import tyro

import jbg
from jbg import analysis, plotting, reweighting, runs
from jbg.analysis.free_energy import MIN_EFFECTIVE
from jbg.flows import chain
from jbg.report import comparison
from jbg.report.comparison import Row
from jbg.runs import Run
from jbg.sampling.generate import SampleSet
from jbg.studies import engine, two_generators
from jbg.studies.dataset import load_dataset
from jbg.studies.dimer import umbrella
from jbg.studies.dimer.problem import both_states
from jbg.studies.evidence import Weighted, weigh
from jbg.studies.problem import Problem
from jbg.systems import dimer_distance

BG = {0.5: 13.64, 1.0: 7.51, 2.0: 4.36}  # Fig. 3E
UMBRELLA = {0.5: 12.75, 1.0: 6.15, 2.0: 3.68}  # Fig. 3E
STORED = {0.5: (14.39, 0.47), 1.0: (7.10, 0.27), 2.0: (3.25, 0.09)}
N_PAIRS = 10  # frames of each state, squared
EDGES = np.linspace(0.7, 2.3, 26)
GROUPS = {"closed": (0.0, 1.3), "transition": (1.3, 1.7), "open": (1.7, 9.0)}


def study_of(run: Path | None, out: Path, seed: int, *, fast: bool) -> Run:
    """The run to show: read back, or made."""
    if run is not None:
        return runs.load_run(run)
    plan = jbg.make_plan("lj-dimer", seed=seed)
    made = jbg.open_run(out / f"run-seed-{seed}", umbrella.shorten(plan) if fast else plan)
    if not made.stage_done("evaluate"):
        engine.run_all(made, quiet=True)
    return made


def differences(run: Run) -> tuple[list[Row], dict]:
    """Rows and series of F(open) - F(closed)."""
    results, rows, series = run.read_json("results.json"), [], {}
    entries = results["free_energy_differences"]
    series["umbrella sampling"] = _points(entries, "reference", None)
    for name, found in (
        ("BAR through the flow", entries),
        ("reweighting", results["reweighted_differences"]),
    ):
        series[name] = _points(found, "value", "stderr")
        for e in found:
            tau, (stored, error) = e["tau"], STORED.get(e["tau"], (math.nan, math.nan))
            printed = f"published umbrella: {UMBRELLA.get(tau, math.nan):.4g}; {stored:.4g} +- {error:.2g}"
            note = e.get("reason") or e.get("reference_reason") or printed
            rows.append(Row("lj-dimer", name, f"F(open) - F(closed), tau {tau:g}", "kT", BG.get(tau),
                            e["reference"], e["value"], e["stderr"], run.seed, note))  # fmt: skip
    taus = list(BG)
    series["published BG"] = (taus, list(BG.values()), None)
    series["published umbrella (figure)"] = (taus, list(UMBRELLA.values()), None)
    series["published umbrella (stored)"] = (taus, *zip(*STORED.values(), strict=True))
    return rows, series


def _points(entries: list[dict], value: str, stderr: str | None) -> tuple:
    known = [e for e in entries if e[value] is not None]
    return (
        [e["tau"] for e in known],
        [e[value] for e in known],
        stderr and [e[stderr] for e in known],
    )


def of_stages(run: Run, problem: Problem, n: int) -> list[Row]:
    """Gaps in both directions at the end of each stage; ln Z of the states by BAR through the last flow."""
    plan, data, rows, found = engine.plan_of(run), load_dataset(run), [], {}
    for stage in plan.stages:
        try:
            params = (engine.load_params(run, problem, stage.name), ())
        except jbg.ConfigError as error:  # a run that did not keep them
            print(f"stage {stage['name']}: {error}")
            continue
        drawn = two_generators.draw(run.key("gaps"), problem, params, n=n)
        weighted = weigh(problem, SampleSet(*drawn), 1.0)
        found[stage.name] = (
            params,
            weighted,
            both_states(problem, params[0], weighted, data, plan),
        )
    _, _, samples = found[plan.stages[-1].name]
    log_z = [analysis.bar_log_z(s, seed=run.seed_for("ln Z")) for s in samples]
    unknown = "; ".join(z.reason for z in log_z if z.reason)
    for name, (params, weighted, samples) in found.items():
        outside = weighted.counts["outside_cell_share"]
        beyond = (
            f"reference: floor of the mean; {outside:.1%} of the samples outside the label cell"
        )
        losses = _kl_losses(problem, params, run.key("reverse"), min(n, 10_000))
        gaps, floor = [None] * 3, None
        if not unknown:
            gaps = [
                analysis.forward_gap(
                    s.simulated_log_q, s.simulated_u, z.value, log_z_stderr=z.stderr
                )
                for s, z in zip(samples, log_z, strict=True)
            ]
            gaps.append(analysis.equal_mixture_gap(gaps))
            floor = analysis.kl_loss_floor(
                problem.flow.base.dim, np.logaddexp(*(z.value for z in log_z))
            )
        about = (
            "ln 2 of it: half of the data",
            "ln 2 of it: half of the data",
            "both states in equal parts",
        )
        numbers = [
            (f"forward gap{of}", "nats", 0.0 if not of else None, g and g.value, g and g.stderr, unknown or note)
            for of, g, note in zip((", closed", ", open", ""), gaps, about, strict=True)
        ] + [
            ("median of u - log R", "kT", floor, float(np.median(losses)), None, beyond),
            ("ESS fraction", "", 1.0, reweighting.ess_fraction(weighted.log_w), None, f"{n} samples"),
        ]  # fmt: skip
        rows += [
            Row("lj-dimer", f"after {name}", what, unit, None, reference, value, error, run.seed, note)
            for what, unit, reference, value, error, note in numbers
        ]  # fmt: skip
    return rows


def _map(problem: Problem) -> jbg.Generator:
    """The flow itself, not its average over the symmetries of the box."""
    return jbg.Generator(
        base=problem.flow.base, bijector=chain(problem.flow.bijector, problem.coords)
    )


def _kl_losses(problem: Problem, params, key, n: int) -> np.ndarray:
    drawn = jax.jit(_map(problem).sample, static_argnums=2)(key, params, n)
    u = jax.jit(problem.target.reduced_energy)(drawn.x)
    return analysis.kl_losses(u, drawn.log_prob, problem.flow.base.log_prob(drawn.z, 1.0))


def panels(run: Run, problem: Problem, weighted: list[Weighted]) -> dict:
    """What the figure shows besides differences."""
    profiles, reference = {}, run.load_arrays(umbrella.REFERENCE)
    for t, w in enumerate(weighted):
        d = dimer_distance(np.asarray(w.samples.positions).T)
        ours = analysis.weighted_profile(
            d, w.log_w, EDGES, seed=run.seed_for("profile"), min_effective=MIN_EFFECTIVE
        )
        fine = reference[f"edges_{t}"]
        profiles[w.tau] = {
            "centers": _middle(EDGES), "reweighted": ours.free_energy, "stderr": ours.stderr,
            "reference_centers": _middle(fine), "reference": reference[f"profile_{t}"],
            "reference_stderr": reference[f"profile_stderr_{t}"],
        }  # fmt: skip
    (own,) = (w for w in weighted if w.tau == 1.0)
    params = (engine.load_params(run, problem), ())
    x_data = np.asarray(problem.coords.forward((), problem.examples.heldout.T)[0])
    u_data = np.asarray(problem.target.reduced_energy(x_data))
    x, u = np.asarray(own.samples.positions), np.asarray(own.samples.reduced_energy)
    in_data = {s.name: np.asarray(s.contains(x_data)) for s in problem.system.states}
    energies = {
        s.name: {"data": u_data[in_data[s.name]], "generated": u[np.asarray(s.contains(x.T))]}
        for s in problem.system.states
    }
    # frames far from each other in the chains
    ends = [
        x_data[:, here][:, :: max(1, here.sum() // N_PAIRS)][:, :N_PAIRS].T
        for here in in_data.values()
    ]
    paths = analysis.latent_paths(_map(problem), params, problem.target, *ends, keep_all=True)
    d_path = dimer_distance(paths.path.T)
    d, snapshots = dimer_distance(x.T), {}
    for name, (low, high) in GROUPS.items():
        here = np.flatnonzero((d >= low) & (d < high) & np.isfinite(own.log_w))
        if len(here):
            snapshots[f"{name}, generated (u = {u[here].min():.0f} kT)"] = x[
                here[np.argmin(u[here])]
            ]
        else:
            k = int(np.argmin(np.abs(d_path - 0.5 * (low + min(high, 2.5)))))
            snapshots[f"{name}, on the best latent path"] = paths.path[k]
    return {
        "snapshots": snapshots, "profiles": profiles, "energies": energies,
        "paths": {"all_u": paths.all_u, "u": paths.u},
    }  # fmt: skip


def _middle(edges: np.ndarray) -> np.ndarray:
    return 0.5 * (edges[1:] + edges[:-1])


def main(
    run: Path | None = None,
    seed: int = 0,
    out: Path = Path("runs/noe2019-fig3"),
    *,
    fast: bool = False,
) -> None:
    """The table and the figure; ``run``: a finished run of lj-dimer; ``fast``: to see that it works."""
    found = study_of(run, out, seed, fast=fast)
    problem = engine.load_problem(found)
    weighted = [
        weigh(problem, engine.load_ensemble(found, at), at.tau)
        for at in engine.plan_of(found).sampling.ensembles
    ]
    rows, series = differences(found)
    rows += of_stages(found, problem, 2000 if fast else 20_000)
    out.mkdir(parents=True, exist_ok=True)
    print(comparison.text(rows))
    comparison.write(rows, out / "table.json")
    plotting.dimer(out / "fig3.png", differences=series, **panels(found, problem, weighted))


if __name__ == "__main__":
    tyro.cli(main)
