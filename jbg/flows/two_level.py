"""Flows in two levels: the density of some variables, kept, and then that of the rest given them.

    q(kept, rest) = q(kept) q(rest | kept)

A reduced description of a molecule (`coords.reduced`) names which internal coordinates are kept. It has no weights
in all atoms, because nothing says how the others are distributed. With a second level that generates these given
the kept ones, the two together are an exact density of all variables, and importance weights against the
Boltzmann density are those of any flow.

The kept variables are generated from each other alone, so the first level is a flow by itself: its density is the
marginal of q over the rest. Training by example separates, -ln q(v) = -ln q(kept) - ln q(rest | kept), and the
first term makes q(kept) approach the *marginal* of the data, exp(-F) with F a potential of mean force. That is not
the density on the slice where the rest stand at their means (`coords.reduced`), which leaves out their entropy.

q(kept) is a density of the kept coordinates only if the variables of the first level are functions of these and of
nothing else. A whitening in another order mixes the others in: `kept_first` factors it anew.
"""

import dataclasses

import numpy as np
from jax import Array, lax
from jax import numpy as jnp

from jbg.coords.whitening import Whitening
from jbg.flows.base import normal, product, uniform
from jbg.flows.compose import chain, with_key
from jbg.flows.coupling import coupling
from jbg.flows.halves import Half
from jbg.flows.models import SplineFlowConfig, coupling_blocks, spline_flow
from jbg.flows.score import push_score
from jbg.flows.transformers import spline
from jbg.interfaces import BaseDistribution, Bijector, ConfigError, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoLevelConfig:
    """Sizes of the two levels.

    Attributes:
        kept: of the first, a spline flow of the kept variables.
        rest: of the second. Its ``n_circular_blocks`` are not read: the rest lie on the line.
    """

    kept: SplineFlowConfig = SplineFlowConfig()
    rest: SplineFlowConfig = SplineFlowConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoLevelFlow:
    """A flow of v = [circular | kept on the line | rest], and the first level of it alone.

    The last link of ``bijector`` makes the rest given all kept variables, those before it make the kept ones: its
    parameters are those of ``kept`` and one entry more. The bases belong to the two bijectors.
    """

    bijector: Bijector
    base: BaseDistribution
    kept: Bijector
    kept_base: BaseDistribution

    def kept_params(self, params: Params) -> Params:
        """The parameters of ``kept`` among those of ``bijector``."""
        return params[: len(self.kept.links)]

    def log_prob_by_level(self, params: Params, v: Array) -> tuple[Array, Array]:
        """(ln q(kept), ln q(rest | kept)), each ``(*batch,)``, of v ``(dim, *batch)``; their sum is ln q(v)."""
        z, log_det = self.bijector.inverse(params, v)
        y, kept_log_det = self.kept.inverse(self.kept_params(params), v[: self.kept.dim_out])
        of_kept = self.kept_base.log_prob(y) + kept_log_det
        return of_kept, self.base.log_prob(z) + log_det - of_kept


def two_level_flow(
    n_circular: int, n_line: int, n_rest: int, config: TwoLevelConfig | None = None
) -> TwoLevelFlow:
    """p(kept) p(rest | kept), the kept variables on the circle [-pi, pi) or on the line, the rest on the line.

    The first level is `spline_flow`. The couplings of the second move half of the rest given the other half and
    all kept variables. Circular latent variables are uniform, the others standard normal. The flow starts as the
    identity.

    Args:
        n_circular: kept variables on the circle.
        n_line: kept variables on the line.
        n_rest: the others.
        config: sizes.

    Raises:
        ConfigError: no kept variables, or none beside them.
    """
    config, n_kept = config or TwoLevelConfig(), n_circular + n_line
    if n_kept < 1 or n_rest < 1:
        raise ConfigError(
            f"two_level_flow: expected kept variables and others, got {n_kept} and {n_rest}: "
            "use spline_flow for a single level"
        )
    kept = spline_flow(n_circular, n_line, config.kept)
    links = (_of_first_rows(link, n_rest) for link in kept.links)
    return TwoLevelFlow(
        bijector=chain(*links, _rest_blocks(n_circular, n_line, n_rest, config.rest)),
        base=product(uniform(n_circular), normal(n_line + n_rest)),
        kept=kept,
        kept_base=product(uniform(n_circular), normal(n_line)),
    )


