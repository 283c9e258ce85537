"""Optimal superposition of structures and the deviation that is left, for many pairs at once.

Host code, float64: frames ``(n, atoms, 3)``, deviations in their unit of length. All atoms given count alike;
rotations only, mirror images stay what they are.
"""

import numpy as np
from numpy.typing import ArrayLike

from jbg.interfaces import ConfigError

CHUNK = 2**18  # pairs at once
NEWTON = 60  # steps at most; 5 to 10 are usual
CLOSE = 1e-14  # relative step at which a root is found


def superposed(frames: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """Frames ``(n, atoms, 3)`` moved and rotated onto ``reference (atoms, 3)``, whose centre is put at 0.

    The rotation with the least mean square deviation, by the singular value decomposition of the covariance
    (Kabsch 1976, doi:10.1107/S0567739476001873).
    """
    x, reference = _centred(frames), _centred(reference)
    u, _, vt = np.linalg.svd(np.einsum("nai,aj->nij", x, reference))
    mirrored = np.linalg.det(u @ vt) < 0
    u[mirrored, :, -1] *= -1
    return x @ (u @ vt)


def rmsd(frames: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """RMSD ``(n,)`` of frames ``(n, atoms, 3)``, superposed on ``reference (atoms, 3)``."""
    return rmsd_matrix(frames, np.asarray(reference)[None])[:, 0]


def rmsd_matrix(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """RMSD ``(n, m)`` of each of n structures ``(n, atoms, 3)`` from each of m, superposed pair by pair.

    sqrt((G_a + G_b - 2 lambda) / atoms) with G the sums of squares about the centres, and lambda the largest root
    of the characteristic polynomial of the quaternion matrix, by Newton's method from (G_a + G_b) / 2, above all
    roots (Theobald 2005, doi:10.1107/S0108767305015266).

    Raises:
        ConfigError: different numbers of atoms.
    """
    a, b = _centred(first), _centred(second)
    if a.ndim != 3 or b.ndim != 3 or a.shape[1:] != b.shape[1:]:
        raise ConfigError(
            f"rmsd: expected frames (n, atoms, 3) of the same atoms, got {a.shape} and {b.shape}"
        )
    squares_a, squares_b = (np.sum(x**2, axis=(1, 2)) for x in (a, b))
    found = np.empty((len(a), len(b)))
    size = max(1, CHUNK // max(1, len(b)))
    flat = b.transpose(1, 0, 2).reshape(a.shape[1], -1)
    for start in range(0, len(a), size):
        part = a[start : start + size]
        covariance = (part.transpose(0, 2, 1).reshape(-1, a.shape[1]) @ flat).reshape(
            len(part), 3, len(b), 3
        )
        total = squares_a[start : start + size, None] + squares_b[None]
        left = total - 2 * _largest_root(covariance.transpose(1, 3, 0, 2), total / 2)
        found[start : start + size] = np.sqrt(np.maximum(left, 0.0) / a.shape[1])
    return found


def _centred(frames: ArrayLike) -> np.ndarray:
    x = np.asarray(frames, np.float64)
    return x - x.mean(axis=-2, keepdims=True)


def _largest_root(c: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Largest eigenvalue of the quaternion matrix of covariances ``(3, 3, *pairs)``; none exceeds ``above``.

    The polynomial is l^4 - 2 |C|^2 l^2 - 8 det(C) l + |C|^4 - 4 (sum of squared 2 x 2 minors), Frobenius norms.
    Its roots are the sums of the singular values with the signs of a rotation.
    """
    square = np.sum(c**2, axis=(0, 1))
    minors = np.array(
        [
            c[i - 2, j - 2] * c[i - 1, j - 1] - c[i - 2, j - 1] * c[i - 1, j - 2]
            for i in range(3)
            for j in range(3)
        ]
    )
    determinant = np.sum(c[0] * minors[:3], axis=0)
    constant = square**2 - 4 * np.sum(minors**2, axis=0)
    root = above.copy()
    for _ in range(NEWTON):
        value = ((root**2 - 2 * square) * root - 8 * determinant) * root + constant
        slope = 4 * (root**2 - square) * root - 8 * determinant
        step = np.divide(value, slope, out=np.zeros_like(value), where=slope > 0)
        root = root - np.maximum(step, 0.0)
        if np.all(step <= CLOSE * root):
            break
    return root
