"""Rotors with values at directions: which atom is where, labels, and the determinant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.coords import fit_coordinates
from jbg.coords.directions import DIRECTIONS, interpolated_rotors, rotor_directions, rotor_slots
from jbg.coords.torsions import torsion_variables, wrap


@pytest.fixture(scope="module")
def fit(peptides):
    peptide = peptides["dialanine"]
    return fit_coordinates(peptide.zmatrix, peptide.frames, rotors=peptide.rotors)


@pytest.fixture(scope="module")
def parts(fit):
    """Directions and torsion variables of alanine dipeptide, and the places of its three methyls."""
    args = (fit.zmatrix, fit.rotor_groups, fit.cells)
    slots = rotor_slots(interpolated_rotors(*args[:2]), fit.zmatrix.n_atoms)
    assert len(slots[0]) == 3
    return rotor_directions(*args), torsion_variables(*args), slots


def cell_variables(directions, slots, rng, n):
    """Random values with stiff variables well within their cells."""
    z = rng.uniform(-0.3, 0.3, (directions.dim_in, n))
    z[slots[2, :, 0]] = rng.uniform(-np.pi, np.pi, (len(slots[2]), n))
    return z


def test_a_direction_is_that_of_the_atom_there(parts, fit, x64):
    """Where the mean torsion is 0 the value at a direction is that of the atom with this torsion."""
    directions, variables, slots = parts
    z = cell_variables(directions, slots, np.random.default_rng(0), 1)
    leads = slots[2, :, 0]
    z[leads, 0] = -fit.centre[leads - directions.dim_in]
    z[slots[2, :, 1:]] = 0
    y = np.asarray(variables.forward((), jnp.asarray(z))[0])
    bonds, angles, torsions = y[slots][..., 0]
    at = directions.inverse((), jnp.asarray(z))[0][slots][..., 0]
    np.testing.assert_allclose(
        np.angle(np.exp(1j * (torsions - np.radians(DIRECTIONS)))), 0, atol=1e-12
    )
    np.testing.assert_allclose(at[:2], [bonds, angles], atol=1e-12)


def test_values_at_directions_do_not_know_labels(parts, x64):
    """The labels one atom on, the variable of the circle goes back by one turn, and nothing else changes."""
    directions, variables, slots = parts
    z = cell_variables(directions, slots, np.random.default_rng(1), 5)
    again = z.copy()
    again[slots] = np.roll(z[slots], 1, axis=2)
    offsets = np.roll(np.concatenate([0 * z[slots[2, :, :1]], z[slots[2, :, 1:]]], 1), 1, axis=1)
    again[slots[2, :, 1:]] = (offsets - offsets[:, :1])[:, 1:]
    again[slots[2, :, 0]] = z[slots[2, :, 0]] - 2 * np.pi
    y, relabelled = (np.asarray(variables.forward((), jnp.asarray(v))[0]) for v in (z, again))
    np.testing.assert_allclose(
        wrap(np.roll(y[slots], 1, axis=2) - relabelled[slots]), 0, atol=1e-12
    )
    at, same = (np.asarray(directions.inverse((), jnp.asarray(v))[0]) for v in (z, again))
    np.testing.assert_allclose(same[slots[2, :, 0]] + 2 * np.pi, at[slots[2, :, 0]], atol=1e-12)
    rest = np.setdiff1d(np.arange(len(z)), slots[2, :, 0])
    np.testing.assert_allclose(same[rest], at[rest], atol=1e-12)
    assert np.abs(z - at)[slots[0]].max() > 0.1


def test_round_trip_and_determinant(parts, x64):
    directions, _, slots = parts
    z = jnp.asarray(cell_variables(directions, slots, np.random.default_rng(2), 3))
    ways = (directions.forward, directions.inverse)
    for there, back in (ways, ways[::-1]):
        moved, log_det = there((), z)
        np.testing.assert_array_equal(log_det, np.zeros(3))
        np.testing.assert_allclose(back((), moved)[0], z, atol=1e-13)
        jacobian = jax.jit(jax.jacfwd(lambda one, f=there: f((), one)[0]))(z[:, 0])
        np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], 0, atol=1e-12)
