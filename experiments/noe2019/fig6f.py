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
from bridge import structures
from bridge_differences import by_both_sides, differences, doubts, refused, table
from bridge_exchange import frames_of, populations

import jbg
from jbg.analysis.annealed_weights import annealed_weights, two_sided
from jbg.analysis.protein_alarms import annealing_alarms
from jbg.interfaces import ConfigError, State
from jbg.runs import environment
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


def annealed(
    run: Any, problem: Any, state: State, size: Size, frames: np.ndarray
) -> dict[str, np.ndarray]:
    """ln W and u of particles ``(n,)``, their blocks, and ln W of frames back ``(chains, frames)``.

    Args:
        run: trained.
        problem: of the run.
        state: outside of which particles have weight zero.
        size: particles and levels.
        frames: of the state, by ladder ``(ladders, n, dim)``.
    """
    batch = min(250, size.particles)
    settings = Annealing(
        n_particles=size.particles, batch=batch, n_levels=size.levels, n_leapfrog=8
    )
    params, annealer = engine.load_params(run, problem), annealer_of(problem, settings)
    folder = run.path.parent / "annealed"
    steps = find_steps(run.key("annealing steps"), params, annealer, folder=folder)
    say = lambda done: print(f"  {done} of {size.particles} particles", flush=True)
    found = anneal(run.key("annealing"), params, annealer, steps, folder=folder, on_block=say)
    inside = np.asarray(state.contains(found.x.T))
    back = anneal_back(run.key("back"), params, annealer, steps, frames, folder=folder)
    filled = -(-back.log_w.size // batch) * batch
    return {
        "log_w": np.where(inside, found.log_w, -np.inf),
        "u": found.u,
        "block": found.block,
        "log_w_back": back.log_w,
        "evaluations": np.array(settings.evaluations),
        "evaluations_back": np.array(filled * settings.evaluations_each),
    }


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
    asked = {"pdb": pdb.name, "bridge": bridge, "scale": scale, "seed": seed}
    try:
        result = result_of(asked, pdb, other, temperatures, out, compare=compare)
    except ConfigError as error:
        raise SystemExit(f"fig6f: {error}") from None
    print("\n".join(table(result)))
    result |= asked | {"device": environment.devices(), "versions": environment.versions()}
    (out / "fig6f.json").write_text(json.dumps(jax.tree.map(_plain, result), indent=2))


def result_of(
    asked: dict[str, Any],
    pdb: Path,
    other: Path | None,
    temperatures: tuple[float, ...],
    out: Path,
    *,
    compare: bool,
) -> dict[str, Any]:
    """All numbers.

    Args:
        asked: what the folder belongs to, with "bridge", "scale" and "seed".
        pdb: a structure.
        other: one in the other state; None to make it.
        temperatures: K.
        out: folder.
        compare: with replica exchange that crosses.

    Raises:
        ConfigError: a folder of something else, no such bridge, or too few frames in a state.
    """
    out.mkdir(parents=True, exist_ok=True)
    about, text = out / "about.json", json.dumps(asked)
    if about.exists() and about.read_text().strip() != text:
        raise ConfigError(
            f"{out} holds {about.read_text().strip()}, not {text}: choose another --out"
        )
    size, seed = SIZES[asked["scale"]], asked["seed"]
    paths, molecules, states = structures(pdb, other, asked["bridge"], out)
    about.write_text(text)
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
    return result


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
    starts, frames, spent = frames_of(
        molecule,
        state,
        lowest=T0,
        rounds=size.rounds,
        chains=size.chains,
        n_back=size.particles // 4,
        seed=seed,
        out=folder,
    )
    run, problem = trained(pdb, starts, size, seed, folder)
    found = annealed(run, problem, state, size, frames)
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
        "energies": {
            "replica exchange": spent,
            "dynamics": engine.plan_of(run).data.evaluations,
            "annealing": int(found["evaluations"]),
            "annealing back": int(found["evaluations_back"]),
        },
        "weights": weights._asdict(),
        "alarms": alarms,
        "ln_z": numbers | {"bar": sides.bar._asdict()},
    }


def _plain(value: Any) -> Any:
    value = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
    return value if not isinstance(value, float) or np.isfinite(value) else None


if __name__ == "__main__":
    tyro.cli(main)
