"""What the Wasserstein loss of Kim et al. 2023 does about errors that add up along a chain, on a planted one.

A flow learns rebuilt frames whose phi and psi are all turned by the same small angle: the likelihood of each
torsion hardly changes, and the backbone curls. From there trainings go on for as many steps each:

    likelihood          of the frames as they are: how fast it corrects the turn by itself
    likelihood and w2   the same, and W2 against the same frames
    w2                  alone
    turned              likelihood of the turned frames: a turn that its examples do not tell of stays
    turned and w2       the same, and W2 against the frames as they are, which alone tell of it

Distortions are those of the mean backbone distances and the printed formula, against chains of the dynamics that
no training saw, each beside its floor between these chains. The folder of simulations is that of `table1.py`.

    python experiments/kim2023/planted.py --data runs/table1-hp35/data --out planted.json
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jbg.analysis import distance_distortion, distortion_floor
from jbg.analysis.distances import Distortion
from jbg.coords import ReducedCoordinates
from jbg.coords.reduced_set import KINDS
from jbg.coords.torsions import wrap
from jbg.coords.whitening import whitening
from jbg.flows import MLP, SplineFlowConfig
from jbg.interfaces import ConfigError, Loss
from jbg.losses import NLL, LossContext, LossTerm, Wasserstein
from jbg.runs import Run, load_run
from jbg.studies import engine
from jbg.studies.dataset import ASIDE
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.problem import Problem
from jbg.studies.protein.problem import load_problem, rebuilt_dynamics
from jbg.studies.protein.source import load_coordinates
from jbg.training import Stage, run_stages
from jbg.training.stage_losses import stage_losses

W2 = 100.0  # weight of the squared distance in nm^2: 1 in Angstrom^2
FLOW = SplineFlowConfig(
    n_blocks=2, n_circular_blocks=1, conditioner=MLP(hidden=(64, 64)), floor=1e-2
)
NM_TO_ANGSTROM = 10.0


@dataclasses.dataclass(frozen=True)
class TurnedNLL:
    """Likelihood of examples after ``turn``, v ``(d, n)`` -> v."""

    weight: float
    turn: Any

    def build(self, context: LossContext) -> Loss:
        loss = NLL().build(context)
        return lambda params, batch, key: loss(params, self.turn(batch), key)

    def energies(self, batch: int) -> int:
        del batch
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments:
    """Which simulations, how large an error."""

    data: Path
    """Run folder with simulations of a protein."""
    turn: float = 0.1
    """Radians that every phi and psi is turned by."""
    steps: int = 300
    """Steps of each training, and of the first, which plants the error."""
    batch: int = 128
    """Examples and own samples in a step."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of initial parameters, batches and samples."""
    samples: int = 2000
    """Samples measured."""
    out: Path | None = None
    """JSON file to write."""


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    try:
        run = load_run(arguments.data)
    except ConfigError as error:
        raise SystemExit(str(error)) from None
    plan = engine.plan_of(run)
    options = dataclasses.replace(plan.options, learn="dynamics")
    plan = dataclasses.replace(plan, flow=FLOW, options=options)
    found = trial(run, load_problem(plan, run), arguments)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1))
    print(table(found))


def trial(run: Run, problem: Problem, arguments: Arguments) -> dict[str, Any]:
    """All trainings of all seeds, measured.

    Args:
        run: with the simulations.
        problem: of the rebuilt frames.
        arguments: of the script.
    """
    coords = load_coordinates(run, load_molecule(run), "dynamics")
    planted, w2 = TurnedNLL(1.0, turned(coords, arguments.turn)), Wasserstein(W2)
    trainings: dict[str, tuple[LossTerm, ...]] = {
        "likelihood": (NLL(),),
        "likelihood and w2": (NLL(), w2),
        "w2": (w2,),
        "turned": (planted,),
        "turned and w2": (planted, w2),
    }
    known = rebuilt_dynamics(run, coords, problem.target, roles=(ASIDE,))
    if problem.region is not None:
        known = known.where(problem.region(known.x))
    x = known.x.reshape(len(known.x), -1, 3)
    rows: dict[str, list[dict[str, float]]] = {"planted": [], **{name: [] for name in trainings}}
    for seed in arguments.seeds:
        first, init, onward, drawn = jax.random.split(jax.random.key(seed), 4)
        params = trained(problem, (planted,), problem.init(init), first, arguments)
        rows["planted"].append(measured(problem, params, drawn, x, arguments))
        for name, losses in trainings.items():
            started = time.process_time()
            after = trained(problem, losses, params, onward, arguments)
            spent = {"cpu_seconds": time.process_time() - started}
            rows[name].append(measured(problem, after, drawn, x, arguments) | spent)
    floor = distortion_floor(x, problem.backbone, known.chain)
    return {
        "turn": arguments.turn,
        "turned_torsions": int(_rows_turned(coords).sum()),
        "steps": arguments.steps,
        "batch": arguments.batch,
        "seeds": list(arguments.seeds),
        "frames": [len(problem.examples.train), len(x)],
        "chains_aside": len(np.unique(known.chain)),
        "floor": _in_angstrom(floor),
        "rows": rows,
    }


