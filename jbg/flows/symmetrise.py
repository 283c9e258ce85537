"""A generator averaged over a finite group of symmetries of its target, and data with them applied.

A flow does not know that a box looks the same in a mirror. Either it is shown mirrored data
(`augment`), or its density is averaged over the group (`symmetrised`), which is exact and never
further from a symmetric target: KL(p | q_sym) <= KL(p | q), and the same the other way round.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.interfaces import (
    BaseDistribution,
    Bijector,
    ConfigError,
    Key,
    Params,
    SignedPermutations,
    check_event,
    check_params_first,
)


def apply_all(group: SignedPermutations, x: Array) -> Array:
    """Every element applied to x ``(dim, *batch)``: ``(dim, n_elements, *batch)``."""
    x = jnp.asarray(x)
    sign = jnp.asarray(group.sign.T, x.dtype)
    return x[group.index.T] * sign.reshape(*sign.shape, *(1,) * (x.ndim - 1))


def augment(key: Key, x: Array, group: SignedPermutations) -> Array:
    """Each column of x ``(dim, n)`` moved by an element of the group drawn at random; for training data."""
    drawn = jax.random.randint(key, x.shape[1:], 0, len(group.index))
    index, sign = jnp.asarray(group.index), jnp.asarray(group.sign, x.dtype)
    return jnp.take_along_axis(x, index[drawn].T, axis=0) * sign[drawn].T


def symmetrised(generator: Any, group: SignedPermutations) -> Any:
    """The generator of q_sym(x) = (1/|G|) sum over g of q(g x); as it was, where G is the identity alone.

    Args:
        generator: `jbg.Generator` of x in the coordinates that the group acts on: a whitening
            belongs into its chain of bijectors. group: volume preserving, with the identity first.

    Raises:
        ConfigError: if the elements are no group, or of another dimension.
    """
    dim = generator.bijector.dim_out
    if group.index.shape[1:] != (dim,):
        raise ConfigError(
            f"symmetrised: the group acts on {group.index.shape[1]} coordinates, the generator makes {dim}"
        )
    check_group(group)
    if len(group.index) == 1:
        return generator
    return SymmetrisedGenerator(generator=generator, group=group)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SymmetrisedGenerator:
    """A `Generator` whose density is the same at all images of a configuration; built by `symmetrised`.

    Stands where a `Generator` does, with the same parameters. Training by example and on own
    samples use `sample` and `log_prob`, hence q_sym. The reverse KL takes ``base`` and
    ``bijector``, which are those of the generator inside: it minimises KL(q | p), a bound from above
    on KL(q_sym | p) for a symmetric p. Both directions cost |G| times the inverse of the flow.
    """

    generator: Any
    group: SignedPermutations

    @property
    def base(self) -> BaseDistribution:
        return self.generator.base

    @property
    def bijector(self) -> Bijector:
        # without its links: own samples drawn link by link would have the density q, not q_sym
        return dataclasses.replace(self.generator.bijector, links=())

    def init(self, key: Key) -> Params:
        return self.generator.init(key)

    def sample(self, key: Key, params: Params, n: int, tau: float | Array = 1.0) -> Any:
        """Draw from q, then move each sample by a random element; `Samples` with ln q_sym.

        The term of q_sym at the sample as it was drawn is known from the forward pass; the others are inverted.
        ``z`` is the latent of the sample before it was moved.

        Args:
            key, params, n, tau: as for `Generator.sample`.
        """
        key_draw, key_move = jax.random.split(key)
        drawn = self.generator.sample(key_draw, params, n, tau)
        images = apply_all(SignedPermutations(*(a[1:] for a in self.group)), drawn.x)
        others = self._log_prob_of_images(params, images, tau)
        log_prob = self._mean(jnp.concatenate([drawn.log_prob[None], others]))
        return drawn._replace(x=augment(key_move, drawn.x, self.group), log_prob=log_prob)

    def log_prob(self, params: Params, x: Array, tau: float | Array = 1.0) -> Array:
        """ln q_sym(x) ``(*batch,)`` of given configurations ``(dim, *batch)``."""
        check_params_first(params, x, "SymmetrisedGenerator.log_prob")
        check_event(x, self.generator.bijector.dim_out, "SymmetrisedGenerator.log_prob")
        return self._mean(self._log_prob_of_images(params, apply_all(self.group, x), tau))

    def _log_prob_of_images(self, params: Params, images: Array, tau: float | Array) -> Array:
        if jnp.ndim(tau):  # one temperature for each sample
            tau = jnp.broadcast_to(jnp.asarray(tau)[None], images.shape[1:])
        return self.generator.log_prob(params, images, tau)

    def _mean(self, log_probs: Array) -> Array:
        return jax.nn.logsumexp(log_probs, axis=0) - np.log(len(self.group.index))


def check_group(group: SignedPermutations) -> None:
    """Refuse what is not a group of signed permutations with the identity first.

    Raises:
        ConfigError: saying what is wrong.
    """
    index, sign = (np.asarray(a) for a in group)
    if index.ndim != 2 or index.shape != sign.shape or not len(index):
        raise ConfigError(
            f"group: index and sign must both be (n_elements, dim), got {index.shape} and {sign.shape}"
        )
    places = np.arange(index.shape[1])
    if not (np.all(np.sort(index, 1) == places) and np.all(np.abs(sign) == 1)):
        raise ConfigError("group: every row must be a permutation, with signs 1 or -1")
    if not (np.array_equal(index[0], places) and np.all(sign[0] == 1)):
        raise ConfigError("group: the first element must be the identity")
    key = lambda i, s: (i.astype(np.int64).tobytes(), s.astype(np.int8).tobytes())
    known = {key(i, s) for i, s in zip(index, sign, strict=True)}
    for i, s in zip(index, sign, strict=True):
        for j, t in zip(index, sign, strict=True):
            if key(j[i], s * t[i]) not in known:
                raise ConfigError(
                    f"group: {len(index)} elements are not closed under composition; add what is missing"
                )
    if len(known) != len(index):
        raise ConfigError("group: an element comes twice")
