"""The generator: a base distribution pushed through a bijector, with its density known exactly."""

import dataclasses
from typing import NamedTuple

from jax import Array

from jbg.interfaces import (
    BaseDistribution,
    Bijector,
    ConfigError,
    Key,
    Params,
    Target,
    check_count,
    check_event,
    check_params_first,
)


class Samples(NamedTuple):
    """x ``(dim, n)`` with ln q(x) ``(n,)`` and the latent z ``(dim_z, n)`` it came from."""

    x: Array
    log_prob: Array
    z: Array

    @property
    def frames(self) -> Array:
        """The configurations batch first, ``(n, dim)``."""
        return self.x.T


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generator:
    """q(x) = p_Z(z) / |det dx/dz| with x = F(z); Noe et al. 2019, Eqs. 3-4.

    ``tau`` is the relative temperature of the base distribution (prior variance).

    Raises:
        ConfigError: base and bijector differ in dimension.
    """

    base: BaseDistribution
    bijector: Bijector

    def __post_init__(self):
        if self.base.dim != self.bijector.dim_in:
            raise ConfigError(
                f"Generator: base and bijector must have the same dimension, got {self.base.dim} and "
                f"{self.bijector.dim_in}: use a base of {self.bijector.dim_in}"
            )

    def init(self, key: Key) -> Params:
        return self.bijector.init(key)

    def keyed(self, key: Key) -> "Generator":
        """The generator whose networks draw from ``key`` (dropout); itself where nothing is random."""
        keyed = self.bijector.keyed
        return self if keyed is None else dataclasses.replace(self, bijector=keyed(key))

    def sample(self, key: Key, params: Params, n: int, tau: float | Array = 1.0) -> Samples:
        """Draw configurations with their log-densities; one pass, nothing is inverted.

        Args:
            key: PRNG key.
            params: of ``bijector``.
            n: number of samples.
            tau: relative temperature of the base, or one for each sample, ``(n,)``.
        """
        check_count(n, "Generator.sample")
        z = self.base.sample(key, n, tau)
        x, log_det = self.bijector.forward(params, z)
        return Samples(x, self.base.log_prob(z, tau) - log_det, z)

    def log_prob(self, params: Params, x: Array, tau: float | Array = 1.0) -> Array:
        """ln q(x) ``(*batch,)`` of given configurations ``(dim, *batch)``."""
        check_params_first(params, x, "Generator.log_prob")
        check_event(x, self.bijector.dim_out, "Generator.log_prob")
        z, log_det = self.bijector.inverse(params, x)
        return self.base.log_prob(z, tau) + log_det


def pull_back(target: Target, coords: Bijector) -> Target:
    """The same density seen from other coordinates: u_v(v) = u(x(v)) - ln|det dx/dv|.

    At tau = 1 only: at another temperature u is divided by tau and the log-determinant is not.
    ``coords`` has no parameters. The normaliser is unchanged, so a flow trained on v has the weights of the
    flow chained with ``coords``; energy differences carry over to the last bit that the maps keep.
    """

    def reduced_energy(v: Array) -> Array:
        x, log_det = coords.forward((), v)
        return target.reduced_energy(x) - log_det

    return Target(dim=coords.dim_in, reduced_energy=reduced_energy, log_z=target.log_z)
