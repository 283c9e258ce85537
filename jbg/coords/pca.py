"""From Cartesian data to variables of mean 0 and variance 1: by principal components, or one by one.

Nothing is left out: all ``dim`` components are kept, so that the map is a bijection with a constant
determinant. For systems whose position and orientation are held by the potential itself, such as
the dimer in its box; molecules have `coords.molecular`. Where the data have symmetries that the flow
shall have too, fit to data with the symmetries applied (`flows.augment`). Fits are host numpy in
float64.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jbg.coords.torsions import along, linear
from jbg.interfaces import Bijector, ConfigError

SMALLEST_SHARE = 1e-9  # of the largest variance; below, directions are rounding


class PrincipalComponents(NamedTuple):
    """x = mean + axes @ (scale * z)."""

    mean: np.ndarray  # (dim,)
    axes: np.ndarray  # (dim, dim) orthogonal, a component in each column, the widest first
    scale: np.ndarray  # (dim,) standard deviations along them


class Standardisation(NamedTuple):
    """x = mean + scale * z."""

    mean: np.ndarray  # (dim,)
    scale: np.ndarray  # (dim,)


def fit_principal_components(frames: ArrayLike) -> PrincipalComponents:
    """Mean and principal axes of data ``(n, dim)``; the largest entry of each axis is positive.

    Raises:
        ConfigError: not more frames than dimensions, values that are not finite, or a direction
            without variance.
    """
    frames = _checked(frames)
    n, dim = frames.shape
    if n <= dim:
        raise ConfigError(
            f"principal components: {n} frames cannot give {dim} variances; give more than {dim},"
            " or standardise only"
        )
    mean = frames.mean(0)
    centred = frames - mean
    variance, axes = np.linalg.eigh(centred.T @ centred / n)
    variance, axes = variance[::-1], axes[:, ::-1]
    if not variance[-1] > SMALLEST_SHARE * variance[0]:
        n_flat = np.count_nonzero(~(variance > SMALLEST_SHARE * variance[0]))
        raise ConfigError(
            f"principal components: {n_flat} of {dim} directions have no variance in the data;"
            " give frames without constraints and without superposition"
        )
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(dim)])
    return PrincipalComponents(mean, axes, np.sqrt(variance))


def principal_components(fit: PrincipalComponents) -> Bijector:
    """z <-> x = mean + axes @ (scale * z); ln|det dx/dz| = sum of (1/2) ln(variance), a constant.

    z has covariance 1 on the data of the fit; the widest component comes first. The layer "W" of
    Noe et al. 2019. Shapes ``(dim, *batch)`` on both sides.
    """
    to_x = fit.axes * fit.scale
    to_z = fit.axes.T / fit.scale[:, None]
    return _affine(
        fit.mean,
        float(np.log(fit.scale).sum()),
        lambda z: linear(to_x, z),
        lambda moved: linear(to_z, moved),
    )


def fit_standardisation(frames: ArrayLike) -> Standardisation:
    """Mean and standard deviation of each column of data ``(n, dim)``.

    Raises:
        ConfigError: fewer than two frames, values that are not finite, or a column that is constant.
    """
    frames = _checked(frames)
    if len(frames) < 2:
        raise ConfigError(f"standardisation: needs at least 2 frames, got {len(frames)}")
    mean, scale = frames.mean(0), frames.std(0)
    if not np.all(scale > 1e-9 * np.maximum(1e-9, np.abs(mean))):
        flat = np.flatnonzero(~(scale > 1e-9 * np.maximum(1e-9, np.abs(mean))))
        raise ConfigError(
            f"standardisation: coordinate {flat[0]} is constant in all frames; give distinct frames"
            " of a system without constraints"
        )
    return Standardisation(mean, scale)


def standardisation(fit: Standardisation) -> Bijector:
    """z <-> x = mean + scale * z; ln|det dx/dz| = sum of ln(scale), a constant."""
    return _affine(
        fit.mean,
        float(np.log(fit.scale).sum()),
        lambda z: along(fit.scale, z) * z,
        lambda moved: moved / along(fit.scale, moved),
    )


def _affine(mean: np.ndarray, log_det: float, to_x, to_z) -> Bijector:
    def forward(params, z: Array) -> tuple[Array, Array]:
        return along(mean, z) + to_x(z), jnp.full(z.shape[1:], log_det, z.dtype)

    def inverse(params, x: Array) -> tuple[Array, Array]:
        return to_z(x - along(mean, x)), jnp.full(x.shape[1:], -log_det, x.dtype)

    dim = len(mean)
    return Bijector(dim_in=dim, dim_out=dim, init=lambda key: (), forward=forward, inverse=inverse)


def _checked(frames: ArrayLike) -> np.ndarray:
    frames = np.asarray(frames, np.float64)
    if frames.ndim != 2 or 0 in frames.shape:
        raise ConfigError(f"coordinates: frames must be (n, dim), got {frames.shape}")
    if not np.isfinite(frames).all():
        raise ConfigError(
            "coordinates: some frames hold values that are not finite; leave them out"
        )
    return frames
