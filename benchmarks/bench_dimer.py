"""Energies with forces per second of the dimer in its bath, and training steps per second of a RealNVP on it.

    python benchmarks/bench_dimer.py [--batch 1024] [--steps 10] [--repeats 5]

76 dimensions; 16 affine couplings with networks S and T of three hidden layers of 200 each, 3.07 million
parameters. Training as in `jbg run`, Adam and running average included: by example (NLL), by energy (reverse KL
through the softened energy, with and without path gradients), by both.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from record import median_seconds, report, time_training

from jbg.flows import normal, realnvp
from jbg.generator import Generator
from jbg.losses import NLL, Jeffreys, ReverseKL
from jbg.systems import lj_dimer
from jbg.targets import make_target, soften
from jbg.training import Stage, device_mesh, stage_losses

ENERGY_BATCHES = (1024, 8000)
TRAININGS = {
    "nll": (NLL(),),
    "kl": (ReverseKL(),),
    "kl_path_gradient": (ReverseKL(path_gradient=True),),
    "jeffreys": (Jeffreys(),),
    "nll_kl": (NLL(), ReverseKL()),
}


def configurations(start: np.ndarray, n: int) -> np.ndarray:
    """``(dim, n)`` near the relaxed closed dimer."""
    noise = 0.05 * np.random.default_rng(0).normal(size=(len(start), n))
    return (start[:, None] + noise).astype(np.float32)


def bench_energies(targets, start: np.ndarray, repeats: int) -> None:
    for name, target in targets.items():
        both = jax.jit(jax.value_and_grad(lambda x, u=target.reduced_energy: u(x).sum()))
        for batch in ENERGY_BATCHES:
            x = jnp.asarray(configurations(start, batch))
            seconds = median_seconds(lambda: both(x), repeats=repeats)  # noqa: B023
            figure = f"dimer/energy_and_force/{name}"
            report(figure, batch / seconds, "configurations/s", batch=batch)


def bench_training(name: str, target, start: np.ndarray, args: argparse.Namespace) -> None:
    flow = realnvp(76, n_blocks=8, hidden=(200, 200, 200), unroll=args.unroll)
    generator = Generator(base=normal(76), bijector=flow)
    stage = Stage(
        name=name,
        steps=args.steps,
        log_every=args.steps,
        batch_size=args.batch,
        learning_rate=1e-4,
        losses=TRAININGS[name],
    )
    params = generator.init(jax.random.key(0))
    timing = time_training(
        stage_losses(generator, target)(stage, device_mesh()),
        stage.optimiser(),
        params,
        jnp.asarray(configurations(start, 10 * args.batch).T),
        data_batch=args.batch,
        n_steps=args.steps,
        ema=stage.ema,
        repeats=args.repeats,
    )
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    settings = {"batch": args.batch, "unroll": args.unroll, "parameters": size}
    report(f"dimer/realnvp_76d_16x3x200/{name}", args.steps / timing.seconds, "steps/s", **settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=10, help="training steps per timed call")
    parser.add_argument("--unroll", type=int, default=8, help="blocks per step of the scan, of 8")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=("energies", *TRAININGS), default=None)
    args = parser.parse_args()
    system = lj_dimer()
    target = make_target(system)
    softened = soften(target, e_high=100.0, e_max=1e20)
    only = args.only or ("energies", *TRAININGS)
    if "energies" in only:
        targets = {"true": target, "softened": softened}
        bench_energies(targets, system.start[0], args.repeats)
    for name in TRAININGS:
        if name in only:
            bench_training(name, target, system.start[0], args)


if __name__ == "__main__":
    main()
