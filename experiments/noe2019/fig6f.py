"""Two rotamer states of a disulfide bridge from two generators of all atoms (Noe et al. 2019, Fig. 6f and S3c).

The sign of the torsion CB-SG-SG-CB of one bridge divides a molecule's configurations into two states, behind a
barrier of 12 kT that dynamics at 300 K do not cross. One generator learns all atoms of one state from frames of
replica exchange that no move leaves; no configuration on the way between is ever needed. Particles are annealed
from each flow to the Boltzmann density of its state, and frames that training did not see back: ln Z of each
state from both sides, with a gap that says whether flow and simulation know the same state. F(plus) - F(minus) at
``--temperatures`` is the ratio of mean weights, at other temperatures than the generators' by reweighting the
particles; U by the same weights, and T S = U - F.

The published difference of BPTI (X to O: 39.5 +- 6.4, 25.7 and 8.8 kJ/mol at 290, 310 and 330 K) has no
reference. Here two capped peptides joined by a bridge, ACE-CYS-NME and ACE-ALA-CYS-NME, have one: replica exchange
up to 600 K, where the bridge turns.

    python experiments/noe2019/fig6f.py --out runs/fig6f
    python experiments/noe2019/fig6f.py --pdb experiments/noe2019/structures/cys-ala-ala-cys.pdb --out runs/ring
    python experiments/noe2019/fig6f.py --pdb my.pdb --bridge 14 38 --no-compare --out runs/mine

A killed run resumes where it was saved last; what is finished is read back.
"""

import json
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro
from bridge import bridge_quad, closes_ring, structures
from bridge_differences import by_both_sides, differences, doubts, refused, table
from bridge_exchange import HOTTEST, frames_of, populations
from bridge_generators import T0, Found, Size, annealed, open_chains, ring

from jbg.analysis.annealed_weights import annealed_weights, two_sided
from jbg.analysis.protein_alarms import annealing_alarms
from jbg.interfaces import ConfigError, State
from jbg.runs import environment
from jbg.systems.molecule import Molecule

PEPTIDES = Path(__file__).parent / "structures/cys-bridge-ala-cys.pdb"
STRIDE = 7919  # between the seeds of the states
Scale = Literal["tiny", "small"]
SIZES = {
    "tiny": Size(40, 40, 40, particles=64, levels=2, chains=8, ps=2.0),
    "small": Size(3000, 12_000, 1000, particles=3000, levels=40, chains=512, ps=4.0),
}


def main(
    *,
    pdb: Path = PEPTIDES,
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
    closed = closes_ring(molecules[0].topology, bridge_quad(molecules[0].topology, asked["bridge"]))
    kind = "ring" if closed else "open"
    found, rows = [], {}
    for i, (path, molecule, state) in enumerate(zip(paths, molecules, states, strict=True)):
        one, rows[state.name] = state_row(
            kind, path.absolute(), molecule, state, size, seed + STRIDE * i, out / state.name
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
            highest=HOTTEST[kind],
            rounds=size.reference,
            seed=seed + 1,
            kelvins=temperatures,
            out=out,
        )
    return result


def state_row(
    kind: str,
    pdb: Path,
    molecule: Molecule,
    state: State,
    size: Size,
    seed: int,
    folder: Path,
) -> tuple[Found, dict[str, Any]]:
    """Weights of a state's samples, and numbers of them.

    Args:
        kind: "ring" where the bridge closes one, else "open".
        pdb: a structure in the state.
        molecule: of the structure.
        state: the state.
        size: of the run.
        seed: of its random numbers.
        folder: of the state, where all is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames = frames_of(
        molecule,
        state,
        lowest=T0,
        highest=HOTTEST[kind],
        rounds=size.rounds,
        n_back=size.particles // 4,
        seed=seed,
        out=folder,
    )
    learn = {"ring": ring, "open": open_chains}[kind]
    generator = learn(pdb, molecule, frames, size, seed, folder)
    found = annealed(generator, state, frames.back, size, seed, folder / "annealed")
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
            "replica exchange": frames.evaluations,
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
