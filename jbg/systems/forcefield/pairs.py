"""All pair energies and forces of a batch, block by block of atoms: memory does not grow with pairs x batch.

Coulomb and Lennard-Jones come from matrices, so exclusions and 1-4 terms need no lists:

    E = 1/2 sum over i, j of qq_ij / r + a_ij / r^12 - b_ij / r^6

The generalised Born part has three passes over pairs (`born`): integrals and their derivatives by the atom's own
place, energies with their derivatives by B, and what an atom's place does to the integrals of others. Forces are
closed forms: a backward pass through pairs would store them all. Positions are ``(N, 3, batch)``; the batch is the
minor axis, which a CPU vectorises, and sums run over a major one. Each block takes some atoms i and all j.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.systems.forcefield.born import (
    BornModel,
    born_radii,
    descreening,
    neck_integral,
    surface_energy,
)

# nm, by bytes of a float: pairs closer than it are treated as this far apart
CLOSEST = {4: 2e-3, 8: 1e-5}


class PairMatrices(NamedTuple):
    """Symmetric ``(N, N)`` with a diagonal of zeros: kJ/mol nm, kJ/mol nm^12, kJ/mol nm^6."""

    coulomb: np.ndarray
    repulsion: np.ndarray
    dispersion: np.ndarray


def pair_energy_and_forces(
    x: Array, matrices: PairMatrices | None, born: BornModel | None, block: int
) -> tuple[Array, Array]:
    """Energies ``(batch,)`` in kJ/mol and forces ``(N, 3, batch)`` in kJ/mol/nm.

    Args:
        x: positions ``(N, 3, batch)``, nm.
        matrices: Coulomb and Lennard-Jones; None leaves them out.
        born: generalised Born; None leaves it out.
        block: number of atoms i at once; working memory is a dozen arrays (block, N, batch).
    """
    energy, force = jnp.zeros(x.shape[2:], x.dtype), jnp.zeros_like(x)
    if matrices is not None:
        energies, forces = _over_blocks(_direct, block, (x,), (x,), matrices)
        energy, force = energy + energies.sum(0), force + forces
    if born is not None:
        energies, forces = _solvation(x, born, block)
        energy, force = energy + energies, force + forces
    return energy, force


def _solvation(x: Array, model: BornModel, block: int) -> tuple[Array, Array]:
    neck, engulfed = model.neck or (), model.engulfed
    reduced, scaled, charge = (_column(a, x) for a in (model.reduced, model.scaled, model.charge))
    rows, columns = (x, reduced), (x, scaled)
    integral, of_own = _over_blocks(_integrals, block, rows, columns, neck, engulfed=engulfed)
    radius, slope, penalty = born_radii(model, integral)
    both = (x, radius, 1 / radius, charge)
    energies, force, by_radius = _over_blocks(_polarisation, block, both, both)
    surface, of_surface = surface_energy(model, radius)
    by_integral = (model.coulomb * by_radius + of_surface) * slope
    if neck:  # its tables are not symmetric
        neck = (neck.distance.T, neck.height.T, neck.reach)
    rows, columns = (x, scaled), (x, reduced, by_integral)
    of_others = _over_blocks(_chain, block, rows, columns, neck, engulfed=engulfed)
    energy = model.coulomb * energies.sum(0) + (surface + penalty).sum(0)
    return energy, model.coulomb * force - by_integral[:, None] * of_own - of_others


def _direct(rows, columns, first, matrices):
    """Coulomb and Lennard-Jones: energies of atoms i, halves of each pair, and forces on them."""
    (xi,), (xj,) = rows, columns
    coulomb, repulsion, dispersion = matrices
    apart = xi[:, None] - xj[None]
    r2 = _floor(_square(apart), first)
    inverse2 = 1 / r2
    inverse6 = inverse2 * inverse2 * inverse2
    charges = coulomb * jnp.sqrt(inverse2)
    repels, attracts = repulsion * inverse6 * inverse6, dispersion * inverse6
    energy = 0.5 * (charges + repels - attracts).sum(1)
    pull = (charges + 12 * repels - 6 * attracts) * inverse2
    return energy, _along_pairs(pull, apart)


def _integrals(rows, columns, first, neck, *, engulfed):
    """I_i, and its derivative by x_i."""
    (xi, reduced), (xj, scaled) = rows, columns
    apart = xi[:, None] - xj[None]
    r = jnp.sqrt(_floor(_square(apart), first))
    value, slope, inverse = descreening(r, reduced[:, None], scaled[None], engulfed=engulfed)
    if neck:
        of_neck = neck_integral(r, *neck)
        value, slope = value + of_neck[0], slope + of_neck[1]
    # on the diagonal x_i - x_j is zero
    return jnp.where(_diagonal(r, first), 0, value).sum(1), _along_pairs(slope * inverse, apart)


def _polarisation(rows, columns, first, none):
    """-q_i q_j / f: halves of the energies by atom, forces at fixed radii, derivatives by B_i."""
    (xi, bi, inverse_i, qi), (xj, bj, inverse_j, qj) = rows, columns
    apart = xi[:, None] - xj[None]
    r2, product = _square(apart), bi[:, None] * bj[None]
    quarter = r2 * (0.25 * inverse_i[:, None] * inverse_j[None])
    decay = jnp.exp(-quarter)
    f = 1 / jnp.sqrt(r2 + product * decay)
    energy = -qi[:, None] * qj[None] * f
    half = 0.5 * energy * f * f
    by_radius = -(half * decay * (1 + quarter) * bj[None]).sum(1)
    pull = 2 * half * (1 - 0.25 * decay)
    return 0.5 * energy.sum(1), _along_pairs(pull, apart), by_radius


def _chain(rows, columns, first, neck, *, engulfed):
    """What x_i does to the integrals of all others, each times the derivative of the energy by it."""
    (xi, scaled), (xj, reduced, by_integral) = rows, columns
    apart = xi[:, None] - xj[None]
    r = jnp.sqrt(_floor(_square(apart), first))
    _, slope, inverse = descreening(r, reduced[None], scaled[:, None], engulfed=engulfed)
    if neck:
        slope = slope + neck_integral(r, *neck)[1]
    return _along_pairs(by_integral[None] * slope * inverse, apart)


def _over_blocks(of, block: int, rows, columns, matrices=(), **options):
    """``of(rows of a block, columns, index of its first row, rows of matrices)`` over all blocks.

    What is cut: ``rows``, arrays ``(n, ...)``, and ``matrices`` ``(n, n)``, which get an axis for the batch.
    """
    n, dtype = len(rows[0]), rows[0].dtype
    n_blocks = -(-n // block)
    block = -(-n // n_blocks)  # blocks alike, so that none is half empty
    cut = lambda a: _padded(a, n_blocks * block).reshape(n_blocks, block, *a.shape[1:])
    pieces = jax.tree.map(cut, rows)
    constants = tuple(cut(np.asarray(m, dtype)[..., None]) for m in matrices)
    first = np.arange(n_blocks, dtype=np.int32) * block

    def one(piece):
        mine, of_pairs, at = piece
        return of(mine, columns, at, of_pairs, **options)

    found = map_ahead(one, (pieces, constants, first))
    return jax.tree.map(lambda a: a.reshape(n_blocks * block, *a.shape[2:])[:n], found)


def map_ahead(of, xs):
    """`jax.lax.map`, each step handed its slice of ``xs`` as the carry of the step before.

    A slice taken within the step would be fused into its arithmetic, which a CPU then does not vectorise: seven
    times slower.
    """
    first = jax.tree.map(lambda a: a[0], xs)
    if len(jax.tree.leaves(xs)[0]) == 1:
        return jax.tree.map(lambda a: a[None], of(first))
    following = jax.tree.map(lambda a: jnp.roll(a, -1, axis=0), xs)
    return jax.lax.scan(lambda x, after: (after, of(x)), first, following)[1]


def _padded(a, n: int):
    """Rows up to n, repeating the first ones."""
    xp = np if isinstance(a, np.ndarray) else jnp
    return a if len(a) == n else xp.concatenate([a, a[: n - len(a)]])


def _square(apart: Array) -> Array:
    return apart[:, :, 0] ** 2 + apart[:, :, 1] ** 2 + apart[:, :, 2] ** 2


def _along_pairs(pull: Array, apart: Array) -> Array:
    """Sum over j of pull_ij (x_i - x_j)."""
    return (pull[:, :, None] * apart).sum(1)


def _floor(r2: Array, first: Array) -> Array:
    """Squared distances that can be divided by; 1 on the diagonal."""
    closest = CLOSEST[r2.dtype.itemsize]
    return jnp.where(_diagonal(r2, first), 1, jnp.maximum(r2, closest * closest))


def _diagonal(of_pairs: Array, first: Array) -> Array:
    """Whether i = j, ``(block, N, 1)``; rows start at atom ``first``."""
    rows, columns = of_pairs.shape[:2]
    i = first + jax.lax.broadcasted_iota(jnp.int32, (rows, columns, 1), 0)
    return i == jax.lax.broadcasted_iota(jnp.int32, (rows, columns, 1), 1)


def _column(values: np.ndarray, like: Array) -> Array:
    return jnp.asarray(values, like.dtype)[:, None]
