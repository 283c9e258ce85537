"""From data to nearly independent variables: circular soft torsions, and stiff coordinates whitened
given them.

Bonds, angles and most offsets fluctuate little, but their means follow the soft torsions. Each is
regressed on Fourier features of the soft torsions near it and on the stiff coordinates before it
that share two atoms with it; w is the standardised residual. Because coordinates far apart do not
enter, a few hundred frames are enough for hundreds of dimensions: on held-out frames of chignolin
(300 frames, 382 dimensions) this beats a shrunken full covariance by 23 nats, and it loses nothing
where data are plenty. Fits are host numpy in float64; the result is a handful of arrays and a
bijector with a constant determinant.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.coords.torsions import along, linear
from jbg.interfaces import Bijector, ConfigError

ORDERS = (0, 1, 2)  # Fourier orders to choose from
RIDGE = 0.03  # of the variance of a stiff predictor
FEATURE_RIDGE = 0.1  # of the variance of a feature: tames extrapolation to torsions not seen
BLOCKS = 3  # held out in turn to choose the order
MAX_CHOICE_FRAMES = 10_000  # that the choice looks at
MIN_LADDERS, MIN_FRAMES = 2, 5  # outside of its basin, that make a torsion soft


class Whitening(NamedTuple):
    """stiff = mean + coefficients @ features(soft) + factor @ w."""

    soft: np.ndarray  # (S,) places of the circular variables
    stiff: np.ndarray  # (W,) places of the others
    orders: np.ndarray  # () Fourier orders per soft variable
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
    split = np.concatenate([fit.soft, fit.stiff]).astype(np.int32)
    joined = np.argsort(split).astype(np.int32)

    def centre(soft):
        features = fourier_features(soft, int(fit.orders))
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


def fit_whitening(
    values: np.ndarray, soft: np.ndarray, near_soft: np.ndarray, near: np.ndarray
) -> Whitening:
    """Regress and whiten the stiff variables of ``values (dim, frames)``.

    The number of Fourier orders is chosen by the likelihood of held-out blocks of frames.

    Args:
        values: frames in order of time, ``(dim, frames)``.
        soft: places of the circular variables ``(S,)``.
        near_soft: ``(dim, S)`` bool, whether a soft variable may be a predictor of a variable.
        near: ``(dim, dim)`` bool, the same for stiff variables.

    Raises:
        ConfigError: fewer than 10 frames, or a coordinate that does not move.
    """
    dim, n_frames = values.shape
    stiff = np.setdiff1d(np.arange(dim), soft)
    check_moving(n_frames, values[stiff])
    circle, line = values[soft], values[stiff]
    near_soft, near = near_soft[stiff], near[np.ix_(stiff, stiff)]
    stride = -(-n_frames // MAX_CHOICE_FRAMES)
    scores = [
        _held_out(circle[:, ::stride], line[:, ::stride], orders, near_soft, near)
        for orders in ORDERS
    ]
    orders = ORDERS[int(np.argmin(scores))]
    return Whitening(
        np.asarray(soft, int), stiff, np.array(orders), *_fit(circle, line, orders, near_soft, near)
    )


def standardised(
    values: np.ndarray, soft: np.ndarray, near_soft: np.ndarray, near: np.ndarray
) -> Whitening:
    """Each stiff variable less its mean, over its standard deviation.

    Args:
        values, soft: as for `fit_whitening`.
        near_soft, near: not used: no variable predicts another.

    Raises:
        ConfigError: as `fit_whitening`.
    """
    del near_soft, near
    stiff = np.setdiff1d(np.arange(len(values)), soft)
    line = values[stiff]
    check_moving(values.shape[1], line)
    none = np.zeros((len(stiff), 0))
    return Whitening(
        np.asarray(soft, int), stiff, np.array(0), line.mean(1), none, np.diag(line.std(1))
    )


def fourier_features(soft: Array, orders: int, xp=jnp) -> Array:
    """cos s, sin s, cos 2s, ... up to the order, ``(2 orders S, *batch)``."""
    waves = [wave(k * soft) for k in range(1, orders + 1) for wave in (xp.cos, xp.sin)]
    return xp.concatenate([soft[:0], *waves])


def check_moving(n_frames: int, line: np.ndarray) -> None:
    """Raises ConfigError for too few frames, or where a row of ``line (n, frames)`` is constant."""
    if n_frames < 10:
        raise ConfigError(
            f"coordinates: a fit needs at least 10 frames in the domain, got {n_frames}"
        )
    if not np.all(np.std(line, axis=1) > 1e-7):
        raise ConfigError(
            "coordinates: some bond, angle or torsion is constant in all frames; "
            "simulate without constraints, and give distinct frames"
        )


def _held_out(circle, line, orders: int, near_soft: np.ndarray, near: np.ndarray) -> float:
    """Mean negative log-likelihood per frame of blocks left out of the fit."""
    total = 0.0
    every = np.arange(line.shape[1])
    for block in np.array_split(every, BLOCKS):
        rest = np.setdiff1d(every, block)
        fit = _fit(circle[:, rest], line[:, rest], orders, near_soft, near)
        mean, coefficients, factor = fit
        features = fourier_features(circle[:, block], orders, xp=np)
        w = np.linalg.solve(factor, line[:, block] - mean[:, None] - coefficients @ features)
        total += 0.5 * np.sum(w**2) / len(block) + np.sum(np.log(np.diag(factor)))
    return total / BLOCKS


def _fit(circle, line, orders: int, near_soft: np.ndarray, near: np.ndarray):
    """mean ``(W,)``, coefficients ``(W, features)`` and factor ``(W, W)`` of ``Whitening``.

    Row i of r = (line - mean) / scale is regressed (ridge) on earlier rows and features f near it,
    r_i = sum_j A_ij r_j + B_i f + D_i w_i, so that r = (1 - A)^-1 (B f + D w).
    """
    features = fourier_features(circle, orders, xp=np)
    feature_mean, mean, scale = features.mean(1), line.mean(1), line.std(1)
    f, r = features - feature_mean[:, None], (line - mean[:, None]) / scale[:, None]
    used = np.concatenate([near_soft[:, :0], *[near_soft] * (2 * orders)], axis=1)
    a, b, d = np.zeros((len(r), len(r))), np.zeros((len(r), len(f))), np.zeros(len(r))
    for i, row in enumerate(r):
        earlier = np.flatnonzero(near[i, :i])
        predictors = np.concatenate([r[earlier], f[used[i]]])
        gram = predictors @ predictors.T
        ridge = np.repeat([RIDGE, FEATURE_RIDGE], [len(earlier), used[i].sum()])
        gram += np.diag(ridge * np.diag(gram) + 1e-9)
        solution = np.linalg.solve(gram, predictors @ row)
        a[i, earlier], b[i, used[i]] = np.split(solution, [len(earlier)])
        d[i] = np.std(row - solution @ predictors)
    spread = scale[:, None] * np.linalg.inv(np.eye(len(r)) - a)
    coefficients = spread @ b
    return mean - coefficients @ feature_mean, coefficients, np.tril(spread * d)


def softness(
    angles: np.ndarray, ladder: np.ndarray | None = None, *, always: bool = False
) -> tuple[bool, float]:
    """Whether a torsion (samples ``(frames,)``) is soft, and the centre of its cell.

    The basin is what lies within pi/2 of the mode. Soft: the torsion left it in MIN_LADDERS
    independent ladders or in MIN_FRAMES frames (a basin that two ladders found, or that one stayed
    in, is a state of the ensemble, however rare; what is left is a moment's fluctuation), or it
    fluctuates by more than 0.35 rad inside. The centre is then opposite the emptiest place, where
    the circle is cut. Stiff: anything else; the centre is the mean of the basin.

    Args:
        angles: ``(frames,)``, rad.
        ladder: ``(frames,)``, the independent chain of each frame. None, for variables whose basin is
            a chirality (offsets between torsions about one bond): stiff with 1 % of the frames outside.
        always: soft whatever the frames say, as a peptide's phi and psi are.
    """
    grid = np.linspace(-np.pi, np.pi, 360, endpoint=False)
    counts = np.histogram(np.mod(angles + np.pi, 2 * np.pi), 360, (0, 2 * np.pi))[0]
    apart = _turn(grid[:, None] - grid[None, :])
    density = np.exp(-0.5 * (apart / np.deg2rad(10)) ** 2) @ counts
    bin_half = np.pi / 360
    mode = grid[np.argmax(density)] + bin_half
    deviation = _turn(angles - mode)
    left = np.abs(deviation) >= np.pi / 2
    near = deviation[~left]
    if ladder is None:
        turned = left.sum() > 0.01 * len(angles)
    else:
        turned = left.sum() >= MIN_FRAMES or len(np.unique(ladder[left])) >= MIN_LADDERS
    if not (always or turned or near.std() > 0.35):
        return False, float(_turn(mode + near.mean()))
    return True, float(_turn(grid[np.argmin(density)] + bin_half + np.pi))


def _turn(angle):
    return np.mod(angle + np.pi, 2 * np.pi) - np.pi
