"""Torsion variables: rotor label cells, offsets, and the determinant."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.coords import ZMatrix, build_zmatrix, internal, rotor_candidates
from jbg.coords.torsions import (
    TorsionCells,
    proper_torsions,
    rotor_torsions,
    torsion_variables,
    wrap,
)
from jbg.interfaces import ConfigError
from tests.coords.conftest import benzene, methane, simple_topology


def test_wrap_is_half_open():
    angles = np.array([np.pi, -np.pi, 3 * np.pi, 0.5, 7.0])
    np.testing.assert_allclose(
        wrap(angles), [-np.pi, -np.pi, -np.pi, 0.5, 7 - 2 * np.pi], atol=1e-6
    )


def test_candidates_are_whole_groups_of_equal_leaves(peptides):
    named = {
        name: sorted(
            tuple(
                sorted(f"{p.topology.residue_names[i]}:{p.topology.atom_names[i]}" for i in group)
            )
            for group in p.rotors
        )
        for name, p in peptides.items()
    }
    assert len(named["dialanine"]) == 3
    assert ("ALA:HB1", "ALA:HB2", "ALA:HB3") in named["dialanine"]
    assert ("ASP:OD1", "ASP:OD2") in named["chignolin"]
    assert ("GLY:H", "GLY:H2", "GLY:H3") in named["chignolin"]
    assert ("GLY:O", "GLY:OXT") in named["chignolin"]
    assert len(named["chignolin"]) == 6  # NH3+, 2 carboxylates, C terminus, 2 threonine methyls
    for topology, positions in (benzene(), methane()):
        assert rotor_candidates(topology, build_zmatrix(topology, positions)) == ()


@pytest.fixture
def propane_like():
    """X-C-C(H)3 and X-C(O)2: a chain with a three-fold and a two-fold rotor."""
    bonds = [(0, 1), (1, 2), (0, 3), (0, 4), (0, 5), (2, 6), (2, 7), (1, 8)]
    positions = np.array(
        [[0, 0, 0], [0.15, 0, 0], [0.2, 0.14, 0], [-0.04, 0.1, 0], [-0.04, -0.05, 0.09]]
        + [[-0.04, -0.05, -0.09], [0.1, 0.2, 0.1], [0.3, 0.18, -0.1], [0.2, -0.1, 0.0]]
    )
    zmatrix = build_zmatrix(simple_topology("CNCHHHOOH", bonds), positions)
    return zmatrix, positions


def cells_of(zmatrix, rotors, rng):
    """Random centres for free variables, those of rotor offsets where they belong."""
    centre = rng.uniform(-3, 3, zmatrix.n_atoms - 3)
    half_width = np.full(zmatrix.n_atoms - 3, np.pi)
    for members in rotor_torsions(zmatrix, rotors):
        centre[members[1:]] = 2 * np.pi / len(members) * np.arange(1, len(members))
        half_width[members[1:]] = np.pi / 2
    return TorsionCells(centre, half_width)


def test_round_trip_log_det_and_relabelling(propane_like, x64):
    zmatrix, _ = propane_like
    rng = np.random.default_rng(0)
    rotors = ((3, 4, 5), (6, 7))
    bijector = torsion_variables(zmatrix, rotors, cells_of(zmatrix, rotors, rng))
    n = zmatrix.n_atoms
    z = rng.uniform(-np.pi, np.pi, (3 * n - 6, 40))
    for members in rotor_torsions(zmatrix, rotors):
        z[2 * n - 3 + members[1:]] = rng.normal(scale=0.2, size=(len(members) - 1, 40))
    z[: 2 * n - 3] = rng.uniform(0.5, 1.5, (2 * n - 3, 40))
    z = jnp.asarray(z)
    to_variables = jax.jit(bijector.inverse)
    measure = jax.jit(internal(zmatrix).inverse)
    y, log_det = jax.jit(bijector.forward)((), z)
    back, inverse_log_det = to_variables((), y)
    np.testing.assert_allclose(back, z, atol=1e-12)
    np.testing.assert_allclose(log_det, np.full(40, -np.log(6)), rtol=1e-12)
    np.testing.assert_allclose(inverse_log_det, np.full(40, np.log(6)), rtol=1e-12)
    for direction, value, expected in (
        (bijector.forward, z[:, 0], log_det[0]),
        (bijector.inverse, y[:, 0], inverse_log_det[0]),
    ):
        jacobian = jax.jit(jax.jacfwd(lambda a, f=direction: f((), a)[0]))(value)
        np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], expected, atol=1e-10)

    x, _ = jax.jit(internal(zmatrix).forward)((), y)
    positions = np.asarray(x).reshape(n, 3, 40)
    for i, j in itertools.product(range(3), range(2)):
        swapped = positions.copy()
        swapped[[3, 4, 5]] = positions[np.roll([3, 4, 5], i)]
        swapped[[6, 7]] = positions[np.roll([6, 7], j)]
        relabelled, _ = measure((), jnp.asarray(swapped.reshape(3 * n, 40)))
        same, same_log_det = to_variables((), relabelled)
        difference = np.array(same - z)
        difference[2 * n - 3 :] = wrap(difference[2 * n - 3 :])
        np.testing.assert_allclose(difference, 0, atol=1e-10)
        np.testing.assert_allclose(same_log_det, inverse_log_det)
    swapped = positions.copy()
    swapped[[3, 4]] = positions[[4, 3]]  # no rotation does this
    relabelled, _ = measure((), jnp.asarray(swapped.reshape(3 * n, 40)))
    assert np.all(np.isneginf(to_variables((), relabelled)[1]))


def test_what_is_inside_does_not_depend_on_labels_or_the_angle(propane_like, x64):
    """Any torsions of a methyl: its gaps decide, the same in each cyclic order, and only in one of two."""
    zmatrix, _ = propane_like
    rng = np.random.default_rng(1)
    rotors = ((3, 4, 5),)
    bijector = torsion_variables(zmatrix, rotors, cells_of(zmatrix, rotors, rng))
    start = 2 * zmatrix.n_atoms - 3
    (members,) = rotor_torsions(zmatrix, rotors)
    y = np.tile(rng.uniform(-1, 1, (3 * zmatrix.n_atoms - 6, 1)), 4000)
    y[start + members] = rng.uniform(-np.pi, np.pi, (3, 4000))

    def inside(order, turn=0.0):
        moved = y.copy()
        moved[start + members] = wrap(y[start + members[list(order)]] + turn)
        return np.isfinite(jax.jit(bijector.inverse)((), jnp.asarray(moved))[1])

    gaps = np.mod(np.diff(y[start + members], axis=0, append=y[start + members[:1]]), 2 * np.pi)
    expected = np.all(np.abs(gaps - 2 * np.pi / 3) < np.pi / 2, 0)
    assert 0.1 < expected.mean() < 0.5
    for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        np.testing.assert_array_equal(inside(order), expected)
        np.testing.assert_array_equal(inside(order, 1.3), expected)
    assert not np.any(inside((1, 0, 2)) & expected)


def test_outside_a_cell_there_is_no_density(propane_like):
    zmatrix, _ = propane_like
    n = zmatrix.n_atoms
    cells = TorsionCells(np.zeros(n - 3), np.full(n - 3, np.pi / 2))
    bijector = torsion_variables(zmatrix, (), cells)
    z = np.zeros((3 * n - 6, 3), np.float32)
    z[-1] = [1.5, 1.6, -4.0]
    np.testing.assert_array_equal(bijector.forward((), z)[1], [0, -np.inf, -np.inf])
    y = z.copy()
    np.testing.assert_array_equal(bijector.inverse((), y)[1], [0, -np.inf, -np.inf])


@pytest.mark.parametrize(
    "rotors", [((3, 4),), ((3,),), ((),), ((0, 1),), ((3, 4, 6),), ((3, 4, 99),)]
)
def test_rotors_must_be_whole_groups(propane_like, rotors):
    with pytest.raises(ConfigError, match="rotors: atoms"):
        rotor_torsions(propane_like[0], rotors)


def test_a_torsion_whose_parents_hang_on_one_atom_is_no_turn():
    column = lambda *values: np.array(values)
    #     1 - 2 - 3 in a chain with 0 in front, and 4 on atom 1 beside 2
    order, bond = column(0, 1, 2, 3, 4), column(-1, 0, 1, 2, 1)
    angle, torsion = column(-1, -1, 0, 1, 2), column(-1, -1, -1, 0, 0)
    proper = proper_torsions(ZMatrix(order, bond, angle, torsion))
    np.testing.assert_array_equal(proper, [True, False])
