"""Ladders start on both sides of every torsion, in half each, and never from a clash."""

import numpy as np
import pytest

from jbg.simulation.dispersed_starts import TorsionSides, _best, balanced_sides, dispersed_starts
from jbg.simulation.torsion_rotation import rotatable_bonds
from tests.simulation.test_torsion_rotation import topology, torsion


@pytest.mark.parametrize("n_torsions", [1, 2, 5, 20])
def test_any_even_block_of_ladders_has_half_on_each_side(n_torsions):
    turned = balanced_sides(n_torsions, 32)
    assert not turned[:, 0].any()
    np.testing.assert_array_equal(turned[:, 1::2], ~turned[:, ::2])
    for block in (slice(0, 14), slice(14, 16), slice(16, 32)):  # to train, to validate, to estimate
        np.testing.assert_array_equal(2 * turned[:, block].sum(1), turned[:, block].shape[1])
    assert len(np.unique(turned, axis=0)) == min(n_torsions, 16)


def test_one_torsion_alternates():
    np.testing.assert_array_equal(balanced_sides(1, 5), [[False, True, False, True, False]])
    assert balanced_sides(2, 1).tolist() == [[False], [False]]
    assert balanced_sides(0, 3).shape == (0, 3)


CHAIN = topology(5, [(0, 1), (1, 2), (2, 3), (3, 4)])
START = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 0], [1, -1, 0], [2, -1, 0.0]])  # both torsions trans


def bonded_chain(walls):
    """Springs, a wall of infinite energy where ``walls`` says so; calls are recorded."""
    sizes = []

    def energies_and_forces(x):
        sizes.append(len(x))
        arm = x[:, 1:] - x[:, :-1]
        length = np.linalg.norm(arm, axis=-1, keepdims=True)
        pull = 1000.0 * (length - 1) * arm / length
        force = np.zeros_like(x)
        force[:, :-1] += pull
        force[:, 1:] -= pull
        energy = 500.0 * ((length - 1) ** 2).sum((1, 2))
        return np.where(walls(x), np.inf, energy), force

    return energies_and_forces, sizes


def sides_of_chain():
    bonds = {frozenset(bond.axis): bond for bond in rotatable_bonds(CHAIN)}
    found = []
    for quad in ((0, 1, 2, 3), (1, 2, 3, 4)):
        gauche = lambda x, quad=quad: np.abs(torsion(x.T.reshape(-1, 5, 3), *quad)) < 2 * np.pi / 3
        found.append(TorsionSides(bonds[frozenset(quad[1:3])], gauche))
    return tuple(found)


def test_starts_are_where_they_should_be_and_relaxed():
    call, sizes = bonded_chain(lambda x: np.zeros(len(x), bool))
    found = dispersed_starts(call, START, sides_of_chain(), n_ladders=8, batch=16)
    np.testing.assert_array_equal(found.sides, balanced_sides(2, 8))
    np.testing.assert_array_equal(found.positions[0], START)
    for torsion_sides, sides in zip(sides_of_chain(), found.sides, strict=True):
        np.testing.assert_array_equal(torsion_sides.side(found.positions.reshape(8, -1).T), sides)
    assert set(sizes) == {16}
    assert found.evaluations == sum(sizes)


def test_strained_structures_are_relaxed_or_left_out():
    def strained(strength, *, forces):
        """On the gauche side the outer bond wants to be 1.2 long."""

        def energies_and_forces(x):
            energy, force = bonded_chain(lambda x: np.zeros(len(x), bool))[0](x)
            arm = x[:, 3] - x[:, 2]
            length = np.linalg.norm(arm, axis=-1)
            apart = np.where(_gauche(x), length - 1.2, 0.0)
            push = strength * (apart / length)[:, None] * arm * forces
            force[:, 3] -= push
            force[:, 2] += push
            return energy + 0.5 * strength * apart**2, force

        return energies_and_forces

    one = sides_of_chain()[:1]
    call = strained(1e5, forces=1.0)
    found = dispersed_starts(call, START, one, n_ladders=2, batch=4)
    assert found.sides.tolist() == [[False, True]]
    length = np.linalg.norm(found.positions[1, 3] - found.positions[1, 2])
    assert length > 1.15  # turned rigidly it was 1, at 2000 kJ/mol
    before = dispersed_starts(strained(1e5, forces=0.0), START, one, n_ladders=2, batch=4)
    assert before.sides.tolist() == [[False, False]]  # what cannot be relaxed is left out


def test_where_the_other_side_has_no_finite_energy_a_ladder_starts_as_given():
    one = sides_of_chain()[:1]
    call, _ = bonded_chain(_gauche)
    found = dispersed_starts(call, START, one, n_ladders=4, batch=8)
    np.testing.assert_array_equal(found.positions, np.broadcast_to(START, (4, 5, 3)))
    assert not found.sides.any()


def _gauche(x):
    return np.abs(torsion(x, 0, 1, 2, 3)) < 2 * np.pi / 3


def test_a_minimum_is_turned_to_and_not_the_edge_of_a_side():
    """phi of alanine dipeptide: lowest at 180 degrees, from where it falls back to phi < 0."""
    angle = np.arange(-150, 210, 15)
    energy = np.interp(angle, [-150, -80, 0, 60, 120, 180, 195], [0, -2, 1800, 27, 150, 21, 5])
    other = (angle > 0) & (angle <= 180)
    assert angle[_best(energy, other)] == 60
    assert angle[_best(np.where(angle == 60, np.inf, energy), other)] in (45, 75)
    falling = np.where(other, 2000.0 - angle, energy)
    assert angle[_best(falling, other)] == 90  # no minimum: the middle
    assert _best(np.where(other, np.inf, energy), other) is None


def test_a_molecule_without_such_torsions_starts_as_given():
    call, sizes = bonded_chain(_gauche)
    found = dispersed_starts(call, START, (), n_ladders=3, batch=6)
    assert found.sides.shape == (0, 3)
    assert (found.positions == START).all()
    assert sizes == []