def trained(
    problem: Problem, losses: tuple[LossTerm, ...], params: Any, key: Any, arguments: Arguments
) -> Any:
    """Averaged parameters after one stage.

    Args:
        problem: of the rebuilt frames.
        losses: of the stage.
        params: where it starts.
        key: of its batches and samples.
        arguments: of the script.
    """
    stage = Stage(
        name="planted", steps=arguments.steps, losses=losses, batch_size=arguments.batch,
        warmup=min(20, arguments.steps // 4), ema=0.98, clip_norm=10.0,
    )  # fmt: skip
    make_loss = stage_losses(problem.flow, None, problem.coords, backbone=problem.backbone)
    data = jnp.asarray(problem.examples.train)
    return run_stages((stage,), make_loss=make_loss, params=params, data=data, key=key)


def measured(
    problem: Problem, params: Any, key: Any, x: np.ndarray, arguments: Arguments
) -> dict[str, float]:
    """Distortions in Angstrom, and the held-out likelihood of the frames as they are.

    Args:
        problem: of the rebuilt frames.
        params: of the flow.
        key: of the samples.
        x: frames of chains that no training saw ``(n, atoms, 3)``, nm.
        arguments: of the script.
    """
    z = problem.flow.base.sample(key, arguments.samples, 1.0)
    v, _ = problem.flow.bijector.forward(params, z)
    frames = np.asarray(problem.coords.forward((), v)[0]).T.reshape(arguments.samples, -1, 3)
    held = -float(problem.flow.log_prob(params, jnp.asarray(problem.examples.heldout.T)).mean())
    return _in_angstrom(distance_distortion(frames, x, problem.backbone)) | {"heldout_nll": held}


def _in_angstrom(found: Distortion) -> dict[str, float]:
    names = ("of_means", "of_means_std", "printed", "printed_std")
    return {name: getattr(found, name) * NM_TO_ANGSTROM for name in names}


def turned(coords: ReducedCoordinates, angle: float) -> Any:
    """v ``(d, n)`` -> v with each kept phi and psi turned by ``angle``."""
    white, rows = whitening(coords.fit.whitening), _rows_turned(coords)

    def turn(v):
        values, _ = white.forward((), v)
        return white.inverse((), wrap(values + angle * jnp.asarray(rows, v.dtype)[:, None]))[0]

    return turn


def _rows_turned(coords: ReducedCoordinates) -> np.ndarray:
    return np.array([KINDS[k] in ("phi", "psi") for k in coords.fit.kind])


def table(found: dict[str, Any]) -> str:
    """Means over seeds with the standard deviation between them, and over the floor."""
    lines = [
        "training | distortion of mean distances / A (over its floor) | printed / A (over its floor) | "
        "held-out NLL"
    ]
    for name, rows in found["rows"].items():
        cells = []
        for key in ("of_means", "printed"):
            values, floor = np.array([row[key] for row in rows]), found["floor"][key]
            cells.append(f"{_with_spread(values)} ({values.mean() / floor:.2f})")
        cells.append(_with_spread(np.array([row["heldout_nll"] for row in rows])))
        lines.append(" | ".join([name, *cells]))
    return "\n".join(lines)


def _with_spread(values: np.ndarray) -> str:
    spread = f" +- {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}"


if __name__ == "__main__":
    main()