def _rest_blocks(n_circular: int, n_line: int, n_rest: int, config: SplineFlowConfig) -> Bijector:
    """Pairs of couplings of one half of the rest each, given the other half and all kept variables.

    Args:
        n_circular: kept variables on the circle.
        n_line: kept variables on the line.
        n_rest: the others.
        config: sizes.
    """
    start, n_still = n_circular + n_line, n_rest // 2
    dim = start + n_rest
    # what moves comes last, so that what is read lies in one piece; of an odd number one is moved twice
    source = Half(circular=slice(0, n_circular), linear=slice(n_circular, start + n_still))
    moved = Half(circular=slice(0, 0), linear=slice(start + n_still, dim))
    rng = np.random.default_rng(config.seed)
    orders = np.tile(np.arange(dim), (config.n_blocks, 2, 1))
    for one, other in orders:
        one[start:] = start + rng.permutation(n_rest)
        other[start:] = np.roll(one[start:], -n_still)
    move = spline(n_bins=config.n_bins, bound=config.bound, floor=config.floor)

    def couple(order: Array) -> list[Bijector]:
        return [
            coupling(
                source,
                moved,
                dim=dim,
                conditioner=config.conditioner,
                circular=None,
                linear=move,
                order=order,
            )
        ]

    return coupling_blocks(
        couple, orders.reshape(-1, dim), unroll=config.unroll, rematerialise=config.rematerialise
    )


def _of_first_rows(bijector: Bijector, n_more: int) -> Bijector:
    """``bijector`` on the first rows of an event that has ``n_more`` others, which stay as they are."""
    sizes = (bijector.dim_in, n_more)

    def on_rows(apply):
        def go(params, x):
            moved, still = lax.split(x, sizes)
            moved, log_det = apply(params, moved)
            return jnp.concatenate([moved, still]), log_det

        return go

    def forward_score(params, z, score):
        (moved, still), (score, other) = lax.split(z, sizes), lax.split(score, sizes)
        x, log_det, score = push_score(bijector, params, moved, score)
        return (
            jnp.concatenate([x, still]),
            log_det,
            jnp.concatenate([score, lax.stop_gradient(other)]),
        )

    return Bijector(
        dim_in=sum(sizes),
        dim_out=sum(sizes),
        init=bijector.init,
        forward=on_rows(bijector.forward),
        inverse=on_rows(bijector.inverse),
        forward_score=forward_score,
        keyed=bijector.keyed and (lambda key: _of_first_rows(with_key(bijector, key), n_more)),
    )


def kept_first(fit: Whitening, kept: np.ndarray) -> Whitening:
    """The same Gaussian density of the stiff variables given the soft ones, factored with the kept ones first.

    stiff = centre(soft) + L w has the covariance L L^T given the soft variables. With its rows in the new order,
    P L = L' Q, L' lower triangular and Q orthogonal: w' = Q w is as normal as w, and the determinant stays. The w'
    of the kept variables are functions of the kept and soft variables alone.

    Args:
        fit: whitening of all variables.
        kept: places of the kept ones among them ``(d,)``, the soft ones too.

    Returns:
        The whitening whose variables are [soft | kept on the line | rest].

    Raises:
        ConfigError: places that do not exist, or a soft variable that is not kept: it would have to be generated
            after variables whose means depend on it.
    """
    kept, dim = np.unique(kept), len(fit.soft) + len(fit.stiff)
    if len(kept) and not 0 <= kept[0] <= kept[-1] < dim:
        raise ConfigError(
            f"kept_first: expected places in 0..{dim - 1}, got {kept[0]}..{kept[-1]}: "
            "pass places among all internal coordinates"
        )
    missing = np.setdiff1d(fit.soft, kept)
    if len(missing):
        raise ConfigError(
            f"kept_first: expected every circular variable among the kept ones, got none of {missing.tolist()}: "
            "keep them too"
        )
    is_kept = np.isin(fit.stiff, kept)
    order = np.argsort(~is_kept, kind="stable")
    _, upper = np.linalg.qr(fit.factor[order].T)
    factor = np.tril(upper.T * np.sign(np.diag(upper)))
    return fit._replace(
        stiff=fit.stiff[order],
        mean=fit.mean[order],
        coefficients=fit.coefficients[order],
        factor=factor,
    )
