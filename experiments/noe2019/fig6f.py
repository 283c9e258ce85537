"""Two rotamer states of a disulfide bridge from two generators of all atoms (Noe et al. 2019, Fig. 6f and S3c).

The sign of the torsion CB-SG-SG-CB of one bridge divides a molecule's configurations into two states, behind a
barrier of 12 kT that simulations at 300 K do not cross. For each state a run of `jbg run protein --coordinates
mixed` learns all atoms from simulations that stay in it; no configuration on the way between is ever needed. Then
particles are annealed from each flow to the Boltzmann density of its state, and frames set aside back: ln Z of
each state from both sides, with a gap that says whether flow and simulation know the same state. F(plus) -
F(minus) at ``--temperatures`` is the ratio of mean weights, at other temperatures than the runs' by reweighting
the particles; U by the same weights, and T S = U - F.

The published difference of BPTI (X to O: 39.5 +- 6.4, 25.7 and 8.8 kJ/mol at 290, 310 and 330 K) has no reference.
Here a peptide has one: ``--reference`` runs replica exchange up to 1200 K, where the bridge turns.

    python experiments/noe2019/fig6f.py --minus minus.pdb --plus plus.pdb --reference --out runs/fig6f
    python experiments/noe2019/fig6f.py --scale tiny --minus minus.pdb --plus plus.pdb --out runs/tiny

A killed run resumes; finished states are read back.
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

import jbg
from jbg.analysis import mean_weight_difference
from jbg.analysis.annealed_weights import annealed_weights, two_sided
from jbg.coords.zmatrix import disulfides
from jbg.interfaces import ConfigError, State, Topology
from jbg.runs import environment, storage
from jbg.runs.trajectory import save_trajectory
from jbg.sampling.annealing import anneal, anneal_back
from jbg.sampling.annealing_pilot import find_steps
from jbg.sampling.annealing_settings import Annealing
from jbg.simulation.replica_exchange import replica_exchange
from jbg.simulation.replica_exchange_config import (
    ReplicaExchangeConfig,
    heavy_hydrogen_masses,
    suggested_config,
)
from jbg.simulation.torsion_rotation import rotatable_bonds
from jbg.studies import engine
from jbg.studies.annealed import annealer_of
from jbg.studies.molecule.states import flat_torsion
from jbg.studies.protein.mixed_stages import mixed_stages
from jbg.systems.forcefield.pool import CompiledPool
from jbg.systems.molecule import Molecule
from jbg.units import beta

PUBLISHED = {290.0: 39.5, 310.0: 25.7, 330.0: 8.8}  # kJ/mol, BPTI
T0 = 300.0  # K, of the runs
HOTTEST = 1200.0  # K, where the bridge turns
NAMES = ("minus", "plus")
Scale = Literal["tiny", "small"]


@dataclass(frozen=True)
class Size:
    """Rounds of replica exchange for starts and for the reference, chains of dynamics with ps of each, steps by
    energy, particles and levels of the annealing."""

    rounds: int
    reference: int
    chains: int
    ps: float
    steps: int
    particles: int
    levels: int


SIZES = {
    "tiny": Size(20, 20, 8, 2.0, 40, 64, 2),
    "small": Size(1500, 12_000, 256, 4.0, 2000, 3000, 60),
}


def bridge_quad(topology: Topology) -> np.ndarray:
    """CB, SG, SG, CB of the only disulfide ``(4,)``.

    Raises:
        ConfigError: no disulfide, or more than one.
    """
    bonds = sorted(tuple(sorted(bond)) for bond in disulfides(topology))
    if len(bonds) != 1:
        raise ConfigError(f"expected one disulfide, found {len(bonds)}")
    beta_carbon = {
        topology.residue_ids[i]: i for i, name in enumerate(topology.atom_names) if name == "CB"
    }
    first, second = bonds[0]
    ends = [beta_carbon[topology.residue_ids[s]] for s in (first, second)]
    return np.array([ends[0], first, second, ends[1]], int)


def bridge_states(topology: Topology) -> tuple[State, State]:
    """The bridge torsion below 0, and the others."""
    quad = bridge_quad(topology)
    return (
        State(
            name="minus",
            contains=lambda x: flat_torsion(x, quad) < 0,
            definition="CB-SG-SG-CB in (-180, 0) degrees",
        ),
        State(
            name="plus",
            contains=lambda x: flat_torsion(x, quad) >= 0,
            definition="CB-SG-SG-CB in [0, 180) degrees",
        ),
    )


def exchanged(
    molecule: Molecule, starts: np.ndarray, config: ReplicaExchangeConfig, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames ``(ladders, rounds, 3 atoms)`` at the lowest temperature, energies in kJ/mol, and round trips.

    Args:
        molecule: of both states.
        starts: positions ``(ladders, atoms, 3)``.
        config: of the ladders.
        seed: of all random numbers.
    """
    with CompiledPool(molecule.system_xml, masses=heavy_hydrogen_masses(molecule.masses)) as pool:
        found = replica_exchange(
            pool, config, starts, seed=seed, rotatable=rotatable_bonds(molecule.topology)
        )
    x = np.swapaxes(found.frames, 0, 1)
    return x.reshape(*x.shape[:2], -1), found.frame_energies.T, found.round_trips


