"""Positions from bonds, angles and torsions, with their own derivative: each coordinate moves the
atoms behind it as a rigid body, so all derivatives are sums along the tree of bonds and never a
backward pass through the placement.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.coords.sweep import chain_sums, make_sweep, run_sweep
from jbg.coords.vectors import Vectors, add, cross, difference, nonzero, scale, tail, take, unit
from jbg.coords.zmatrix import ZMatrix


def placement(zmatrix: ZMatrix) -> Callable[[Array, Array, Array], Vectors]:
    """place(bonds, angles, torsions) -> positions, three arrays ``(N, *batch)`` in atom order,
    differentiable both ways.
    """
    row_of = np.argsort(zmatrix.order)
    parents = np.stack([zmatrix.bond, zmatrix.angle, zmatrix.torsion], axis=1)
    sweep = make_sweep(row_of[parents].tolist(), n_given=3)
    sweep = sweep._replace(places=sweep.places[row_of])
    moved = chain_sums(zmatrix)

    @jax.custom_jvp
    def place(bonds, angles, torsions):
        cos, sin = jnp.cos(angles), jnp.sin(angles)
        zero = jnp.zeros_like(bonds[:1])
        seeds = (
            jnp.concatenate([zero, bonds[:1], bonds[:1] - bonds[1:2] * cos[:1]]),
            jnp.concatenate([zero, zero, bonds[1:2] * sin[:1]]),
            jnp.concatenate([zero, zero, zero]),
        )
        across = bonds[2:] * sin[1:]
        local = (-bonds[2:] * cos[1:], across * jnp.cos(torsions), across * jnp.sin(torsions))
        return run_sweep(sweep, seeds, local, _place_atoms)

    @place.defjvp
    def place_jvp(primals, tangents):
        """Rigid-body motion of subtrees: turn by dphi about the bond, by dtheta about the normal,
        slide by dd.
        """
        bonds, angles, _ = primals
        d_bonds, d_angles, d_torsions = tangents
        x = place(*primals)
        pivot = take(x, zmatrix.bond[1:])
        along = scale(difference(take(x, zmatrix.order[1:]), pivot), 1 / nonzero(bonds))
        axis = unit(difference(tail(pivot), take(x, zmatrix.angle[2:])))
        normal = scale(cross(tail(along), axis), 1 / nonzero(jnp.sin(angles)))
        by_angle = scale(normal, d_angles)
        by_torsion = scale(tail(axis), d_torsions)
        # the second seed only slides
        turn = add(_after(1, by_angle), _after(2, by_torsion))
        slide = difference(scale(along, d_bonds), cross(turn, pivot))
        motion = moved(jnp.stack((*_after(1, turn), *_after(1, slide)), axis=1))
        turn = motion[:, 0], motion[:, 1], motion[:, 2]
        slide = motion[:, 3], motion[:, 4], motion[:, 5]
        return x, add(slide, cross(turn, x))

    return place


def _place_atoms(parents: list[Vectors], local: Vectors) -> Vectors:
    """Atoms from their bond, angle and torsion parents and the position in the frame of these."""
    bond, angle, torsion = parents
    axis = unit(difference(bond, angle))
    normal = unit(cross(axis, difference(torsion, angle)))
    plane = cross(normal, axis)
    x = add(bond, scale(axis, local[0]))
    return add(add(x, scale(plane, local[1])), scale(normal, local[2]))


def _after(n: int, u: Vectors) -> Vectors:
    """The vectors behind n that are zero."""
    x, y, z = (jnp.concatenate([jnp.zeros((n, *a.shape[1:]), a.dtype), a]) for a in u)
    return x, y, z
