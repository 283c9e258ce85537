"""Do references that are not equilibrated pass, and do sound ones? A two-state torsion whose F is exact.

A molecule like hydrogen peroxide with bonded terms only: its torsion has minima of unequal depth at -90 and 90
degrees behind barriers of 8.4 kT (300 K). Bonds and angles do not depend on the torsion, so that their volume
elements r^2 dr and sin(theta) d theta cancel, and F(torsion > 0) - F(torsion < 0) is an integral over the torsion
alone. `replica_exchange` samples it without torsion rotations, at two temperatures. Seeds 0-9 and 100-119 were
used while this was written, and the bounds of the checks were chosen on jump processes; seeds 200-219 are blind.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import openmm
from scipy.integrate import quad

from jbg.analysis.equilibration import checked_reference, crossings, split_r_hat
from jbg.analysis.free_energy import reference_free_energy
from jbg.analysis.ramachandran import torsions
from jbg.interfaces import Topology
from jbg.simulation.dispersed_starts import TorsionSides, dispersed_starts
from jbg.simulation.replica_exchange import replica_exchange
from jbg.simulation.replica_exchange_config import heavy_hydrogen_masses, suggested_config
from jbg.simulation.torsion_rotation import rotatable_bonds
from jbg.systems.forcefield.pool import CompiledPool
from jbg.units import kt

TWOFOLD, ONEFOLD = 9.5, 1.83  # kJ/mol: V = 9.5 (1 + cos 2 t) + 1.83 (1 + sin t)
MASSES = (1.008, 15.999, 15.999, 1.008)
H2O2 = Topology(
    elements=("H", "O", "O", "H"),
    atom_names=("H1", "O1", "O2", "H2"),
    residue_names=("HOOH",) * 4,
    residue_ids=(0,) * 4,
    bonds=np.array([(0, 1), (1, 2), (2, 3)]),
)
TEMPERATURE, N_LADDERS, BURN_IN = 300.0, 16, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs=2, default=(200, 220), help="first, and end")
    parser.add_argument("--rounds", type=int, nargs="+", default=(600, 2400))
    parser.add_argument("--out", type=Path, default=Path("reference-checks.json"))
    args = parser.parse_args()
    exact, began = exact_difference(), time.process_time()
    rows = [
        {"starts": starts, "rounds": rounds, "seed": seed} | run(seed, rounds, starts)
        for starts in ("both sides", "rarer side")
        for rounds in args.rounds
        for seed in range(*args.seeds)
    ]
    for row in rows:
        for kind in ("checked", "unchecked"):
            if row[kind] is not None:
                row[f"sigmas_{kind}"] = (row[kind] - exact) / row[f"{kind}_stderr"]
    summary = [
        summarise([r for r in rows if (r["starts"], r["rounds"]) == key])
        for key in dict.fromkeys((r["starts"], r["rounds"]) for r in rows)
    ]
    found = {
        "system": "hydrogen-peroxide-like, bonded terms only, no rotations",
        "ladders": N_LADDERS,
        "burn_in": BURN_IN,
        "temperatures": suggested_config(4, temperature=300.0).temperatures,
        "barrier_kt": barrier(),
        "exact_kt": exact,
        "seeds": list(args.seeds),
        "cpu_seconds": time.process_time() - began,
        "summary": summary,
        "runs": rows,
    }
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["summary"], indent=1))


def run(seed: int, rounds: int, starts: str) -> dict:
    """One simulation, with its reference before and after the checks."""
    config = suggested_config(
        4, temperature=300.0, n_ladders=N_LADDERS, n_burn_in=BURN_IN, n_rounds=rounds
    )
    pool, bonds = make_pool(), rotatable_bonds(H2O2)
    side = TorsionSides(bonds[0], lambda x: torsion(x.T.reshape(-1, 4, 3)) > 0)
    found = dispersed_starts(
        pool.energies_and_forces, start(), (side,), n_ladders=N_LADDERS, batch=2 * N_LADDERS
    )
    first = found.positions if starts == "both sides" else start()
    state = replica_exchange(pool, config, first, seed=seed)
    angle = torsion(state.frames.reshape(-1, 4, 3)).reshape(rounds, N_LADDERS).T
    in_b, walkers = angle > 0, state.frame_walkers.T
    sides = {"the torsion": found.sides[0]} if starts == "both sides" else {}
    checked = checked_reference(~in_b, in_b, walkers=walkers, sides=sides, seed=seed)
    unchecked = reference_free_energy((~in_b).sum(1), in_b.sum(1), seed=seed)
    return {
        "checked": checked.value,
        "checked_stderr": checked.stderr,
        "reason": checked.reason,
        "unchecked": unchecked.value,
        "unchecked_stderr": unchecked.stderr,
        "r_hat": split_r_hat(in_b, walkers),
        "crossings_per_ladder": float(crossings(~in_b, in_b, walkers).mean()),
        "round_trips_per_ladder": float(state.round_trips.mean()),
    }


def summarise(rows: list[dict]) -> dict:
    accepted = [r for r in rows if r["checked"] is not None]
    sigmas = [abs(r["sigmas_checked"]) for r in accepted]
    unchecked = [abs(r["sigmas_unchecked"]) for r in rows if r["unchecked"] is not None]
    return {
        "starts": rows[0]["starts"],
        "rounds": rows[0]["rounds"],
        "seeds": len(rows),
        "accepted": len(accepted),
        "accepted_within_3_sigma": sum(s <= 3 for s in sigmas),
        "largest_sigmas_accepted": max(sigmas, default=None),
        "unchecked_beyond_3_sigma": sum(s > 3 for s in unchecked),
        "median_r_hat": float(np.median([r["r_hat"] for r in rows])),
        "median_crossings_per_ladder": float(np.median([r["crossings_per_ladder"] for r in rows])),
        "median_round_trips_per_ladder": float(
            np.median([r["round_trips_per_ladder"] for r in rows])
        ),
    }


def energy(t: np.ndarray) -> np.ndarray:
    """kJ/mol of the torsion."""
    return TWOFOLD * (1 + np.cos(2 * t)) + ONEFOLD * (1 + np.sin(t))


def exact_difference() -> float:
    """F(torsion > 0) - F(torsion < 0) in kT."""
    weight = lambda t: np.exp(-energy(t) / kt(TEMPERATURE))
    return float(np.log(quad(weight, -np.pi, 0)[0] / quad(weight, 0, np.pi)[0]))


def barrier() -> float:
    """kT from the lowest minimum to the lowest crossing between the states."""
    t = np.linspace(-np.pi, np.pi, 100_001)
    ends = energy(np.array([0.0, np.pi]))
    return float((ends.min() - energy(t).min()) / kt(TEMPERATURE))


def make_pool() -> CompiledPool:
    system = openmm.System()
    for mass in MASSES:
        system.addParticle(mass)
    bonds, angles, turn = (
        openmm.HarmonicBondForce(),
        openmm.HarmonicAngleForce(),
        openmm.PeriodicTorsionForce(),
    )
    for i, j, length, strength in ((0, 1, 0.0965, 4e5), (1, 2, 0.1465, 2.5e5), (2, 3, 0.0965, 4e5)):
        bonds.addBond(i, j, length, strength)
    for i in (0, 1):
        angles.addAngle(i, i + 1, i + 2, np.deg2rad(100), 400.0)
    turn.addTorsion(0, 1, 2, 3, 2, 0.0, TWOFOLD)
    turn.addTorsion(0, 1, 2, 3, 1, np.pi / 2, ONEFOLD)
    for force in (bonds, angles, turn):
        system.addForce(force)
    xml = openmm.XmlSerializer.serialize(system)
    return CompiledPool(xml, masses=heavy_hydrogen_masses(np.array(MASSES)))


def start() -> np.ndarray:
    """On the rarer side, at 90 degrees; ``(4, 3)`` nm."""
    out, along = 0.0965 * np.sin(np.deg2rad(80)), 0.0965 * np.cos(np.deg2rad(80))
    x = np.array([[-along, out, 0], [0, 0, 0], [0.1465, 0, 0], [0.1465 + along, 0, out]])
    return x if torsion(x[None])[0] > 0 else x * [1, 1, -1]


def torsion(x: np.ndarray) -> np.ndarray:
    return torsions(x, [[0, 1, 2, 3]])[:, 0]


if __name__ == "__main__":
    main()
