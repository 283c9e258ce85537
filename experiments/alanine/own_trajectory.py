"""Alanine dipeptide from a user's trajectories: is the free energy right, unbiased and umbrella-biased, for each
seed?

For every seed frames as a user has them: xtc files, rounded to 0.001 nm, one for each of six independent chains
    (here
ladders of one replica exchange of ff14SB + OBC2 at 300 K, no chain used twice), and with ``--kinds biased`` of the
same with an umbrella that lets phi > 0 be as common as phi < 0, whose potential is in a table such as PLUMED
writes. Each becomes a run of ``--data FILES [--weights COLVAR]``, quick but with ``--n`` samples. A finished run
is read back, an interrupted one is resumed. z is against the full preset's difference, which no choice uses.

    python experiments/alanine/own_trajectory.py --seeds 5 --out runs/alanine-own-trajectory
"""

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any, Literal

import mdtraj
import numpy as np
import openmm
import tyro

import jbg
from jbg.simulation.replica_exchange_config import ReplicaExchangeConfig, suggested_config
from jbg.studies.dataset import Dataset
from jbg.studies.molecule.states import flat_torsion, named_torsions
from jbg.systems.molecule import Molecule

Kind = Literal["unbiased", "biased"]
TRUTH = (3.839, 0.008)  # kT, `jbg run alanine-dipeptide --preset full`, docs/results.md
CHAINS = 6  # of a seed
UMBRELLA, CENTRE = 5.0, np.deg2rad(60.0)  # V = UMBRELLA (1 - cos(phi - CENTRE)), kJ/mol


def umbrella(molecule: Molecule) -> Molecule:
    """The molecule with the umbrella on phi."""
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    force = next(f for f in system.getForces() if isinstance(f, openmm.PeriodicTorsionForce))
    (phi,) = named_torsions(molecule.topology)
    force.addTorsion(*map(int, phi.quad), 1, CENTRE - np.pi, UMBRELLA)
    return dataclasses.replace(molecule, system_xml=openmm.XmlSerializer.serialize(system))


def bias_of(molecule: Molecule, x: np.ndarray) -> np.ndarray:
    """The umbrella's energy of frames ``(n, 3 * atoms)``, kJ/mol."""
    (phi,) = named_torsions(molecule.topology)
    return UMBRELLA * (1 - np.cos(flat_torsion(x.T, phi.quad) - CENTRE))


def simulated(molecule: Molecule, kind: Kind, out: Path, seeds: int, rounds: int) -> Dataset:
    """Frames of all seeds, made once."""
    path = out / f"{kind}-{seeds}-seeds-{rounds}.npz"
    if not path.exists():
        of = umbrella(molecule) if kind == "biased" else molecule
        found = jbg.simulate(
            of, seed=77, n_ladders=CHAINS * seeds, n_rounds=rounds, n_burn_in=max(1, rounds // 10)
        )
        out.mkdir(parents=True, exist_ok=True)
        np.savez(path, **found._asdict())
    arrays = dict(np.load(path))
    return Dataset(**arrays | {"evaluations": int(arrays["evaluations"])})


def user_files(
    molecule: Molecule, data: Dataset, kind: Kind, seed: int, folder: Path
) -> dict[str, Any]:
    """What a user would give for a seed: trajectories, and tables of the bias, written once."""
    folder.mkdir(parents=True, exist_ok=True)
    pdb = folder / "molecule.pdb"
    pdb.write_text(molecule.pdb)
    topology, files, tables = mdtraj.load_topology(str(pdb)), [], []
    for chain in range(CHAINS * seed, CHAINS * (seed + 1)):
        x = data.x[data.chain == chain]
        times = 2.0 * np.arange(len(x))
        files.append(folder / f"chain-{chain}.xtc")
        tables.append(folder / f"COLVAR-{chain}")
        if not tables[-1].exists():
            frames = x.reshape(len(x), -1, 3).astype(np.float32)
            mdtraj.Trajectory(frames, topology, time=times).save_xtc(str(files[-1]))
            rows = np.column_stack([times, bias_of(molecule, x)])
            np.savetxt(tables[-1], rows, header="! FIELDS time umbrella.bias", comments="#")
    return {"data": files} | ({"weights": tables} if kind == "biased" else {})


def row_of(out: Path, kind: Kind, seed: int, n: int, given: dict[str, Any]) -> dict[str, Any]:
    """The numbers of one run, made or read back."""
    plan = jbg.make_plan("alanine-dipeptide", seed=seed, **given)
    plan = dataclasses.replace(plan, sampling=dataclasses.replace(plan.sampling, n=n))
    run, before = jbg.open_run(out / f"{kind}-seed-{seed}", plan), time.process_time()
    if not (run.path / "row.json").exists():
        jbg.run_all(run, quiet=True)
        found = run.read_json("results.json")
        (entry,) = found["free_energy_differences"]
        names = ("value", "stderr", "estimator", "reason", "reference", "reference_reason")
        value, apart = entry["value"], None
        if value is not None:
            apart = (value - TRUTH[0]) / math.hypot(entry["stderr"], TRUTH[1])
        run.write_json(
            "row.json",
            {"kind": kind, "seed": seed, "z": apart}
            | {name: entry.get(name) for name in names}
            | {name: found.get(name) for name in ("ess_fraction", "gap", "own_data", "warnings")}
            | {"cpu_seconds": time.process_time() - before},
        )
    return run.read_json("row.json")


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """chi^2 of the given differences, how many are given, and the largest |z|."""
    z = np.array([row["z"] for row in rows if row["z"] is not None])
    return {
        "runs": len(rows),
        "given": len(z),
        "chi2": float(np.sum(z**2)),
        "largest": float(np.abs(z).max()) if len(z) else None,
    }


def main(
    kinds: tuple[Kind, ...] = ("unbiased", "biased"),
    seeds: int = 5,
    n: int = 200_000,
    rounds: int = 2500,
    out: Path = Path("runs/alanine-own-trajectory"),
) -> None:
    """A run for each kind of data and seed, and ``own-trajectory.json`` with all of them."""
    molecule, found = jbg.molecule(sequence="ACE-ALA-NME"), {}
    for kind in kinds:
        data, rows = simulated(molecule, kind, out, seeds, rounds), []
        for seed in range(seeds):
            given = user_files(molecule, data, kind, seed, out / f"files-{kind}-{seed}")
            row = row_of(out, kind, seed, n, given)
            rows.append(row)
            print(
                f"{kind}, seed {seed}: {row['value']} +- {row['stderr']} kT by {row['estimator']}, "
                f"z {row['z']}, ESS {row['ess_fraction']:.3f}, {row['cpu_seconds']:.0f} CPU s",
                flush=True,
            )
        found[kind] = {"summary": summary(rows), "rows": rows}
        print(f"{kind}: {found[kind]['summary']}", flush=True)
    settings: ReplicaExchangeConfig = suggested_config(22, temperature=300.0)
    found["truth"], found["ladder"] = TRUTH, settings.temperatures
    (out / "own-trajectory.json").write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    tyro.cli(main)
