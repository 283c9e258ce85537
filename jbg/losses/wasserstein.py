"""The squared 2-Wasserstein distance between Gaussian fits of the backbone distances of own samples and of data.

Errors of single torsions add up along a chain. The likelihood of internal coordinates hardly sees it, distances of
backbone atoms do. Kim et al. 2023 (NeurIPS), Eqs. 6-8, fit a normal distribution to the vectorised upper
triangle of the distance matrix, of own samples (mean mu_q, covariance S_q) and of data (mu_p, S_p), and minimise

    W2^2 = |mu_q - mu_p|^2 + tr S_q + tr S_p - 2 tr (S_q S_p)^(1/2).

The covariances have one row for each pair of atoms, 14 028 for 168 atoms, and are never formed. For batches A
``(D, n)`` and B ``(D, m)``, centred and divided by sqrt(n - 1) and sqrt(m - 1), the last trace is the sum of the
singular values of A^T B = U s V^T ``(n, m)``. With Q = U V^T

    tr S_q + tr S_p - 2 tr (S_q S_p)^(1/2) = |A - B Q^T|^2 + |B - B Q^T Q|^2,    n <= m

(orthogonal Procrustes), which does not cancel in float32, and in which an error of Q counts only to second order.
Of batches with more columns than rows, the triangular factors (D, D) do as well.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.generator import Generator
from jbg.interfaces import Bijector, ConfigError, Loss, check_event
from jbg.losses.columns import split_columns
from jbg.losses.terms import LossContext, check_weights

SMALL = 1e-3  # of the largest singular value, below which they are computed once more


@dataclasses.dataclass(frozen=True)
class Wasserstein:
    """Backbone distances of own samples as in the data, by a Gaussian fit of both (`make_wasserstein_loss`).

    In nm^2: a weight of 100 counts in A^2. Needs no energies.

    Attributes:
        weight: of the term in the sum.

    Raises:
        ConfigError: a weight out of range; on building, a system without a backbone, fewer than two own samples,
            or data of several temperatures.
    """

    weight: float = 1.0

    def __post_init__(self):
        check_weights(self)

    def build(self, context: LossContext) -> Loss:
        if context.backbone is None:
            raise ConfigError(
                "Wasserstein: expected a system with backbone atoms, got none: pass backbone=(atom numbers) to "
                "stage_losses, or leave the term out"
            )
        if "tau" in context.columns:
            raise ConfigError(
                "Wasserstein: expected data of the reference temperature, got rows with a tau: leave the hot "
                "data out"
            )
        loss = make_wasserstein_loss(
            context.whole,
            context.backbone,
            n_samples=context.n_samples,
            coords=context.coords,
            columns=context.columns,
        )
        return context.of_flow(loss)

    def energies(self, batch: int) -> int:
        del batch
        return 0


def make_wasserstein_loss(
    generator: Generator,
    backbone: np.ndarray,
    *,
    n_samples: int,
    coords: Bijector | None = None,
    columns: tuple[str, ...] = (),
) -> Loss:
    """W2^2 in nm^2 between backbone distances of ``n_samples`` own samples and the batch; see the module's text.

    The gradient goes through the own samples, by the reparametrisation of the base. Between finite batches of one
    density W2^2 is not 0: `analysis.wasserstein_floor` tells what data give against data at the same batch size.
    Own samples that are not finite count for nothing; with fewer than two left the value is NaN.

    Memory: n_bb^2 (n + m) floats, about twice over with the gradient: 0.13 GiB for 168 atoms at batches of 256.
    Two singular value decompositions ``(n, m)`` a step.

    Args:
        generator: of x ``(3 atoms, *batch)``, nm.
        backbone: numbers of the atoms ``(n_bb,)``.
        n_samples: drawn per call.
        coords: maps the data v to x, without parameters; None where they are x.
        columns: of the data after the coordinates (`losses.columns`).

    Raises:
        ConfigError: fewer than two atoms or samples, or an atom that x does not have.
    """
    if n_samples < 2:
        raise ConfigError(f"Wasserstein: expected 2 own samples or more, got {n_samples}")
    atoms = _checked_atoms(backbone, generator.bijector.dim_out)

    def loss(params, batch, key):
        z = generator.base.sample(key, n_samples, 1.0)
        x, _ = generator.bijector.forward(params, z)
        v, _ = split_columns(batch, columns)
        data = v if coords is None else coords.forward((), v)[0]
        usable = jnp.isfinite(x).all(0)
        own = pair_distances(jnp.where(usable[None], x, 0.0), atoms)
        value = squared_wasserstein(own, pair_distances(data, atoms), usable=usable)
        return value, {"w2": value}

    return loss


def _checked_atoms(backbone: np.ndarray, dim: int) -> np.ndarray:
    atoms = np.asarray(backbone)
    whole = atoms.ndim == 1 and len(atoms) >= 2 and np.issubdtype(atoms.dtype, np.integer)
    if not whole or atoms.min() < 0 or 3 * atoms.max() + 2 >= dim:
        raise ConfigError(
            f"Wasserstein: expected 2 or more numbers of the {dim // 3} atoms as backbone, got {backbone}"
        )
    return atoms.astype(np.int32)


def pair_distances(x: Array, atoms: np.ndarray) -> Array:
    """Distances of all pairs of atoms, the upper triangle row by row, in the unit of x.

    The gradient of two atoms in the same place is 0.

    Args:
        x: ``(3 N, *batch)``.
        atoms: numbers ``(n,)``.

    Returns:
        ``(n (n - 1) / 2, *batch)``.
    """
    n, batch = len(atoms), x.shape[1:]
    r = x.reshape(-1, 3, *batch)[np.asarray(atoms, np.int32)]
    # all pairs and then a selection: on a CPU the gradient of this is twice as fast as that of two selections
    square = jnp.sum((r[:, None] - r[None]) ** 2, axis=2).reshape(n * n, *batch)
    first, second = np.triu_indices(n, 1)
    square = square[(first * n + second).astype(np.int32)]
    apart = square > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)


def squared_wasserstein(a: Array, b: Array, *, usable: Array | None = None) -> Array:
    """W2^2 between the Gaussian fits of two batches, features first; Kim et al. 2023, Eqs. 6-8.

    The fits have the means and the covariances (divided by n - 1) of the batches. Exact also where there are more
    features than columns. The gradient is finite everywhere; at zero singular values, where W2^2 has a kink, it is
    the subgradient without a part along the null space. First derivatives only.

    Args:
        a: ``(D, n)``.
        b: ``(D, m)``, in the same unit.
        usable: which columns of ``a`` count ``(n,)`` bool, those that do not being finite; None for all.

    Returns:
        A scalar in the unit of ``a`` squared; NaN where fewer than two columns count.

    Raises:
        ConfigError: batches that do not fit each other.
    """
    if a.ndim != 2 or b.ndim != 2 or min(a.shape[1], b.shape[1]) < 2:
        raise ConfigError(
            "squared_wasserstein: expected (D, n) and (D, m) with two columns or more each, got "
            f"{a.shape} and {b.shape}"
        )
    check_event(b, a.shape[0], "squared_wasserstein")
    mean_a, a = _centred(a, jnp.ones(a.shape[1:], bool) if usable is None else usable)
    mean_b, b = _centred(b, jnp.ones(b.shape[1:], bool))
    return jnp.sum((mean_a - mean_b) ** 2) + _bures(a, b)


def _centred(a: Array, usable: Array) -> tuple[Array, Array]:
    """Mean ``(D,)``, and deviations over sqrt(n - 1) ``(D, n)`` of the columns that count, the others 0."""
    share = usable.astype(a.dtype)[None]
    n = jnp.sum(share)
    mean = jnp.sum(a * share, 1, keepdims=True) / n
    return mean[:, 0], (a - mean) * share / jnp.sqrt(n - 1)


@jax.custom_vjp
def _bures(a: Array, b: Array) -> Array:
    """|a|^2 + |b|^2 - 2 (sum of the singular values of a^T b), of a ``(D, n)`` and b ``(D, m)``."""
    return _bures_forward(a, b)[0]


def _bures_forward(a: Array, b: Array) -> tuple[Array, tuple[Any, ...]]:
    (a, basis_a), (b, basis_b) = _narrow(a), _narrow(b)
    turn, some = _alignment(a, b)
    small, large, q = (a, b, turn) if a.shape[1] <= b.shape[1] else (b, a, turn.T)
    turned = _product(large, q.T)
    value = jnp.sum((small - turned) ** 2)
    if small.shape[1] < large.shape[1]:
        value = value + jnp.sum((large - _product(turned, q)) ** 2)
    return value, (a, b, some, basis_a, basis_b)


def _narrow(a: Array) -> tuple[Array, Array | None]:
    """a ``(D, n)`` = narrow basis^T, ``(D, D)`` and ``(n, D)``, where n > D; else a itself and None."""
    if a.shape[0] >= a.shape[1]:
        return a, None
    basis, upper = jnp.linalg.qr(a.T)
    return upper.T, basis


def _alignment(a: Array, b: Array) -> tuple[Array, Array]:
    """U V^T of a^T b = U s V^T, and the same without singular values that are 0, ``(n, m)``.

    Vectors of singular values below SMALL of the largest are lost in the rounding of the others: they are found
    once more, from the parts of a and b along them alone.
    """
    u, s, vt = jnp.linalg.svd(_product(a.T, b), full_matrices=False)
    limit = SMALL * jnp.max(s)
    small = (s < limit).astype(s.dtype)
    again = _product(_product(a, u * small[None]).T, _product(b, vt.T * small[None]))
    inner_u, inner_s, inner_vt = jnp.linalg.svd(again + jnp.diag((1 - small) * limit))
    u, vt = _product(u, inner_u), _product(inner_vt, vt)
    some = inner_s > limit * max(a.shape[1], b.shape[1]) * jnp.finfo(s.dtype).eps
    return _product(u, vt), _product(u * some[None], vt)


def _bures_backward(saved: tuple[Any, ...], cotangent: Array) -> tuple[Array, Array]:
    a, b, q, *bases = saved
    gradients = (2 * cotangent * (a - _product(b, q.T)), 2 * cotangent * (b - _product(a, q)))
    first, second = (
        g if basis is None else _product(g, basis.T)
        for g, basis in zip(gradients, bases, strict=True)
    )
    return first, second


def _product(a: Array, b: Array) -> Array:
    """Matrix product in full float32, where an accelerator would round the factors to fewer digits."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


_bures.defvjp(_bures_forward, _bures_backward)