def starts_of(
    molecule: Molecule, state: State, size: Size, seed: int, out: Path
) -> tuple[Path, int]:
    """A file of frames of the state, which dynamics start from, by replica exchange in it, and its cost."""
    file, kept = out / "starts.dcd", out / "starts.npz"
    config = suggested_config(
        molecule.topology.n_atoms, temperature=T0, n_ladders=8, n_rounds=size.rounds
    )
    if not file.exists():
        x, _, _ = exchanged(molecule, np.stack([molecule.positions] * 8), config, seed)
        x = x[:, len(x[0]) // 5 :].reshape(-1, x.shape[-1])
        x = x[np.asarray(state.contains(x.T))]
        rows = np.linspace(0, len(x) - 1, min(size.chains, len(x))).astype(int)
        storage.write_arrays(kept, {"inside": np.array(len(x))})
        (out / "start.pdb").write_text(molecule.pdb)
        save_trajectory(file, x[rows], out / "start.pdb")
    return file, config.energy_evaluations


def trained(pdb: Path, starts: Path, size: Size, seed: int, out: Path) -> tuple[Any, Any]:
    """The run of a state with its problem, trained."""
    plan = jbg.make_plan(
        "protein", seed=seed, pdb=pdb, coordinates="mixed", within=0.0, anneal=0, starts=starts,
        strategy="own-samples",
    )  # fmt: skip
    md = replace(
        plan.data.dynamics.options, chains=size.chains, ns=size.ps / 1000, equilibrate_ps=4.0
    )
    data = replace(plan.data, dynamics=replace(plan.data.dynamics, options=md))
    stages = mixed_stages("own-samples", steps=size.steps, variables=data.variables)
    run = jbg.open_run(out / "run", replace(plan, data=data, stages=stages))
    engine.simulate(run)
    problem = engine.load_problem(run)
    engine.train(run, problem=problem)
    return run, problem


def annealed(run: Any, problem: Any, state: State, size: Size) -> dict[str, np.ndarray]:
    """ln W and u of particles ``(n,)``, their blocks, and ln W of frames back ``(chains, frames)``."""
    settings = Annealing(
        n_particles=size.particles,
        batch=min(250, size.particles),
        n_levels=size.levels,
        n_leapfrog=8,
    )
    params, annealer = engine.load_params(run, problem), annealer_of(problem, settings)
    folder = run.path.parent / "annealed"
    steps = find_steps(run.key("annealing steps"), params, annealer, folder=folder)
    say = lambda done: print(f"  {done} of {size.particles} particles", flush=True)
    found = anneal(run.key("annealing"), params, annealer, steps, folder=folder, on_block=say)
    inside = np.asarray(state.contains(found.x.T))
    known = problem.simulated
    usable = known.usable & np.asarray(
        state.contains(known.x.reshape(-1, known.x.shape[-1]).T)
    ).reshape(known.usable.shape)
    chains = [x[good] for x, good in zip(known.x, usable, strict=True)]
    n = max(1, min(min(map(len, chains)), size.particles // 4 // len(chains)))
    frames = np.stack([x[np.linspace(0, len(x) - 1, n).astype(int)] for x in chains])
    back = anneal_back(run.key("back"), params, annealer, steps, frames, folder=folder)
    return {
        "log_w": np.where(inside, found.log_w, -np.inf),
        "u": found.u,
        "block": found.block,
        "log_w_back": back.log_w,
        "evaluations": np.array(settings.evaluations + back.log_w.size * settings.evaluations_each),
    }


def at(found: dict[str, np.ndarray], kelvin: float) -> np.ndarray:
    """ln W of the particles at another temperature ``(n,)``."""
    return found["log_w"] - (T0 / kelvin - 1) * found["u"]


def differences(states: list[dict[str, np.ndarray]], kelvin: float, seed: int) -> dict[str, Any]:
    """F(plus) - F(minus) with its parts U and T S, in kT at a temperature, errors by the bootstrap."""
    log_w = [at(found, kelvin) for found in states]
    free = mean_weight_difference(*log_w, seed=seed)
    rng, parts = np.random.default_rng(seed), []
    energies = [found["u"] * T0 / kelvin for found in states]
    for draw in range(501):
        mean = []
        for w, u in zip(log_w, energies, strict=True):
            rows = np.arange(len(w)) if draw == 0 else rng.integers(0, len(w), len(w))
            weight = np.exp(w[rows] - w.max())
            good = weight > 0
            mean.append(
                (np.log(weight.mean()) + w.max(), (weight[good] @ u[rows][good]) / weight.sum())
            )
        f, u = mean[0][0] - mean[1][0], mean[1][1] - mean[0][1]
        parts.append((u, u - f))
    (u, ts), spread = parts[0], np.std(parts[1:], axis=0, ddof=1)
    known = free.value is not None
    return {
        "kelvin": kelvin,
        **free._asdict(),
        "energy": float(u) if known else None,
        "energy_stderr": float(spread[0]) if known else None,
        "entropy": float(ts) if known else None,
        "entropy_stderr": float(spread[1]) if known else None,
    }


def reference(
    molecules: list[Molecule], states: tuple[State, State], size: Size, seed: int,
    kelvins: tuple[float, ...], out: Path,
) -> dict[str, Any]:  # fmt: skip
    """The same by replica exchange that crosses, errors by the jackknife over ladders."""
    n_ladders, kept = 8, out / "reference.npz"
    ladder = suggested_config(molecules[0].topology.n_atoms, temperature=T0)
    n = 1 + round((len(ladder.temperatures) - 1) * np.log(HOTTEST / T0) / np.log(5 / 3))
    config = replace(
        ladder,
        temperatures=tuple(float(t) for t in np.geomspace(T0, HOTTEST, n)),
        n_ladders=n_ladders,
        n_rounds=size.reference,
        n_burn_in=max(10, size.reference // 10),
    )
    if not kept.exists():
        starts = np.stack([molecules[i % 2].positions for i in range(n_ladders)])
        x, energy, trips = exchanged(molecules[0], starts, config, seed)
        plus = np.stack([np.asarray(states[1].contains(each.T)) for each in x])
        storage.write_arrays(kept, {"plus": plus, "energy": energy, "trips": trips})
    found = storage.read_arrays(kept, "delete it")
    plus, u = found["plus"].astype(bool), found["energy"] * beta(T0)
    rows = []
    for kelvin in kelvins:
        w = np.exp(-(T0 / kelvin - 1) * (u - u.mean()))
        parts = lambda keep, w=w, kelvin=kelvin: _populations(
            w[keep], u[keep] * T0 / kelvin, plus[keep]
        )
        whole = parts(np.ones(n_ladders, bool))
        left = np.array([parts(np.arange(n_ladders) != i) for i in range(n_ladders)])
        error = np.sqrt((n_ladders - 1) / n_ladders * ((left - left.mean(0)) ** 2).sum(0))
        names = ("value", "energy", "entropy")
        rows.append(
            {"kelvin": kelvin}
            | dict(zip(names, map(float, whole), strict=True))
            | {f"{name}_stderr": float(e) for name, e in zip(names, error, strict=True)}
        )
    crossed = int((np.diff(plus.astype(int), axis=1) != 0).sum())
    return {
        "rows": rows,
        "share_of_plus": plus.mean(1).tolist(),
        "changes_of_state": crossed,
        "round_trips": found["trips"].tolist(),
        "energies": config.energy_evaluations,
    }


def _populations(w: np.ndarray, u: np.ndarray, plus: np.ndarray) -> tuple[float, float, float]:
    """F, U and T S of plus less minus, of frames with weights."""
    f = np.log(w[~plus].sum()) - np.log(w[plus].sum())
    difference = np.average(u[plus], weights=w[plus]) - np.average(u[~plus], weights=w[~plus])
    return f, difference, difference - f


def main(
    minus: Path,
    plus: Path,
    *,
    scale: Scale = "small",
    seed: int = 0,
    temperatures: tuple[float, ...] = (280.0, 300.0, 320.0),
    reference_too: bool = False,
    out: Path = Path("runs/noe2019-fig6f"),
) -> None:
    """Differences between the two states of a bridge.

    Args:
        minus: structure with a bridge torsion below 0.
        plus: the same molecule with one above 0.
        scale: tiny (a check) or small.
        seed: of all random numbers.
        temperatures: K.
        reference_too: run replica exchange that crosses, for comparison.
        out: folder.
    """
    size, since = SIZES[scale], time.process_time()
    molecules = [jbg.molecule(pdb=path) for path in (minus, plus)]
    states = bridge_states(molecules[0].topology)
    found, rows = [], {}
    for name, path, molecule, state in zip(NAMES, (minus, plus), molecules, states, strict=True):
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        if not bool(np.all(state.contains(molecule.positions.reshape(-1, 1)))):
            raise SystemExit(
                f"fig6f: {path}: its bridge is not in state {name}: {state.definition}"
            )
        starts, spent = starts_of(molecule, state, size, seed + 7919 * (name == "plus"), folder)
        run, problem = trained(path.absolute(), starts, size, seed, folder)
        kept = folder / "state.npz"
        if not kept.exists():
            storage.write_arrays(kept, annealed(run, problem, state, size))
        one = storage.read_arrays(kept, "delete it")
        found.append(one)
        weights = annealed_weights(one["log_w"], one["block"], evaluations=int(one["evaluations"]))
        sides = two_sided(one["log_w"], one["log_w_back"], seed=seed)
        rows[name] = {
            "starts_energies": spent,
            "annealing_energies": int(one["evaluations"]),
            "weights": weights._asdict(),
            "ln_z": {k: v for k, v in sides._asdict().items() if k != "bar"}
            | {"bar": sides.bar._asdict()},
        }
        print(
            f"{name}: ESS {100 * weights.ess_fraction:.2f} %, largest share {100 * weights.largest_share:.1f} %, "
            f"ln Z {sides.forward:.2f} +- {sides.forward_stderr:.2f} from the flow, {sides.backward:.2f} +- "
            f"{sides.backward_stderr:.2f} back",
            flush=True,
        )
    result: dict[str, Any] = {
        "differences": [differences(found, kelvin, seed) for kelvin in temperatures],
        "states": rows,
        "definitions": [state.definition for state in states],
    }
    bars = [rows[name]["ln_z"]["bar"] for name in NAMES]
    if all(bar["value"] is not None for bar in bars):
        result["bar"] = {
            "kelvin": T0,
            "value": bars[0]["value"] - bars[1]["value"],
            "stderr": float(np.hypot(bars[0]["stderr"], bars[1]["stderr"])),
        }
    if reference_too:
        result["reference"] = reference(molecules, states, size, seed + 1, temperatures, out)
    result |= {"scale": scale, "seed": seed, "cpu_seconds": time.process_time() - since,
               "device": environment.devices(), "versions": environment.versions()}  # fmt: skip
    (out / "fig6f.json").write_text(json.dumps(jax.tree.map(_plain, result), indent=2))
    for name in ("differences", "bar", "reference"):
        print(name, json.dumps(jax.tree.map(_plain, result.get(name)), indent=1))


def _plain(value: Any) -> Any:
    value = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
    return value if not isinstance(value, float) or np.isfinite(value) else None


if __name__ == "__main__":
    tyro.cli(main)
