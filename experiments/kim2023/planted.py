"""Whether the Wasserstein loss of Kim et al. 2023 corrects errors that add up along a chain, on a planted one.

A flow learns rebuilt frames whose phi and psi are all turned by the same small angle, so that its likelihood is as
good as ever and its backbone curls. From there four trainings go on for as many steps each:

    turned          likelihood of the turned frames alone: what is there to correct is not in its examples
    turned and w2   the same, and W2 against the frames as they are
    w2              W2 alone
    likelihood      likelihood of the frames as they are: how fast it corrects a turn that its examples tell of

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
from jbg.coords import ReducedCoordinates
from jbg.coords.reduced_set import KINDS
from jbg.coords.torsions import wrap
from jbg.coords.whitening import whitening
from jbg.flows import MLP, SplineFlowConfig
from jbg.interfaces import Loss
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
    seed: int = 0
    """Seed of flow, training and samples."""
    samples: int = 2000
    """Samples measured."""
    out: Path | None = None
    """JSON file to write."""


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    run = load_run(arguments.data)
    plan = engine.plan_of(run)
    options = dataclasses.replace(plan.options, learn="dynamics")
    plan = dataclasses.replace(
        plan, flow=dataclasses.replace(FLOW, seed=arguments.seed), options=options
    )
    found = trial(run, load_problem(plan, run), arguments)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1))
    print(table(found))


def trial(run: Run, problem: Problem, arguments: Arguments) -> dict[str, Any]:
    """All trainings, measured.

    Args:
        run: with the simulations.
        problem: of the rebuilt frames.
        arguments: of the script.
    """
    molecule = load_molecule(run)
    coords = load_coordinates(run, molecule, "dynamics")
    turn = turned(coords, arguments.turn)
    turned_nll, w2 = TurnedNLL(1.0, turn), Wasserstein(W2)
    first, onward, drawn = jax.random.split(jax.random.key(arguments.seed), 3)
    known = rebuilt_dynamics(run, coords, problem.target, roles=(ASIDE,))
    if problem.region is not None:
        known = known.where(problem.region(known.x))
    x = known.x.reshape(len(known.x), -1, 3)
    floor = distortion_floor(x, problem.backbone, known.chain, seed=arguments.seed)

    def trained(params: Any, losses: tuple[LossTerm, ...], key: Any) -> tuple[Any, float]:
        started = time.process_time()
        stage = Stage(
            name="planted", steps=arguments.steps, losses=losses, batch_size=arguments.batch,
            warmup=min(20, arguments.steps // 4), ema=0.98, clip_norm=10.0,
        )  # fmt: skip
        make_loss = stage_losses(problem.flow, None, problem.coords, backbone=problem.backbone)
        params = run_stages(
            (stage,),
            make_loss=make_loss,
            params=params,
            data=jnp.asarray(problem.examples.train),
            key=key,
        )
        return params, time.process_time() - started

    def measured(params: Any) -> dict[str, float]:
        z = problem.flow.base.sample(drawn, arguments.samples, 1.0)
        v, _ = problem.flow.bijector.forward(params, z)
        frames = np.asarray(problem.coords.forward((), v)[0]).T.reshape(arguments.samples, -1, 3)
        got = distance_distortion(frames, x, problem.backbone, seed=arguments.seed)
        held = -float(problem.flow.log_prob(params, jnp.asarray(problem.examples.heldout.T)).mean())
        return {
            "of_means": got.of_means * NM_TO_ANGSTROM,
            "printed": got.printed * NM_TO_ANGSTROM,
            "heldout_nll": held,
        }

    params, _ = trained(problem.init(first), (turned_nll,), first)
    rows: dict[str, Any] = {"planted": measured(params)}
    for name, losses in (
        ("turned", (turned_nll,)),
        ("turned and w2", (turned_nll, w2)),
        ("w2", (w2,)),
        ("likelihood", (NLL(),)),
    ):
        after, cpu = trained(params, losses, onward)
        rows[name] = measured(after) | {"cpu_seconds": cpu}
    return {
        "turn": arguments.turn,
        "turned_torsions": int(_rows_turned(coords).sum()),
        "steps": arguments.steps,
        "batch": arguments.batch,
        "seed": arguments.seed,
        "frames": [len(problem.examples.train), len(x)],
        "chains_aside": len(np.unique(known.chain)),
        "floor": {
            "of_means": floor.of_means * NM_TO_ANGSTROM,
            "printed": floor.printed * NM_TO_ANGSTROM,
        },
        "rows": rows,
    }


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
    floor = found["floor"]
    lines = [
        "training | distortion of mean distances / A (over its floor) | printed / A (over its floor) | "
        "held-out NLL"
    ]
    for name, row in found["rows"].items():
        means, printed = row["of_means"], row["printed"]
        lines.append(
            f"{name} | {means:.3f} ({means / floor['of_means']:.2f}) | {printed:.3f} "
            f"({printed / floor['printed']:.2f}) | {row['heldout_nll']:.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
