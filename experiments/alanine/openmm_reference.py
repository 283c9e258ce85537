"""F(phi > 0) - F(phi < 0) of alanine dipeptide with OpenMM alone, as a reference for jbg.

Replica exchange between copies of the molecule at 300 K that feel no bias on phi, half of one, and all of it:
with all of it phi is nearly flat, and its barriers are crossed all the time. OpenMM makes the energies, the bias
(well-tempered metadynamics, Barducci et al., Phys. Rev. Lett. 100, 020603, 2008, on a short separate run,
smoothed to a Fourier series) and the dynamics (LangevinMiddleIntegrator at 2 fs, hydrogens of 6 dalton, no
constraints: masses do not enter the ensemble); from jbg comes only the molecule, ff14SB + OBC2. The bias depends
on phi alone, so that the density of phi follows from the histograms of all copies by iterating

    p(phi) = sum_k n_k(phi) / sum_k N_k exp(f_k - b_k(phi)),    f_k = -ln sum_phi p(phi) exp(-b_k(phi))

(Ferrenberg & Swendsen, Phys. Rev. Lett. 63, 1195, 1989), b_k the bias of copy k in kT. Ladders are independent,
every other one begins at phi > 0; the error is a jackknife over them, and the two groups are compared.

    python experiments/alanine/openmm_reference.py --ladders 16 --ns 10 --out runs/openmm-reference

takes 2 CPU minutes of one core for each ns of one ladder (three copies).
"""

import json
import math
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import tyro

TEMPERATURE, HYDROGEN_MASS, TIMESTEP, FRICTION = 300.0, 6.0, 0.002, 1.0  # K, dalton, ps, 1/ps
KT = 0.00831446261815324 * TEMPERATURE
SHARES = (1.0, 0.5, 0.0)  # of the bias that each copy feels
STEPS = 250  # between exchanges, with phi of every copy recorded
BINS = 720
ORDER = 6  # of the bias
EDGES = np.linspace(-np.pi, np.pi, BINS + 1)
CENTRES = 0.5 * (EDGES[1:] + EDGES[:-1])


def series(phi: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """The bias in kJ/mol: sum_n a_n cos(n phi) + b_n sin(n phi) of ``coefficients (order, 2)``."""
    n = np.arange(1, len(coefficients) + 1)[:, None] * np.atleast_1d(phi)
    return coefficients[:, 0] @ np.cos(n) + coefficients[:, 1] @ np.sin(n)


def phi_of(x: np.ndarray, atoms: list[int]) -> float:
    """The torsion in radians; by its own formula, checked against OpenMM's bias energy."""
    a, b, c, d = (x[i] for i in atoms)
    b1, b2, b3 = b - a, c - b, d - c
    n1, n2 = np.cross(b1, b2), np.cross(b2, b3)
    return math.atan2(np.dot(np.cross(n1, n2), b2) / np.linalg.norm(b2), np.dot(n1, n2))


def molecule(system_xml: str, atoms: list[int], coefficients: np.ndarray | None):
    """The system with heavy hydrogens, and ``share`` of the bias if there is one."""
    import openmm

    system = openmm.XmlSerializer.deserialize(system_xml)
    for i in range(system.getNumParticles()):
        if system.getParticleMass(i)._value < 3:
            system.setParticleMass(i, HYDROGEN_MASS)
    if coefficients is not None:
        terms = [
            f"{a!r}*cos({n}*theta)+{b!r}*sin({n}*theta)"
            for n, (a, b) in enumerate(coefficients.tolist(), 1)
        ]
        force = openmm.CustomTorsionForce(f"share*({'+'.join(terms)})")
        force.addGlobalParameter("share", 0.0)
        force.addTorsion(*atoms, [])
        system.addForce(force)
    return system


def integrator(seed: int):
    import openmm

    made = openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, TIMESTEP)
    made.setRandomNumberSeed(seed)
    return made


