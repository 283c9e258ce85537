"""The split flow of proteins: the backbone through couplings of its own, then all variables together.

Kim et al. 2023, section 3.4 and Fig. 1a, and their baseline of as many couplings without a split.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import jax
import numpy as np
from jax import Array

from jbg.flows.base import normal, product, uniform, von_mises
from jbg.flows.compose import chain
from jbg.flows.conditioners import MLP, GatedAttention, Tokens, check_tokens
from jbg.flows.coupling import coupling
from jbg.flows.halves import Half
from jbg.flows.models import coupling_blocks
from jbg.flows.spline import FLOOR
from jbg.flows.transformers import circular_spline, spline
from jbg.interfaces import BaseDistribution, Bijector, ConfigError

FEW = 8  # of so many variables of a kind or fewer, each coupling of a block takes exactly its half
MATCH = 0.1  # how far the number of parameters of a baseline may be from that of the flow it is compared with


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitFlowConfig:
    """Sizes of a split flow, and its base distribution.

    Kim et al.'s flow is the default; their baseline is `baseline` of it.

    Attributes:
        n_backbone_couplings: couplings of the backbone alone, in pairs with a new random split each; even.
        n_joint_couplings: couplings of backbone and side chains, likewise.
        conditioner: the networks of the couplings.
        n_bins: bins of each spline.
        bound: where the splines of linear variables end, in standard deviations.
        floor: smallest share of the interval that a bin takes, and smallest slope at a knot (`flows.spline`).
        circular_base: distribution of the circular latent variables, about 0.
        concentration: of the von Mises distribution. Not published; ours.
        seed: of the random splits.
        unroll: pairs of couplings per step of the scan over depth.
        rematerialise: compute each pair again for its gradient and keep its input alone, for large batches.

    Raises:
        ValueError: a number of couplings is odd or negative, or both are 0; no bins; ``bound`` or
            ``concentration`` is not positive; floor is not in (0, 1 / n_bins); an unknown base.
    """

    n_backbone_couplings: int = 48
    n_joint_couplings: int = 10
    conditioner: GatedAttention | MLP = GatedAttention()
    n_bins: int = 8
    bound: float = 5.0
    floor: float = FLOOR
    circular_base: Literal["uniform", "von-mises"] = "uniform"
    concentration: float = 1.0
    seed: int = 0
    unroll: int = 1
    rematerialise: bool = False

    def __post_init__(self):
        for name in ("n_backbone_couplings", "n_joint_couplings"):
            n = getattr(self, name)
            if n < 0 or n % 2:
                raise ValueError(f"split_flow: {name} must be even and 0 or more, got {n}")
        if not self.n_couplings:
            raise ValueError(
                "split_flow: expected couplings, got 0 of the backbone and 0 joint ones"
            )
        for name in ("n_bins", "unroll"):
            if getattr(self, name) < 1:
                raise ValueError(f"split_flow: {name} must be 1 or more, got {getattr(self, name)}")
        for name in ("bound", "concentration"):
            if not getattr(self, name) > 0:
                raise ValueError(f"split_flow: {name} must be positive, got {getattr(self, name)}")
        if not 0 < self.floor < 1 / self.n_bins:
            raise ValueError(f"split_flow: floor must lie in (0, 1/n_bins), got {self.floor}")
        if self.circular_base not in ("uniform", "von-mises"):
            raise ValueError(
                f"split_flow: circular_base must be uniform or von-mises, got {self.circular_base!r}"
            )

    @property
    def n_couplings(self) -> int:
        return self.n_backbone_couplings + self.n_joint_couplings


def split_flow(tokens: Tokens, config: SplitFlowConfig | None = None) -> Bijector:
    """Spline couplings on the variables of a protein, [circular | linear], the backbone first in each.

    From data to latent variables (``inverse``) the backbone passes through its own couplings, then all variables
    through the joint ones; ``forward`` undoes that, joint couplings first. Each coupling moves half of the
    circular and half of the linear variables given the others. Couplings of a backbone that has no
    variables are left out.

    Args:
        tokens: what each variable is; a perceptron reads the counts alone.
        config: sizes.

    Raises:
        ConfigError: the tokens do not fit together, or no coupling has anything to move.
    """
    config = config or SplitFlowConfig()
    check_tokens(tokens, "split_flow")
    rng = np.random.default_rng(config.seed)
    # drawn in the order of data to latent
    parts = [
        _blocks(tokens, config, config.n_backbone_couplings // 2, backbone=True, rng=rng),
        _blocks(tokens, config, config.n_joint_couplings // 2, backbone=False, rng=rng),
    ]
    found = [part for part in reversed(parts) if part is not None]
    if not found:
        raise ConfigError(
            f"split_flow: expected variables that a coupling moves, got {tokens.dim} variables, "
            f"{tokens.n_backbone_circular + tokens.n_backbone_linear} of the backbone, and "
            f"{config.n_joint_couplings} joint couplings: give it joint couplings"
        )
    return chain(*found)


def _blocks(
    tokens: Tokens,
    config: SplitFlowConfig,
    n_blocks: int,
    *,
    backbone: bool,
    rng: np.random.Generator,
) -> Bijector | None:
    """Pairs of couplings of the backbone or of all variables; None without any.

    Args:
        tokens: what each variable is.
        config: sizes.
        n_blocks: number of pairs.
        backbone: whether they take the backbone alone.
        rng: draws the splits.
    """
    n_circular = tokens.n_backbone_circular if backbone else tokens.n_circular
    n_linear = tokens.n_backbone_linear if backbone else tokens.n_linear
    if not n_blocks or not n_circular + n_linear:
        return None
    taken = np.arange(n_circular), tokens.n_circular + np.arange(n_linear)
    conditioner = config.conditioner
    if isinstance(conditioner, GatedAttention):
        conditioner = conditioner.on(tokens, np.concatenate(taken))
    pairs, alternate = _pairs(n_circular, tokens.n_circular, n_linear)
    shared = {
        "dim": tokens.dim,
        "conditioner": conditioner,
        "circular": circular_spline(n_bins=config.n_bins, floor=config.floor),
        "linear": spline(n_bins=config.n_bins, bound=config.bound, floor=config.floor),
    }

    def couple(order: Array) -> list[Bijector]:
        return [coupling(source, moved, order=order, **shared) for source, moved in pairs]

    orders = np.tile(np.arange(tokens.dim), (n_blocks, 1))
    for rows in taken:
        orders[:, rows] = rng.permuted(orders[:, rows], axis=1)
    if alternate:
        orders = _with_second_halves(orders, taken)
    return coupling_blocks(couple, orders, unroll=config.unroll, rematerialise=config.rematerialise)


def _pairs(
    n_circular: int, first_linear: int, n_linear: int
) -> tuple[list[tuple[Half, Half]], bool]:
    """(source, moved) of the couplings of one order, and whether that is one coupling, for two orders a block.

    Couplings of equal sizes compile as one. Of an odd number of variables one is then moved twice in a block and
    not read, another one in each. Where that is one of few, a block has two couplings of different sizes.
    """

    def halves(circular: int, linear: int) -> tuple[Half, Half]:
        end_circular, end_linear = n_circular, first_linear + n_linear
        linear += first_linear
        return (
            Half(circular=slice(0, circular), linear=slice(first_linear, linear)),
            Half(circular=slice(circular, end_circular), linear=slice(linear, end_linear)),
        )

    if all(n % 2 == 0 or n > FEW for n in (n_circular, n_linear)):
        moved, source = halves((n_circular + 1) // 2, (n_linear + 1) // 2)
        return [(source, moved)], True
    one, other = halves((n_circular + 1) // 2, n_linear // 2)
    pairs = [(other, one), (one, other)]
    return [pair for pair in pairs if pair[1].n_circular + pair[1].n_linear], False


def _with_second_halves(orders: np.ndarray, kinds: Sequence[np.ndarray]) -> np.ndarray:
    """Each order, then the one in which the rows that stayed come first: ``(2 n, dim)``."""
    turned = orders.copy()
    for rows in kinds:
        turned[:, rows] = np.roll(orders[:, rows], -((len(rows) + 1) // 2), axis=1)
    return np.stack([orders, turned], 1).reshape((-1, orders.shape[1]))


def split_base(tokens: Tokens, config: SplitFlowConfig | None = None) -> BaseDistribution:
    """Base of a split flow: circular variables uniform or von Mises about 0, linear ones standard normal."""
    config = config or SplitFlowConfig()
    check_tokens(tokens, "split_base")
    n = tokens.n_circular
    if config.circular_base == "uniform":
        circular = uniform(n)
    else:
        circular = von_mises(n, concentration=config.concentration)
    return product(circular, normal(tokens.n_linear))


def count_parameters(bijector: Bijector) -> int:
    """Number of trainable parameters; nothing is computed."""
    shapes = jax.eval_shape(bijector.init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def baseline(
    tokens: Tokens, config: SplitFlowConfig | None = None, *, n_layers: int = 2
) -> SplitFlowConfig:
    """The unsplit flow with perceptrons that has as many couplings and about as many parameters.

    Kim et al. compare with 58 couplings "of a similar number of parameters" (section 4): the width of the
    perceptrons is the one that comes nearest, within 10 %.

    Args:
        tokens: what each variable is.
        config: the flow to be compared with.
        n_layers: hidden layers of the perceptrons.

    Raises:
        ConfigError: no width comes that near; perceptrons of one hidden unit may already have more parameters.
    """
    config = config or SplitFlowConfig()
    aim = count_parameters(split_flow(tokens, config))
    n_blocks = config.n_couplings // 2

    def sized(width: int, n_couplings: int) -> SplitFlowConfig:
        return dataclasses.replace(
            config,
            n_backbone_couplings=0,
            n_joint_couplings=n_couplings,
            conditioner=MLP(hidden=(width,) * n_layers),
        )

    def count(width: int) -> int:
        """All blocks have as many parameters, so one is counted."""
        return n_blocks * count_parameters(split_flow(tokens, sized(width, 2)))

    width = _nearest(count, aim)
    found = count(width)
    if abs(found - aim) > MATCH * aim:
        raise ConfigError(
            f"baseline: expected about {aim} parameters, got {found} with {n_layers} layers of {width}: "
            "compare with a larger flow, or change n_layers"
        )
    return sized(width, config.n_couplings)


def _nearest(count, aim: int) -> int:
    """The whole number >= 1 for which the increasing ``count`` is nearest to ``aim``."""
    above = 1
    while count(above) < aim:
        above *= 2
    below = max(above // 2, 1)
    while above - below > 1:
        middle = (above + below) // 2
        below, above = (middle, above) if count(middle) < aim else (below, middle)
    return min((below, above), key=lambda width: abs(count(width) - aim))
