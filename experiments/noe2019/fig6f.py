"""Two rotamer states of a disulfide bridge from two generators of all atoms (Noe et al. 2019, Fig. 6f and S3c).

The sign of the torsion CB-SG-SG-CB of one bridge divides a molecule's configurations into two states, behind a
barrier of 12 kT that simulations at 300 K do not cross. For each state a run of `jbg run protein --coordinates
mixed` learns all atoms from simulations that stay in it; no configuration on the way between is ever needed. Then
particles are annealed from each flow to the Boltzmann density of its state, and frames set aside back: ln Z of
each state from both sides, with a gap that says whether flow and simulation know the same state. F(plus) -
F(minus) at ``--temperatures`` is the ratio of mean weights, at other temperatures than the runs' by reweighting
the particles; U by the same weights, and T S = U - F.

The published difference of BPTI (X to O: 39.5 +- 6.4, 25.7 and 8.8 kJ/mol at 290, 310 and 330 K) has no reference.
Here ACE-CYS-ALA-ALA-CYS-NME has one: replica exchange up to 1200 K, where the bridge turns.

    python experiments/noe2019/fig6f.py --out runs/fig6f
    python experiments/noe2019/fig6f.py --pdb my.pdb --bridge 14 38 --no-compare --out runs/mine

A killed run resumes where it was saved last; what is finished is read back.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro
from bridge import NAMES, bridge_quad, bridge_states, turned, write_structure
from bridge_differences import by_both_sides, differences, doubts, refused, table
from bridge_exchange import LADDERS, exchanged, hot_ladder, populations

import jbg
from jbg.analysis.annealed_weights import annealed_weights, two_sided
from jbg.analysis.protein_alarms import annealing_alarms
from jbg.interfaces import ConfigError, State
from jbg.runs import environment, storage
from jbg.runs.trajectory import save_trajectory
from jbg.sampling.annealing import anneal, anneal_back
from jbg.sampling.annealing_pilot import find_steps
from jbg.sampling.annealing_settings import Annealing
from jbg.studies import engine
from jbg.studies.annealed import annealer_of
from jbg.studies.protein.stages import make_stages
from jbg.systems.molecule import Molecule

PEPTIDE = Path(__file__).parent / "structures/cys-ala-ala-cys.pdb"
STRIDE = 7919  # between the seeds of the states
T0 = 300.0  # K, of the runs
Scale = Literal["tiny", "small"]


@dataclass(frozen=True)
class Size:
    """Rounds of replica exchange for starts and for the reference, chains of dynamics with ps of each, steps by
    example, particles and levels of the annealing."""

    rounds: int
    reference: int
    chains: int
    ps: float
    steps: int
    particles: int
    levels: int


SIZES = {
    "tiny": Size(20, 20, 8, 2.0, 40, 64, 2),
    "small": Size(3000, 12_000, 512, 4.0, 1000, 3000, 60),
}


def starts_of(
    molecule: Molecule, state: State, size: Size, seed: int, out: Path
) -> tuple[Path, int]:
    """A file of frames of the state, which dynamics start from, by replica exchange from it, and its cost.

    A state has several forms of its ring, which ladders to 500 K do not connect: half of plus, in the peptide, was
    missing from such data. What crosses to the other state is left out.
    """
    file, kept = out / "starts.dcd", out / "starts.npz"
    config = hot_ladder(molecule.topology.n_atoms, T0, size.rounds)
    if not file.exists():
        x, _, _ = exchanged(molecule, np.stack([molecule.positions] * LADDERS), config, seed)
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
    # by example alone, with log-dispersion: reverse KL and own samples lose conformations, which annealing cannot
    # bring back; clashes it can cure, or give no weight
    stages = make_stages("own-samples", steps=size.steps, batch=256)[:1]
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


def structures(
    pdb: Path, other: Path | None, residues: tuple[int, int] | None, out: Path
) -> tuple[list[Path], list[Molecule], tuple[State, State]]:
    """Files, molecules and states, minus first; the other structure is made by turning the bridge.

    Args:
        pdb: a structure.
        other: the same molecule in the other state; None to make it.
        residues: of the bridge, from 1; None where there is one.
        out: where a structure is written that was made.

    Raises:
        ConfigError: no such bridge, other molecules, or both structures in one state.
    """
    given = jbg.molecule(pdb=pdb)
    quad = bridge_quad(given.topology, residues)
    states = bridge_states(quad)
    side = lambda molecule: int(bool(np.all(states[1].contains(molecule.positions.reshape(-1, 1)))))
    here = side(given)
    if other is None:
        other = out / f"{NAMES[1 - here]}.pdb"
        if not other.exists():
            write_structure(other, given, turned(given, quad, states[1 - here]))
    second = jbg.molecule(pdb=other)
    if second.system_xml != given.system_xml or side(second) == here:
        raise ConfigError(
            f"{other}: another molecule than in {pdb}, or its bridge is in state {NAMES[here]} too"
        )
    pairs = sorted([(here, pdb, given), (1 - here, other, second)], key=lambda pair: pair[0])
    return [path for _, path, _ in pairs], [molecule for _, _, molecule in pairs], states


def main(
    *,
    pdb: Path = PEPTIDE,
    other: Path | None = None,
    bridge: tuple[int, int] | None = None,
    scale: Scale = "small",
    seed: int = 0,
    temperatures: tuple[float, ...] = (280.0, 300.0, 320.0),
    compare: bool = True,
    out: Path = Path("runs/noe2019-fig6f"),
) -> None:
    """Differences between the two rotamer states of a disulfide bridge.

    Args:
        pdb: a molecule with the bridge.
        other: the same with its bridge in the other state; made by turning it where none is given.
        bridge: residues of the bridge, counted from 1, where there are several.
        scale: tiny (a check) or small.
        seed: of all random numbers.
        temperatures: K.
        compare: with replica exchange that crosses.
        out: folder.
    """
    size = SIZES[scale]
    out.mkdir(parents=True, exist_ok=True)
    try:
        paths, molecules, states = structures(pdb, other, bridge, out)
    except ConfigError as error:
        raise SystemExit(f"fig6f: {error}") from None
    found, rows = [], {}
    for i, (path, molecule, state) in enumerate(zip(paths, molecules, states, strict=True)):
        one, rows[state.name] = state_row(
            path.absolute(), molecule, state, size, seed + STRIDE * i, out / state.name
        )
        found.append(one)
    reason = doubts(rows)
    result: dict[str, Any] = {
        "differences": [
            refused(differences(found, kelvin, T0, seed), reason) for kelvin in temperatures
        ],
        "bar": refused(by_both_sides(rows, T0), reason),
        "states": rows,
        "definitions": [state.definition for state in states],
    }
    if compare:
        result["reference"] = populations(
            molecules,
            states,
            lowest=T0,
            rounds=size.reference,
            seed=seed + 1,
            kelvins=temperatures,
            out=out,
        )
    print("\n".join(table(result)))
    result |= {
        "pdb": pdb.name,
        "scale": scale,
        "seed": seed,
        "device": environment.devices(),
        "versions": environment.versions(),
    }
    (out / "fig6f.json").write_text(json.dumps(jax.tree.map(_plain, result), indent=2))


def state_row(
    pdb: Path, molecule: Molecule, state: State, size: Size, seed: int, folder: Path
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `annealed` found of a state, and numbers of it.

    Args:
        pdb: a structure in the state.
        molecule: of the structure.
        state: the state.
        size: of the run.
        seed: of its random numbers.
        folder: of the state, where all is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    starts, spent = starts_of(molecule, state, size, seed, folder)
    run, problem = trained(pdb, starts, size, seed, folder)
    kept = folder / "state.npz"
    if not kept.exists():
        storage.write_arrays(kept, annealed(run, problem, state, size))
    found = storage.read_arrays(kept, "delete it")
    weights = annealed_weights(
        found["log_w"], found["block"], evaluations=int(found["evaluations"])
    )
    sides = two_sided(found["log_w"], found["log_w_back"], seed=seed)
    shown = (
        f"ESS {100 * weights.ess_fraction:.2f} %, largest share {100 * weights.largest_share:.1f} %",
        f"ln Z {sides.forward:.2f} +- {sides.forward_stderr:.2f} from the flow",
        f"{sides.backward:.2f} +- {sides.backward_stderr:.2f} back",
    )
    print(f"{state.name}: {', '.join(shown)}", flush=True)
    alarms = annealing_alarms({"annealed": weights._asdict(), "ln_z": sides._asdict()})
    for alarm in alarms:
        print(f"warning: {state.name}: {alarm}", flush=True)
    numbers = {name: value for name, value in sides._asdict().items() if name != "bar"}
    return found, {
        "starts_energies": spent,
        "annealing_energies": int(found["evaluations"]),
        "weights": weights._asdict(),
        "alarms": alarms,
        "ln_z": numbers | {"bar": sides.bar._asdict()},
    }


def _plain(value: Any) -> Any:
    value = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
    return value if not isinstance(value, float) or np.isfinite(value) else None


if __name__ == "__main__":
    tyro.cli(main)
