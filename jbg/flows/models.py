"""Whole flows: RealNVP and neural spline flows for mixed circular and linear variables."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from jax import Array

from jbg.flows.compose import chain, permute, repeat, take_rows, with_key
from jbg.flows.conditioners import MLP, ConditionerSettings, ScaleAndShift
from jbg.flows.coupling import coupling
from jbg.flows.halves import Half, circular_halves, linear_halves, with_all_circular
from jbg.flows.score import push_score
from jbg.flows.spline import FLOOR
from jbg.flows.transformers import affine, circular_spline, spline
from jbg.interfaces import Bijector


def realnvp(
    dim: int,
    *,
    n_blocks: int = 4,
    hidden: Sequence[int] = (100, 100),
    unroll: int = 1,
    rematerialise: bool = False,
) -> Bijector:
    """RealNVP as in Noe et al. 2019: blocks of two affine couplings on even and odd coordinates.

    Separate networks S (tanh, zero at the start) and T (ReLU); see Eqs. 5-8 and the supplement.

    Args:
        dim: dimension of the event.
        n_blocks: number of blocks.
        hidden: widths of the hidden layers of each network.
        unroll: blocks per step of the scan over depth.
        rematerialise: compute each block again for its gradient and keep its input alone, for large batches.
    """
    even_odd = np.concatenate([np.arange(0, dim, 2), np.arange(1, dim, 2)])
    even, odd = linear_halves(0, dim)
    shared = {"dim": dim, "conditioner": ScaleAndShift(hidden=tuple(hidden)), "circular": None}

    def couple(order: Array) -> list[Bijector]:
        pairs = [(even, odd), (odd, even)]
        return [coupling(a, b, linear=affine(), order=order, **shared) for a, b in pairs]

    return coupling_blocks(
        couple, np.tile(even_odd, (n_blocks, 1)), unroll=unroll, rematerialise=rematerialise
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RealNVPConfig:
    """Sizes of a RealNVP (`realnvp`), by default that of Noe et al. 2019, Fig. 5, for BPTI.

    Attributes:
        n_blocks: blocks of two couplings.
        hidden: widths of the hidden layers of each network.
    """

    n_blocks: int = 8
    hidden: tuple[int, ...] = (256, 128, 256)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplineFlowConfig:
    """Sizes of a spline flow.

    Attributes:
        n_blocks: blocks of two couplings for the linear variables, every block with a new split.
        n_circular_blocks: the same for the circular ones.
        conditioner: the networks of the couplings (`flows.conditioners`): `MLP`, or `PerVariable` for variables
            that each depend on a few others; anything with ``make`` (`ConditionerConfig`) will do.
        n_bins: bins of each spline.
        bound: where the splines of linear variables end, in standard deviations.
        floor: of the splines (`flows.spline`): smallest share of the interval that a bin takes, and smallest slope
            at a knot. A flow that learns from its own samples needs more of it than one that learns from data:
            where it has given up, nothing else bounds how flat or how steep it becomes.
        seed: of the random splits.
        unroll: blocks per step of the scan over depth.
        rematerialise: compute each block again for its gradient and keep its input alone, for large batches.

    Raises:
        ValueError: no bins, or floor is not in (0, 1 / n_bins).
    """

    n_blocks: int = 4
    n_circular_blocks: int = 3
    conditioner: ConditionerSettings = MLP()
    n_bins: int = 8
    bound: float = 5.0
    floor: float = FLOOR
    seed: int = 0
    unroll: int = 1
    rematerialise: bool = False

    def __post_init__(self):
        if self.n_bins < 1:
            raise ValueError(f"spline_flow: n_bins must be 1 or more, got {self.n_bins}")
        if not 0 < self.floor < 1 / self.n_bins:
            raise ValueError(f"spline_flow: floor must lie in (0, 1/n_bins), got {self.floor}")
        if not 0 < self.bound < math.inf:
            raise ValueError(f"spline_flow: bound must be positive, got {self.bound}")


def spline_flow(n_circular: int, n_linear: int, config: SplineFlowConfig | None = None) -> Bijector:
    """Spline flow on n_circular angles in [-pi, pi) followed by n_linear numbers: p(soft) p(stiff | soft).

    The circular variables are generated first, from each other; then the linear ones, from each other and
    from *all* circular ones. The chain rule makes this no restriction, and it lets every coupling of stiff
    variables see the whole conformation: on alanine dipeptide what a flow without that order never learnt
    was the rare basin.

    Raises:
        ValueError: for no variables at all.
    """
    config, dim = config or SplineFlowConfig(), n_circular + n_linear
    if dim < 1:
        raise ValueError("spline_flow: needs at least one variable")
    rng = np.random.default_rng(config.seed)
    shared = {
        "dim": dim,
        "conditioner": config.conditioner,
        "circular": circular_spline(n_bins=config.n_bins, floor=config.floor),
        "linear": spline(n_bins=config.n_bins, bound=config.bound, floor=config.floor),
    }

    def blocks(pairs: Sequence[tuple[Half, Half]], orders: np.ndarray) -> Bijector:
        def couple(order: Array) -> list[Bijector]:
            return [
                coupling(source, moved, order=order, **shared)
                for source, moved in pairs
                if moved.n_circular + moved.n_linear
            ]

        return coupling_blocks(
            couple, orders, unroll=config.unroll, rematerialise=config.rematerialise
        )

    parts = []
    if n_circular:
        first, second = circular_halves(n_circular)
        orders = _random_orders(rng, config.n_circular_blocks, 0, n_circular, dim)
        parts.append(blocks([(second, first), (first, second)], orders))
    if n_linear:
        first, second = linear_halves(n_circular, n_linear)
        context_1, context_2 = (with_all_circular(half, n_circular) for half in (first, second))
        orders = _random_orders(rng, config.n_blocks, n_circular, n_linear, dim)
        parts.append(blocks([(context_2, first), (context_1, second)], orders))
    return chain(*parts)


def _random_orders(
    rng: np.random.Generator, n_blocks: int, start: int, n: int, dim: int
) -> np.ndarray:
    """Orders ``(n_blocks, dim)`` that shuffle rows start ... start + n and leave the others in place."""
    orders = np.tile(np.arange(dim), (n_blocks, 1))
    orders[:, start : start + n] = start + rng.permuted(
        np.tile(np.arange(n), (n_blocks, 1)), axis=1
    )
    return orders


def coupling_blocks(
    couplings: Callable[[Array], Sequence[Bijector]],
    orders: np.ndarray,
    *,
    unroll: int = 1,
    rematerialise: bool = False,
) -> Bijector:
    """Couplings one after the other, once for each row of ``orders (n_blocks, dim)``, scanned over depth.

    Row b orders the variables for block b, and ``couplings(row)`` makes its couplings; only the row differs from
    block to block. Variables keep their places from end to end.

    Args:
        couplings: order of the variables -> couplings of a block.
        orders: one row for each block.
        unroll, rematerialise: as for `compose.repeat`.
    """
    # Neighbouring orders are merged, so that each block gathers once: order b relative to order b - 1.
    order = np.asarray(orders)
    previous = np.concatenate([np.arange(order.shape[1])[None], order[:-1]])
    steps = np.stack([np.argsort(p)[q] for p, q in zip(previous, order, strict=True)])
    rows = np.stack([steps, np.argsort(steps, axis=1), order], axis=1).astype(np.int32)

    def block(row: Array) -> Bijector:
        return _reordered(chain(*couplings(row[2])), row[0], row[1])

    return chain(
        repeat(block, rows, unroll=unroll, rematerialise=rematerialise),
        permute(np.argsort(order[-1])),
    )


def _reordered(couple: Bijector, there: Array, back: Array) -> Bijector:
    """``couple`` after the permutation ``there``, whose inverse is ``back``."""

    def forward(params, z):
        return couple.forward(params, take_rows(z, there, back))

    def inverse(params, x):
        z, log_det = couple.inverse(params, x)
        return take_rows(z, back, there), log_det

    def forward_score(params, z, score):
        z, score = (take_rows(a, there, back) for a in (z, score))
        return push_score(couple, params, z, score)

    return Bijector(
        dim_in=couple.dim_in,
        dim_out=couple.dim_out,
        init=couple.init,
        forward=forward,
        inverse=inverse,
        forward_score=forward_score,
        keyed=couple.keyed and (lambda key: _reordered(with_key(couple, key), there, back)),
    )
