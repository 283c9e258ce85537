"""Energies of bonds, angles, torsions and maps; features first, gradients finite for any geometry.

    bonds      k/2 (r - r0)^2                       angles     k/2 (theta - theta0)^2
    torsions   sum of k_n (1 + cos(n phi - phi_n))  impropers  k (phi - phi0)^2, the difference wrapped or not
    maps       bicubic patches of phi and psi

Parameters are numpy float64 arrays; positions ``(N, 3, *batch)`` in nm set the type of the result, ``(*batch,)``
in kJ/mol.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

TINY = 1e-24  # in nm: what a square root is taken of is not below it, so that no slope is infinite


class Bonds(NamedTuple):
    atoms: np.ndarray  # (n, 2)
    length: np.ndarray  # (n,) nm
    constant: np.ndarray  # (n,) kJ/mol/nm^2


class Angles(NamedTuple):
    atoms: np.ndarray  # (n, 3)
    angle: np.ndarray  # (n,) rad
    constant: np.ndarray  # (n,) kJ/mol/rad^2


class Torsions(NamedTuple):
    """constant + sum over n of cosine_n cos n phi + sine_n sin n phi; all terms of four atoms are together."""

    atoms: np.ndarray  # (n, 4)
    constant: float  # kJ/mol, of all
    cosine: np.ndarray  # (n_max, n) kJ/mol, for cos phi, cos 2 phi, ...
    sine: np.ndarray  # (n_max, n)


class Impropers(NamedTuple):
    atoms: np.ndarray  # (n, 4)
    angle: np.ndarray  # (n,) rad
    constant: np.ndarray  # (n,) kJ/mol/rad^2, of (phi - phi0)^2
    turn: float  # 2 pi, as precisely as the force has it, of the shorter way around; 0: not wrapped


class Maps(NamedTuple):
    atoms: np.ndarray  # (n, 8): of phi, of psi
    which: np.ndarray  # (n,)
    # (n_maps, size, size, 4, 4) kJ/mol: powers of phi, of psi in a cell, 0 to 1
    patches: np.ndarray


def bond_energy(terms: Bonds, x: Array) -> Array:
    r = _length(_between(x, terms.atoms, 0, 1))
    constant, length = (_along(a, r) for a in (terms.constant, terms.length))
    return 0.5 * (constant * (r - length) ** 2).sum(0)


def angle_energy(terms: Angles, x: Array) -> Array:
    a, b = _between(x, terms.atoms, 0, 1), _between(x, terms.atoms, 2, 1)
    theta = jnp.arctan2(_length(_cross(a, b)), _dot(a, b))
    constant, angle = (_along(v, theta) for v in (terms.constant, terms.angle))
    return 0.5 * (constant * (theta - angle) ** 2).sum(0)


def torsion_energy(terms: Torsions, x: Array) -> Array:
    """cos n phi and sin n phi from those of phi by multiplication of complex numbers."""
    cosine, sine = cosine_and_sine(x, terms.atoms)
    c, s, energy = cosine, sine, jnp.asarray(terms.constant, x.dtype)
    for n, (of_cosine, of_sine) in enumerate(zip(terms.cosine, terms.sine, strict=True)):
        if n:
            c, s = c * cosine - s * sine, c * sine + s * cosine
        energy = energy + (_along(of_cosine, c) * c + _along(of_sine, s) * s).sum(0)
    return energy


def improper_energy(terms: Impropers, x: Array) -> Array:
    phi = _torsion(x, terms.atoms)
    constant, angle = (_along(a, phi) for a in (terms.constant, terms.angle))
    apart = jnp.abs(phi - angle)
    if terms.turn:
        apart = jnp.minimum(apart, terms.turn - apart)
    return (constant * apart**2).sum(0)


def map_energy(terms: Maps, x: Array) -> Array:
    size = terms.patches.shape[1]
    cells, powers = [], []
    for atoms in (terms.atoms[:, :4], terms.atoms[:, 4:]):
        place = (_torsion(x, atoms) % (2 * np.pi)) * (size / (2 * np.pi))
        cell = jnp.clip(place.astype(jnp.int32), 0, size - 1)
        t = place - cell
        cells.append(cell)
        powers.append((jnp.ones_like(t), t, t * t, t * t * t))
    flat = (_along(terms.which, cells[0], jnp.int32) * size + cells[0]) * size + cells[1]
    patch = jnp.asarray(terms.patches.reshape(-1, 16).T, x.dtype)[:, flat]  # (16, n, *batch)
    products = (
        patch[4 * i + j] * p * q for i, p in enumerate(powers[0]) for j, q in enumerate(powers[1])
    )
    return sum(products, jnp.zeros((), x.dtype)).sum(0)


def cosine_and_sine(x: Array, atoms: np.ndarray) -> tuple[Array, Array]:
    """Of the torsion of each row of four atoms, ``(n, *batch)``; IUPAC sign."""
    a, b, c = (_between(x, atoms, i + 1, i) for i in range(3))
    m, n = _cross(a, b), _cross(b, c)
    cosine, sine = _dot(m, n), _length(b) * _dot(a, n)
    inverse = 1 / jnp.sqrt(jnp.maximum(cosine * cosine + sine * sine, TINY))
    return cosine * inverse, sine * inverse


def _torsion(x: Array, atoms: np.ndarray) -> Array:
    cosine, sine = cosine_and_sine(x, atoms)
    return jnp.arctan2(sine, cosine)


def _between(x: Array, atoms: np.ndarray, to: int, start: int) -> Array:
    """x_to - x_start of each term, ``(n, 3, *batch)``."""
    return x[atoms[:, to]] - x[atoms[:, start]]


def _dot(a: Array, b: Array) -> Array:
    return a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2]


def _cross(a: Array, b: Array) -> Array:
    (a0, a1, a2), (b0, b1, b2) = ((v[:, 0], v[:, 1], v[:, 2]) for v in (a, b))
    return jnp.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=1)


def _length(a: Array) -> Array:
    return jnp.sqrt(jnp.maximum(_dot(a, a), TINY))


def _along(values: np.ndarray, like: Array, dtype=None) -> Array:
    return jnp.asarray(values, dtype or like.dtype).reshape(-1, *[1] * (like.ndim - 1))
