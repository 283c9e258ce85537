"""Weak and strong scaling of training and sampling over devices and processes, a JSON line for each.

    python benchmarks/bench_scaling.py --kind weak|strong [--devices N] [--out FILE]
    srun python benchmarks/bench_scaling.py --kind weak --out FILE
    python benchmarks/bench_scaling.py --compare FILE

Each call measures the devices that it is given: training steps by example and by energy, and samples with their
energies, of a spline flow of 32 dimensions on the many-well. ``--batch`` is the number of samples in all (strong)
or on each device (weak). ``--compare`` prints the efficiency of every line against that with the fewest devices of
its kind. A CPU that is split into several devices has no more cores for it: such figures mean nothing, are marked
``"real": false`` and are not compared.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jbg.interfaces import ConfigError
from jbg.processes import WORKER, worker
from jbg.processes.share import share

DIM = 32


def measure(args: argparse.Namespace) -> int:
    """Appends the lines of these devices."""
    import jax
    import jax.numpy as jnp
    from record import line_of, median_seconds, time_training

    from jbg.flows import MLP, SplineFlowConfig, normal, spline_flow
    from jbg.generator import Generator
    from jbg.losses import NLL, ReverseKL
    from jbg.sampling.generate import make_draw
    from jbg.systems import many_well
    from jbg.targets import make_target
    from jbg.training import Stage, device_mesh, stage_losses
    from jbg.training.mesh import in_turn

    n = jax.device_count()
    batch = args.batch * (n if args.kind == "weak" else 1)
    config = SplineFlowConfig(n_blocks=args.blocks, conditioner=MLP(hidden=(256, 256)))
    generator = Generator(base=normal(DIM), bijector=spline_flow(0, DIM, config))
    target = make_target(many_well(dim=DIM))
    params = generator.init(jax.random.key(0))
    data = generator.base.sample(jax.random.key(1), 10_000, 1.0).T
    stage = Stage(name="a", steps=10, batch_size=batch, losses=(NLL(0.1), ReverseKL()))
    loss = stage_losses(generator, target)(stage, device_mesh())
    training = time_training(
        loss, stage.optimiser(), params, data, data_batch=batch, n_steps=args.steps
    )
    block = batch if args.kind == "weak" else max(1, batch // n)
    draw = make_draw(generator, target, block)
    keys = [jax.random.fold_in(jax.random.key(2), i) for i in range(2 * n)]
    sampling = median_seconds(lambda: [jnp.sum(u) for _, _, u in in_turn(draw, params, keys)])
    for what, value, unit in (
        ("train", args.steps * batch / training.seconds, "samples/s"),
        ("sample", len(keys) * block / sampling, "samples/s"),
    ):
        settings = {"kind": args.kind, "devices": n, "processes": jax.process_count()}
        settings |= {"batch": batch, "blocks": args.blocks, "real": real()}
        if worker.is_writer():
            text = json.dumps(line_of(f"scaling/{what}", value, unit, **settings))
            print(text)
            if args.out:
                with args.out.open("a") as file:
                    file.write(text + "\n")
    if not real() and worker.is_writer():
        print("devices of a split CPU: these figures mean nothing", file=sys.stderr)
    return 0


def real() -> bool:
    """Whether the devices are pieces of hardware: accelerators, or one CPU."""
    import jax

    return jax.devices()[0].platform != "cpu" or jax.device_count() == 1


def compare(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The efficiency of each line of real devices against that with the fewest, both kinds apart.

    Rates are per device: 1 is perfect, weak or strong.
    """
    found = [json.loads(line) for line in lines if line.strip()]
    groups: dict[tuple, list] = {}
    for entry in found:
        if entry["real"]:
            kind = entry["device"]["device_kind"]
            groups.setdefault((entry["name"], entry["kind"], kind), []).append(entry)
    rows = []
    for (name, kind, device), entries in groups.items():
        entries.sort(key=lambda entry: entry["devices"])
        first = entries[0]["value"] / entries[0]["devices"]
        rows += [
            {
                "name": name,
                "kind": kind,
                "device_kind": device,
                "devices": entry["devices"],
                "value": entry["value"],
                "efficiency": round(entry["value"] / entry["devices"] / first, 3),
            }
            for entry in entries
        ]
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=("weak", "strong"))
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="training steps per timed call")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--compare", type=Path, metavar="FILE")
    parser.add_argument("--devices", type=int)
    parser.add_argument("--coordinator")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    args = parser.parse_args()
    if args.compare:
        for row in compare(args.compare.read_text().splitlines()):
            print(json.dumps(row))
        return 0
    if args.kind is None:
        parser.error("--kind weak or --kind strong")
    names = ("devices", "coordinator", "processes", "process")
    try:
        return share(lambda: measure(args), **{name: getattr(args, name) for name in names})
    except ConfigError as error:
        parser.error(str(error))


if __name__ == "__main__":
    status = main()
    if WORKER in os.environ:
        worker.leave(status)
    sys.exit(status)
