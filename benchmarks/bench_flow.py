"""Samples, log-densities and training steps per second of the two flows everything is built from.

    python benchmarks/bench_flow.py [--batch 1024] [--steps 10]

RealNVP of 76 dimensions, 16 couplings, 2 x 200 hidden units; spline flow of 60 dimensions,
12 couplings, 2 x 256. Training is by example, with Adam, on all devices.
"""

import argparse

import jax
import optax
from record import report, time_compiled, time_training

from jbg.flows import MLP, SplineFlowConfig, normal, realnvp, spline_flow
from jbg.generator import Generator
from jbg.losses import make_nll_loss, weighted_sum


def realnvp_76() -> Generator:
    return Generator(base=normal(76), bijector=realnvp(76, n_blocks=8, hidden=(200, 200)))


def spline_60() -> Generator:
    flow = spline_flow(
        0, 60, SplineFlowConfig(n_blocks=6, conditioner=MLP(hidden=(256, 256)), unroll=2)
    )
    return Generator(base=normal(60), bijector=flow)


FLOWS = {"realnvp_76d_16x200": realnvp_76, "spline_60d_12x256": spline_60}


def bench(name: str, generator: Generator, *, batch: int, steps: int) -> None:
    """Reports the three rates of one flow."""
    key_init, key_data, key = jax.random.split(jax.random.key(0), 3)
    params = generator.init(key_init)
    x = generator.base.sample(key_data, batch, 1.0)
    data = generator.base.sample(key_data, 10 * batch, 1.0).T
    loss = weighted_sum([(1.0, make_nll_loss(generator))])
    sampling = time_compiled(lambda params, key: generator.sample(key, params, batch), params, key)
    density = time_compiled(generator.log_prob, params, x)
    training = time_training(loss, optax.adam(1e-4), params, data, data_batch=batch, n_steps=steps)
    for what, timing, n, unit in (
        ("sample", sampling, batch, "samples/s"),
        ("log_prob", density, batch, "densities/s"),
        ("train", training, steps, "steps/s"),
    ):
        settings = {"batch": batch, "compile_seconds": timing.compile_seconds}
        report(f"{name}/{what}", n / timing.seconds, unit, **settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=10, help="training steps per timed call")
    args = parser.parse_args()
    for name, make in FLOWS.items():
        bench(name, make(), batch=args.batch, steps=args.steps)


if __name__ == "__main__":
    main()
