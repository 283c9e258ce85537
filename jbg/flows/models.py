"""Whole flows: RealNVP and neural spline flows for mixed circular and linear variables."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jbg.flows.compose import chain, permute, repeat, take_rows
from jbg.flows.conditioners import Conditioner, mlp, per_variable_mlp
from jbg.flows.coupling import Half, circular_halves, coupling, linear_halves, with_all_circular
from jbg.flows.spline import FLOOR
from jbg.flows.transformers import affine, circular_spline, spline
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
    even, odd = linear_halves(0, dim)

    def couple(source: Half, moved: Half) -> Bijector:
        return coupling(
            source,
            moved,
            dim=dim,
            make_conditioner=make_conditioner,
            circular=None,
            linear=affine(),
        )

    return coupling_blocks(
        [couple(even, odd), couple(odd, even)], np.tile(even_odd, (n_blocks, 1)), unroll=unroll
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplineFlowConfig:
    """Sizes of a spline flow.

    n_blocks: blocks of two couplings for the linear variables, every block with a new split.
    n_circular_blocks: the same for the circular ones.
    hidden: widths of the conditioners' hidden layers.
    per_variable: a network of these widths for each transformed variable, in place of one for all of them; for
        variables that each depend on a few others.
    n_bins: bins of each spline. bound: where the splines of linear variables end, in standard deviations.
    floor: of the splines (`flows.spline`): smallest share of the interval that a bin takes, and smallest slope at
        a knot. A flow that learns from its own samples needs more of it than one that learns from data: where it
        has given up, nothing else bounds how flat or how steep it becomes.
    seed: of the random splits. unroll: blocks per step of the scan over depth.

    Raises:
        ValueError: no bins, or floor is not in (0, 1 / n_bins).
    """

    n_blocks: int = 4
    n_circular_blocks: int = 3
    hidden: tuple[int, ...] = (128, 128)
    per_variable: bool = False
    n_bins: int = 8
    bound: float = 5.0
    floor: float = FLOOR
    seed: int = 0
    unroll: int = 1

    def __post_init__(self):
        if self.n_bins < 1:
            raise ValueError(f"spline_flow: n_bins must be 1 or more, got {self.n_bins}")
        if not 0 < self.floor < 1 / self.n_bins:
            raise ValueError(f"spline_flow: floor must lie in (0, 1/n_bins), got {self.floor}")


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
    circular, linear = (
        circular_spline(n_bins=config.n_bins, floor=config.floor),
        spline(n_bins=config.n_bins, bound=config.bound, floor=config.floor),
    )

    def couple(source: Half, moved: Half) -> Bijector:
        def conditioner(n_in: int, n_out: int) -> Conditioner:
            if not config.per_variable:
                return mlp(n_in, n_out, hidden=config.hidden)
            n = moved.n_circular + moved.n_linear
            return per_variable_mlp(n_in, n_out, n_variables=n, hidden=config.hidden)

        return coupling(
            source, moved, dim=dim, make_conditioner=conditioner, circular=circular, linear=linear
        )

    parts = []
    if n_circular:
        first, second = circular_halves(n_circular)
        pairs = [(second, first), (first, second)]
        couples = [couple(a, b) for a, b in pairs if b.n_circular]
        orders = _random_orders(rng, config.n_circular_blocks, 0, n_circular, dim)
        parts.append(coupling_blocks(couples, orders, unroll=config.unroll))
    if n_linear:
        first, second = linear_halves(n_circular, n_linear)
        context_1, context_2 = (with_all_circular(half, n_circular) for half in (first, second))
        pairs = [(context_2, first), (context_1, second)]
        couples = [couple(a, b) for a, b in pairs if b.n_linear]
        orders = _random_orders(rng, config.n_blocks, n_circular, n_linear, dim)
        parts.append(coupling_blocks(couples, orders, unroll=config.unroll))
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
    couplings: Sequence[Bijector], orders: np.ndarray, *, unroll: int = 1
) -> Bijector:
    """The couplings one after the other, once for each row of ``orders (n_blocks, dim)``, scanned over depth.

    Row b orders the variables for block b. Variables keep their places from end to end.
    """
    couple = chain(*couplings)
    dim = couple.dim_in

    # Neighbouring orders are merged, so that each block gathers once: order b relative to order b - 1.
    order = np.asarray(orders)
    previous = np.concatenate([np.arange(dim)[None], order[:-1]])
    steps = np.stack([np.argsort(p)[q] for p, q in zip(previous, order, strict=True)])
    both = np.stack([steps, np.argsort(steps, axis=1)], axis=1).astype(np.int32)

    def block(row):
        def forward(params, z):
            return couple.forward(params, take_rows(z, row[0], row[1]))

        def inverse(params, x):
            z, log_det = couple.inverse(params, x)
            return take_rows(z, row[1], row[0]), log_det

        def forward_score(params, z, score):
            z, score = (take_rows(a, row[0], row[1]) for a in (z, score))
            return couple.forward_score(params, z, score)

        return Bijector(
            dim_in=dim,
            dim_out=dim,
            init=couple.init,
            forward=forward,
            inverse=inverse,
            forward_score=forward_score,
        )

    return chain(repeat(block, both, unroll=unroll), permute(np.argsort(order[-1])))