def metadynamics_bias(start: dict[str, Any], seed: int, ns: float) -> np.ndarray:
    """A bias that nearly flattens phi, as coefficients of `series`, from one short run."""
    import openmm
    from openmm import app, unit

    system = molecule(start["system_xml"], start["atoms"], None)
    torsion = openmm.CustomTorsionForce("theta")
    torsion.addTorsion(*start["atoms"], [])
    variable = app.BiasVariable(torsion, -np.pi, np.pi, 0.35, periodic=True, gridWidth=121)
    meta = app.Metadynamics(system, [variable], TEMPERATURE * unit.kelvin, 12.0, 1.0, 250)
    topology = app.Topology()
    residue = topology.addResidue("X", topology.addChain())
    for i in range(system.getNumParticles()):
        topology.addAtom(str(i), None, residue)
    platform = openmm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(topology, system, integrator(seed), platform)
    simulation.context.setPositions(start["positions"])
    meta.step(simulation, round(ns * 1000 / TIMESTEP))
    free = np.asarray(meta.getFreeEnergy()._value)[:-1]  # the ends are one point
    phi = np.linspace(-np.pi, np.pi, len(free) + 1)[:-1]
    n = np.arange(1, ORDER + 1)[:, None] * phi
    return -2 / len(free) * np.stack([np.cos(n) @ free, np.sin(n) @ free], axis=1)


