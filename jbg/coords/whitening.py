"""From data to nearly independent variables: circular soft torsions, and stiff coordinates whitened
given them.

Bonds, angles and most offsets fluctuate little, but their means follow the soft torsions. So they
are regressed on Fourier features of the soft torsions, and the residuals are whitened by a Cholesky
factor. Fits are host numpy in float64; the result is a handful of arrays and a bijector with a
constant determinant.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.coords.torsions import along, linear
from jbg.interfaces import Bijector, ConfigError

FRAMES_PER_FEATURE = 20  # a regression on K features wants at least this many times K frames
RIDGE = 1e-3  # of the variance of a feature
MIN_SHRINKAGE = 1e-6


class Whitening(NamedTuple):
    """stiff = mean + coefficients @ features(soft) + factor @ w."""

    soft: np.ndarray  # (S,) places of the circular variables
    stiff: np.ndarray  # (W,) places of the others
    orders: int  # Fourier orders per soft variable: 0, 1 or 2
    pairs: np.ndarray  # (P, 2) numbers of soft variables whose products are features too
    mean: np.ndarray  # (W,)
    coefficients: np.ndarray  # (W, features)
    factor: np.ndarray  # (W, W) lower triangular


def whitening(fit: Whitening) -> Bijector:
    """v = [soft in [-pi, pi) | w] <-> y in its own order; ln|det dy/dv| = sum ln diag(factor), a
    constant.
    """
    n_soft, dim = len(fit.soft), len(fit.soft) + len(fit.stiff)
    log_det = float(np.sum(np.log(np.diag(fit.factor))))
    unfactor = np.linalg.inv(fit.factor)
    split = np.concatenate([fit.soft, fit.stiff]).astype(int)
    joined = np.argsort(split)

    def centre(soft):
        features = fourier_features(soft, int(fit.orders), fit.pairs)
        return along(fit.mean, soft) + linear(fit.coefficients, features)

    def forward(params, v):
        soft, w = v[:n_soft], v[n_soft:]
        stiff = centre(soft) + linear(fit.factor, w)
        return jnp.concatenate([soft, stiff])[joined], jnp.full(v.shape[1:], log_det, v.dtype)

    def inverse(params, y):
        soft, stiff = y[split[:n_soft]], y[split[n_soft:]]
        w = linear(unfactor, stiff - centre(soft))
        return jnp.concatenate([soft, w]), jnp.full(y.shape[1:], -log_det, y.dtype)

    return Bijector(dim_in=dim, dim_out=dim, init=lambda key: (), forward=forward, inverse=inverse)


def fit_whitening(values: np.ndarray, soft: np.ndarray, pairs: np.ndarray) -> Whitening:
    """Regress and whiten the stiff variables of ``values (dim, frames)``.

    Of the features those are used that the number of frames can carry: two Fourier orders and
    products for ``pairs`` (neighbouring soft variables), else two orders, else one, else none. The
    residual correlation matrix is shrunk towards the identity by the analytic rule of Schaefer and
    Strimmer (2005), so fewer frames than dimensions are enough for a stable factor; then w is
    scaled to unit variance.

    Raises:
        ConfigError: fewer than 10 frames, or a coordinate that does not move.
    """
    dim, n_frames = values.shape
    stiff = np.setdiff1d(np.arange(dim), soft)
    if n_frames < 10:
        raise ConfigError(
            f"coordinates: a fit needs at least 10 frames in the domain, got {n_frames}"
        )
    if not np.all(np.std(values[stiff], axis=1) > 1e-7):
        raise ConfigError(
            "coordinates: some bond, angle or torsion is constant in all frames; "
            "simulate without constraints, and give distinct frames"
        )
    orders, pairs = _affordable(len(soft), pairs, n_frames)
    features = np.asarray(fourier_features(values[soft], orders, pairs, xp=np))
    feature_mean = features.mean(1, keepdims=True)
    centred = features - feature_mean
    mean = values[stiff].mean(1)
    residual = values[stiff] - mean[:, None]
    gram = centred @ centred.T / n_frames
    gram += RIDGE * np.diag(np.diag(gram) + 1e-12)
    coefficients = np.linalg.solve(gram, centred @ residual.T / n_frames).T
    residual = residual - coefficients @ centred
    factor = _factor(residual)
    return Whitening(
        soft=np.asarray(soft, int),
        stiff=stiff,
        orders=orders,
        pairs=pairs,
        mean=mean - coefficients @ feature_mean[:, 0],
        coefficients=coefficients,
        factor=factor,
    )


def fourier_features(soft: Array, orders: int, pairs: np.ndarray, xp=jnp) -> Array:
    """cos and sin of k s for k = 1..orders, then the four products of order 1 for each pair;
    leading axis.
    """
    waves = [wave(k * soft) for k in range(1, orders + 1) for wave in (xp.cos, xp.sin)]
    if len(pairs):
        left, right = np.asarray(pairs, int).T
        waves += [a[left] * b[right] for a in waves[:2] for b in waves[:2]]
    return xp.concatenate([soft[:0], *waves])


def _affordable(n_soft: int, pairs: np.ndarray, n_frames: int) -> tuple[int, np.ndarray]:
    none = np.zeros((0, 2), int)
    pairs = np.asarray(pairs, int).reshape(-1, 2)
    for orders, chosen in ((2, pairs), (2, none), (1, none)):
        if FRAMES_PER_FEATURE * (2 * orders * n_soft + 4 * len(chosen)) <= n_frames:
            return orders, chosen
    return 0, none


def _factor(residual: np.ndarray) -> np.ndarray:
    """Lower Cholesky factor of the shrunk covariance, scaled so that the whitened rows have unit
    variance.
    """
    scale = residual.std(1)
    unit = residual / scale[:, None]
    n = unit.shape[1]
    correlation = unit @ unit.T / n
    spread = ((unit**2) @ (unit**2).T / n - correlation**2) / n  # variance of each correlation
    off = ~np.eye(len(scale), dtype=bool)
    shrinkage = np.clip(
        spread[off].sum() / max((correlation[off] ** 2).sum(), 1e-300), MIN_SHRINKAGE, 1
    )
    correlation = (1 - shrinkage) * correlation + shrinkage * np.eye(len(scale))
    factor = scale[:, None] * np.linalg.cholesky(correlation)
    whitened = np.linalg.solve(factor, residual)
    return factor * whitened.std(1)


def softness(angles: np.ndarray) -> tuple[bool, float]:
    """Whether a torsion (samples ``(frames,)``) is soft, and the centre of its cell.

    Stiff: at least 99 % of the frames within pi/2 of the mode and a standard deviation of at most
    0.35 rad there; the centre is the mean of those. Soft: the centre is opposite the emptiest
    place, where the circle is cut.
    """
    grid = np.linspace(-np.pi, np.pi, 360, endpoint=False)
    counts = np.histogram(np.mod(angles + np.pi, 2 * np.pi), 360, (0, 2 * np.pi))[0]
    apart = _turn(grid[:, None] - grid[None, :])
    density = np.exp(-0.5 * (apart / np.deg2rad(10)) ** 2) @ counts
    bin_half = np.pi / 360
    mode = grid[np.argmax(density)] + bin_half
    deviation = _turn(angles - mode)
    near = deviation[np.abs(deviation) < np.pi / 2]
    if len(near) >= 0.99 * len(angles) and near.std() <= 0.35:
        return False, float(_turn(mode + near.mean()))
    return True, float(_turn(grid[np.argmin(density)] + bin_half + np.pi))


def _turn(angle):
    return np.mod(angle + np.pi, 2 * np.pi) - np.pi
