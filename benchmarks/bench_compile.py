"""Seconds to trace and compile the gradient of the likelihood of spline flows of rising depth.

    python benchmarks/bench_compile.py [--layers 4 16 58] [--unroll 1]

Depth is an array axis (`lax.scan` over blocks of two couplings), so the time should stay flat.
"""

import argparse
import time

import jax
from record import report

from jbg.flows import MLP, SplineFlowConfig, normal, product, spline_flow, uniform
from jbg.generator import Generator
from jbg.losses import make_nll_loss


def compile_seconds(n_layers: int, *, unroll: int) -> float:
    """Wall time from a fresh flow of ``n_layers`` couplings to its compiled loss and gradient."""
    config = SplineFlowConfig(
        n_blocks=n_layers // 2, conditioner=MLP(hidden=(256, 256)), unroll=unroll
    )
    generator = Generator(
        base=product(uniform(19), normal(41)), bijector=spline_flow(19, 41, config)
    )
    params = jax.eval_shape(generator.init, jax.random.key(0))
    batch = jax.ShapeDtypeStruct((60, 1024), "float32")
    loss = make_nll_loss(generator)
    step = jax.jit(jax.value_and_grad(lambda params, x: loss(params, x, None)[0]))
    begin = time.perf_counter()
    step.lower(params, batch).compile()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, nargs="+", default=[4, 16, 58])
    parser.add_argument("--unroll", type=int, default=1, help="blocks per scanned step")
    args = parser.parse_args()
    compile_seconds(2, unroll=1)  # the first compilation also starts the backend
    for n_layers in args.layers:
        seconds = compile_seconds(n_layers, unroll=args.unroll)
        report("spline_60d/compile", seconds, "s", layers=n_layers, unroll=args.unroll)


if __name__ == "__main__":
    main()
