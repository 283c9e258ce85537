"""Whole flows: RealNVP and neural spline flows for mixed circular and linear variables."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jbg.flows.compose import chain, permute, repeat, take_rows
from jbg.flows.conditioners import Conditioner, mlp
from jbg.flows.coupling import coupling, halves
from jbg.flows.transformers import Transformer, affine, circular_spline, spline
from jbg.interfaces import Bijector


def realnvp(
    dim: int, *, n_blocks: int = 4, hidden: Sequence[int] = (100, 100), unroll: int = 1
) -> Bijector:
    """RealNVP as in Noe et al. 2019: blocks of two affine couplings on even and odd coordinates.

    Separate networks S (tanh, zero at the start) and T (ReLU); see Eqs. 5-8 and the supplement.
    """

    def make_conditioner(n_in: int, n_out: int) -> Conditioner:
        half = n_out // 2
        s = mlp(n_in, half, hidden=hidden, activation="tanh")
        t = mlp(n_in, half, hidden=hidden, activation="relu", zero_last=False)

        def init(key):
            key_s, key_t = jax.random.split(key)
            return {"s": s.init(key_s), "t": t.init(key_t)}

        def apply(params, h):
            return jnp.concatenate([s.apply(params["s"], h), t.apply(params["t"], h)])

        return Conditioner(init=init, apply=apply)

    even_odd = np.concatenate([np.arange(0, dim, 2), np.arange(1, dim, 2)])
    if dim % 2:  # halves() puts the larger share of linear variables second
        even_odd = np.roll(even_odd, dim // 2)
    return coupling_flow(
        0,
        dim,
        permutations=np.tile(even_odd, (n_blocks, 1)),
        make_conditioner=make_conditioner,
        circular=None,
        linear=affine(),
        unroll=unroll,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplineFlowConfig:
    """Sizes of a spline flow.

    n_blocks: blocks of two couplings; every block splits the variables anew.
    hidden: widths of the conditioner's hidden layers.
    n_bins: bins of each spline; bound: where the splines of linear variables end, in standard deviations.
    seed: of the random splits.
    """

    n_blocks: int = 4
    hidden: tuple[int, ...] = (128, 128)
    n_bins: int = 8
    bound: float = 5.0
    seed: int = 0
    unroll: int = 1


def spline_flow(
    n_circular: int, n_linear: int, config: SplineFlowConfig | None = None
) -> Bijector:
    """Rational-quadratic spline flow on n_circular angles in [-pi, pi) followed by n_linear numbers."""
    config = config or SplineFlowConfig()
    rng = np.random.default_rng(config.seed)
    permutations = np.stack(
        [
            np.concatenate([rng.permutation(n_circular), n_circular + rng.permutation(n_linear)])
            for _ in range(config.n_blocks)
        ]
    )
    return coupling_flow(
        n_circular,
        n_linear,
        permutations=permutations,
        make_conditioner=lambda n_in, n_out: mlp(n_in, n_out, hidden=config.hidden),
        circular=circular_spline(n_bins=config.n_bins),
        linear=spline(n_bins=config.n_bins, bound=config.bound),
        unroll=config.unroll,
    )


def coupling_flow(
    n_circular: int,
    n_linear: int,
    *,
    permutations: np.ndarray,
    make_conditioner: Callable[[int, int], Conditioner],
    circular: Transformer | None,
    linear: Transformer | None,
    unroll: int = 1,
) -> Bijector:
    """Blocks of two couplings, each on its own split of the variables, scanned over depth.

    Row b of ``permutations (n_blocks, dim)`` orders the variables for block b; the first half of each kind then
    conditions the second and the other way round. Variables keep their places from end to end.

    Raises:
        ValueError: for fewer than two variables, which a coupling cannot split.
    """
    dim = n_circular + n_linear
    if dim < 2:
        raise ValueError(f"coupling_flow: needs at least 2 variables, got {dim}")
    first, second = halves(n_circular, n_linear)
    shared = {"make_conditioner": make_conditioner, "circular": circular, "linear": linear}
    couple = chain(coupling(first, second, **shared), coupling(second, first, **shared))

    # Neighbouring permutations are merged, so each block gathers once: p_b relative to p_(b-1).
    order = np.asarray(permutations)
    previous = np.concatenate([np.arange(dim)[None], order[:-1]])
    steps = np.stack([np.argsort(p)[q] for p, q in zip(previous, order, strict=True)])
    both = np.stack([steps, np.argsort(steps, axis=1)], axis=1).astype(np.int32)

    def block(row):
        def forward(params, z):
            return couple.forward(params, take_rows(z, row[0], row[1]))

        def inverse(params, x):
            z, log_det = couple.inverse(params, x)
            return take_rows(z, row[1], row[0]), log_det

        return dataclasses.replace(couple, forward=forward, inverse=inverse)

    return chain(repeat(block, both, unroll=unroll), permute(np.argsort(order[-1])))
