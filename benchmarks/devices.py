"""Do several devices give the numbers of one? Small runs on fake CPU devices, each in a process of its own.

    python -m benchmarks.devices [--devices 1 3 8] [--studies NAME ...] [--out FILE]

For each study and number of devices, and against one device: the relative difference of the loss in the first
step of each stage and the largest in all its steps (rounding grows with them); that of what a refill of a buffer
logs first; samples drawn with the same parameters, row by row, which ought to be the same bits; the end of the
run, as the difference of its results in standard errors. Batches are of 50 samples, which neither 3 nor 8 devices
share equally, and samples come in blocks of 300. Data are simulated once, on one device.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

STEPS, BATCH, BLOCK, SAMPLES = 20, 50, 300, 2000


def plans() -> dict[str, Any]:
    """name -> what makes the plan of a study."""
    from jbg.losses import NLL, OwnSamples, ReverseKL
    from tests import tiny

    def plane():
        plan = tiny.double_well()
        terms = {"example": NLL(), "energy": ReverseKL(), "own": OwnSamples()}
        stage = plan.stages[0]
        stages = [
            dataclasses.replace(stage, name=name, losses=(term,)) for name, term in terms.items()
        ]
        return dataclasses.replace(plan, stages=tuple(stages))

    def molecule(**how):  # the first stage alone: each takes minutes to compile
        plan = tiny.molecule("alanine-dipeptide", data="none", **how)
        return dataclasses.replace(plan, stages=plan.stages[:1])

    return {
        "double-well": plane,
        "molecule, own samples": lambda: molecule(recipe="own-samples"),
        "molecule, bootstrap": lambda: molecule(recipe="bootstrap"),
        "molecule, OpenMM": lambda: molecule(recipe="own-samples", energies="openmm"),
    }


def small(plan: Any) -> Any:
    """The plan with few steps that are all logged, and sizes that devices cannot share equally."""
    stages = tuple(
        dataclasses.replace(
            stage,
            steps=STEPS,
            log_every=1,
            eval_every=0,
            batch_size=BATCH,
            data_batch=BATCH,
            losses=tuple(_at_one_temperature(term) for term in stage.losses),
            buffer=stage.buffer and dataclasses.replace(stage.buffer, n=BATCH, capacity=2 * BATCH),
        )
        for stage in plan.stages
    )
    sampling = dataclasses.replace(plan.sampling, n=SAMPLES, batch=BLOCK)
    return dataclasses.replace(plan, stages=stages, sampling=sampling)


def _at_one_temperature(term: Any) -> Any:
    return dataclasses.replace(term, taus=(1.0,)) if hasattr(term, "taus") else term


def run_one(study: str, folder: Path, first: Path) -> None:
    """The run of a study on the devices there are, and samples with the parameters of the run ``first``."""
    import jax

    from jbg.studies import engine

    simulated = first.with_name(f"{first.name}-simulated")
    if folder != first:
        shutil.copytree(simulated, folder)
    run = engine.open_run(folder, small(plans()[study]()))
    engine.simulate(run, quiet=True)
    if folder == first:
        shutil.copytree(folder, simulated)
    problem = engine.load_problem(run)
    engine.train(run, problem=problem, quiet=True)
    engine.sample(run, problem=problem, quiet=True)
    engine.evaluate(run, problem=problem)
    params = (engine.load_params(engine.open_run(first, engine.plan_of(run)), problem), ())
    x, log_q, u = problem.drawn(jax.random.key(0), params, SAMPLES)
    log_p = problem.log_probs(params, x, (1.0,))
    samples = dict(x=x, log_q=log_q, u=u, log_p=log_p, energies=problem.reduced_energies(x))
    np.savez(folder / "drawn.npz", **samples, devices=jax.device_count())


def in_own_process(study: str, devices: int, folder: Path, first: Path) -> None:
    """Raises subprocess.CalledProcessError where the run fails."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"}
    environment |= {"NPROC": str(2 * devices + 2)}  # as `jbg` does, see jbg/cli/main.py
    command = [sys.executable, "-m", "benchmarks.devices", "--one", study, str(folder), str(first)]
    subprocess.run(command, env=environment, check=True)