def ladder(task: tuple[dict[str, Any], np.ndarray, int, float]) -> dict[str, Any]:
    """One independent ladder: counts of phi of each copy in BINS bins, and the share of exchanges accepted."""
    import openmm

    start, coefficients, index, ns = task
    system = molecule(start["system_xml"], start["atoms"], coefficients)
    platform = openmm.Platform.getPlatformByName("Reference")
    rng = np.random.default_rng(1000 + index)
    contexts = []
    for k in range(len(SHARES)):
        context = openmm.Context(system, integrator(1 + 100 * index + k), platform)
        context.setPositions(start["positions"])
        context.setVelocitiesToTemperature(TEMPERATURE, 7 + 100 * index + k)
        contexts.append(context)
    order = list(range(len(SHARES)))  # which context feels SHARES[k]
    bias_at = lambda phi: float(series(phi, coefficients)[0]) / KT
    for k, c in enumerate(order):
        contexts[c].setParameter("share", SHARES[k])
    counts = np.zeros((2, len(SHARES), BINS), int)  # of each half of the time
    accepted, tried = 0, 0
    n_rounds = round(ns * 1000 / TIMESTEP / STEPS)
    burn_in = max(1, n_rounds // 10)
    for turn in range(-burn_in, n_rounds):
        phis = []
        for c in order:
            contexts[c].getIntegrator().step(STEPS)
            x = contexts[c].getState(getPositions=True).getPositions(asNumpy=True)._value
            phis.append(phi_of(x, start["atoms"]))
        if turn >= 0:
            for k, phi in enumerate(phis):
                counts[
                    2 * turn // n_rounds, k, min(int((phi + np.pi) / (2 * np.pi) * BINS), BINS - 1)
                ] += 1
        for k in range(turn % 2, len(SHARES) - 1, 2):
            apart = (SHARES[k] - SHARES[k + 1]) * (bias_at(phis[k]) - bias_at(phis[k + 1]))
            tried += 1
            if rng.random() < math.exp(min(0.0, apart)):
                accepted += 1
                order[k], order[k + 1] = order[k + 1], order[k]
                for j in (k, k + 1):
                    contexts[order[j]].setParameter("share", SHARES[j])
    return {"index": index, "counts": counts.tolist(), "accepted": accepted / max(tried, 1)}


def density(counts: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """p(phi) in bins from counts ``(copies, BINS)`` under bias ``(copies, BINS)`` in kT."""
    total, f = counts.sum(axis=1), np.zeros(len(counts))
    for _ in range(20_000):
        p = counts.sum(axis=0) / (total[:, None] * np.exp(f[:, None] - bias)).sum(axis=0)
        p /= p.sum()
        new = -np.log((p * np.exp(-bias)).sum(axis=1))
        if np.abs(new - f).max() < 1e-10:
            break
        f = new
    return p


def difference(counts: np.ndarray, bias: np.ndarray) -> float:
    """F(phi > 0) - F(phi < 0) in kT."""
    p = density(counts, bias)
    return float(np.log(p[CENTRES < 0].sum() / p[CENTRES > 0].sum()))


def jackknife(counts: np.ndarray, bias: np.ndarray) -> tuple[float, float]:
    """The difference of all ladders, and its error from leaving out one at a time."""
    n = len(counts)
    left_out = np.array([difference(np.delete(counts, i, 0).sum(0), bias) for i in range(n)])
    value = difference(counts.sum(0), bias)
    return value, float(math.sqrt((n - 1) / n * np.sum((left_out - left_out.mean()) ** 2)))


def turned(start: dict[str, Any]) -> dict[str, Any]:
    """The molecule at phi > 0: the bond turned, then minimised with phi held at 60 degrees."""
    import openmm

    well = -300 * np.array([[math.cos(np.pi / 3), math.sin(np.pi / 3)]])
    system = molecule(start["system_xml"], start["atoms"], well)
    context = openmm.Context(system, integrator(1), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(start["positions"])
    context.setParameter("share", 1.0)
    context.getIntegrator().step(20_000)
    openmm.LocalEnergyMinimizer.minimize(context, 1.0, 500)
    x = context.getState(getPositions=True).getPositions(asNumpy=True)._value
    if phi_of(x, start["atoms"]) < 0:
        raise SystemExit("the start at phi > 0 is not there")
    return start | {"positions": np.asarray(x)}


def bias_of(start: dict[str, Any], out: Path, ns: float, seed: int) -> np.ndarray:
    """Coefficients of the bias, from ``bias.json`` in ``out`` or made and kept there."""
    path = out / "bias.json"
    if not path.exists():
        path.write_text(json.dumps(metadynamics_bias(start, seed, ns).tolist()))
    return np.array(json.loads(path.read_text()))


def main(
    ladders: int = 16,
    ns: float = 10.0,
    metadynamics_ns: float = 4.0,
    seed: int = 1,
    processes: int = os.cpu_count() or 1,
    out: Path = Path("runs/openmm-reference"),
    add: tuple[Path, ...] = (),
) -> None:
    """The difference with its error from ``ladders`` of ``ns`` nanoseconds each, in ``reference.json``.

    Ladders are kept in ``ladders.jsonl`` as they finish; those of the folders ``add`` (with the same ``bias.json``
    and other seeds) are put with them. 0 ladders: only what is there.
    """
    from jbg.coords import backbone_torsions
    from jbg.systems.molecule import molecule_from_sequence

    built = molecule_from_sequence("ACE-ALA-NME")
    start = {
        "system_xml": built.system_xml,
        "positions": built.positions,
        "atoms": [int(i) for i in backbone_torsions(built.topology)["phi"][0]],
    }
    out.mkdir(parents=True, exist_ok=True)
    coefficients = bias_of(start, out, metadynamics_ns, seed)
    if ladders:
        other = turned(start)
        tasks = [((start, other)[i % 2], coefficients, 1000 * seed + i, ns) for i in range(ladders)]
        with ProcessPoolExecutor(processes) as pool:
            for done in as_completed([pool.submit(ladder, task) for task in tasks]):
                with (out / "ladders.jsonl").open("a") as file:
                    file.write(json.dumps(done.result() | {"ns": ns}) + "\n")
    found = {}
    for folder in (out, *add):
        if (folder / "bias.json").read_text() != (out / "bias.json").read_text():
            raise SystemExit(f"{folder} has another bias")
        for line in (folder / "ladders.jsonl").read_text().splitlines():
            found[json.loads(line)["index"]] = json.loads(line)
    rows = [found[i] for i in sorted(found)]
    halves = np.array([row["counts"] for row in rows])  # (ladders, 2, copies, bins)
    counts = halves.sum(axis=1)
    on_bins = series(CENTRES, coefficients) / KT
    bias = np.outer(SHARES, on_bins)
    value, stderr = jackknife(counts, bias)
    odd = np.array([row["index"] % 2 for row in rows]) == 1
    groups = [jackknife(counts[rows_of], bias) for rows_of in (~odd, odd)]
    result = {
        "what": "F(phi>0) - F(phi<0) of ACE-ALA-NME, ff14SB + OBC2, 300 K, kT; replica exchange by OpenMM",
        "value": value,
        "stderr": stderr,
        "by_start": [{"value": v, "stderr": e} for v, e in groups],
        "by_time": [
            {"value": v, "stderr": e} for v, e in (jackknife(halves[:, i], bias) for i in range(2))
        ],
        "ladders": len(rows),
        "ns_of_all_copies": float(sum(row["ns"] for row in rows) * len(SHARES)),
        "swaps_accepted": float(np.mean([row["accepted"] for row in rows])),
        "counts": counts.sum(axis=0).tolist(),
        "bias_kt": on_bins.tolist(),
    }
    (out / "reference.json").write_text(json.dumps(result))
    print(f"{len(rows)} ladders: stderr {stderr:.4f} kT, written to {out}/reference.json")


if __name__ == "__main__":
    tyro.cli(main)