def compare(one: Path, other: Path) -> dict[str, Any]:
    """What differs between a run on one device and another."""
    logs = [[json.loads(line) for line in _lines(path / "metrics.jsonl")] for path in (one, other)]
    loss = {}
    for a, b in zip(*logs, strict=True):
        loss.setdefault(a["stage"], []).append(_relative(a["loss"], b["loss"]))
    refill = [
        _relative(a[name], b[name])
        for a, b in zip(*logs, strict=True)
        for name in ("accepted", "transport_kl")
        if name in a
    ]
    drawn = [np.load(path / "drawn.npz") for path in (one, other)]
    names = ("x", "log_q", "u", "log_p", "energies")
    found = [json.loads((path / "results.json").read_text()) for path in (one, other)]
    return {
        "devices": int(drawn[1]["devices"]),
        "loss_first_step": {stage: values[0] for stage, values in loss.items()},
        "loss_largest": {stage: max(values) for stage, values in loss.items()},
        "refill_first": refill[0] if refill else None,
        "same_parameters": {name: _rows(drawn[0][name], drawn[1][name]) for name in names},
        "own_parameters": _rows(
            *(np.load(path / "samples/tau-1/positions.npy") for path in (one, other))
        ),
        "results_in_standard_errors": _shift(*found),
        "ess_fraction": [f["ess_fraction"] for f in found],
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _relative(a: float, b: float) -> float:
    return abs(a - b) / max(abs(a), 1e-3)


def _rows(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Largest difference of finite numbers, the share that differs at all, and of infinite ones."""
    both = np.isfinite(a) & np.isfinite(b)
    apart = np.abs(np.where(both, a, 0.0) - np.where(both, b, 0.0))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    odd = np.isfinite(a) != np.isfinite(b)
    return {"largest": float(apart.max()), "differ": float((~same).mean()), "odd": int(odd.sum())}


def _shift(a: dict[str, Any], b: dict[str, Any]) -> float | None:
    """Largest difference of the free-energy differences, in standard errors of the first."""
    pairs = zip(a["free_energy_differences"], b["free_energy_differences"], strict=True)
    known = [(x, y) for x, y in pairs if x["value"] is not None and y["value"] is not None]
    shifts = [abs(x["value"] - y["value"]) / x["stderr"] for x, y in known if x["stderr"]]
    return max(shifts, default=None)


def table(study: str, row: dict[str, Any]) -> str:
    first, most = (max(row[k].values()) for k in ("loss_first_step", "loss_largest"))
    drawn, own = row["same_parameters"]["x"], row["own_parameters"]
    shift = row["results_in_standard_errors"]
    return (
        f"{study:24} {row['devices']:>2} {first:10.1e} {most:10.1e} {drawn['largest']:10.1e} "
        f"{drawn['differ']:10.1e} {own['largest']:10.1e} {'-' if shift is None else f'{shift:.1e}':>10}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 3, 8])
    parser.add_argument("--studies", nargs="+")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=3, metavar=("STUDY", "FOLDER", "FIRST"), help="internal")
    args = parser.parse_args()
    if args.one:
        study, folder, first = args.one
        run_one(study, Path(folder), Path(first))
        return
    print(
        "study                     n  loss, 1st  loss, all  x, same q  differing  x, own q  dF/stderr"
    )
    rows = {}
    with tempfile.TemporaryDirectory() as temporary:
        for study in args.studies or plans():
            folders = {n: Path(temporary) / f"{study}-{n}" for n in args.devices}
            first = folders[args.devices[0]]
            for n, folder in folders.items():
                in_own_process(study, n, folder, first)
                if folder != first:
                    rows.setdefault(study, []).append(compare(first, folder))
                    print(table(study, rows[study][-1]), flush=True)
    if args.out:
        from jbg.runs import environment

        about = {"xla_flags": os.environ.get("XLA_FLAGS", "")}
        about |= {"versions": environment.versions(), "source": environment.commit()}
        args.out.write_text(json.dumps({"studies": rows} | about, indent=1) + "\n")


if __name__ == "__main__":
    main()
