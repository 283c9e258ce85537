"""Rotations turn exactly the torsions they name, by the angle they are given, and nothing else."""

import numpy as np
import pytest

from jbg.interfaces import Topology
from jbg.simulation.torsion_rotation import rotatable_bonds, rotate


def topology(n_atoms: int, bonds: list[tuple[int, int]]) -> Topology:
    return Topology(
        elements=("C",) * n_atoms,
        atom_names=("C",) * n_atoms,
        residue_names=("X",) * n_atoms,
        residue_ids=(0,) * n_atoms,
        bonds=np.array(bonds, int).reshape(-1, 2),
    )


def torsion(x, i, j, k, l):
    """IUPAC dihedral angle of atoms i-j-k-l in radians, x (B, atoms, 3)."""
    b0, b1, b2 = x[:, i] - x[:, j], x[:, k] - x[:, j], x[:, l] - x[:, k]
    b1 = b1 / np.linalg.norm(b1, axis=-1, keepdims=True)
    v = b0 - (b0 * b1).sum(-1, keepdims=True) * b1
    w = b2 - (b2 * b1).sum(-1, keepdims=True) * b1
    return np.arctan2((np.cross(b1, v) * w).sum(-1), (v * w).sum(-1))


def test_a_chain_turns_about_its_inner_bonds_and_the_smaller_side_moves():
    bonds = rotatable_bonds(topology(6, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]))
    assert [bond.axis for bond in bonds] == [(2, 1), (2, 3), (3, 4)]
    assert [bond.moved.tolist() for bond in bonds] == [[0], [4, 5], [5]]


def test_rings_do_not_turn_but_what_hangs_on_them_does():
    ring_with_tail = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 5)]
    assert [bond.axis for bond in rotatable_bonds(topology(6, ring_with_tail))] == [(2, 3), (3, 4)]
    assert rotatable_bonds(topology(2, [(0, 1)])) == ()


def test_one_torsion_changes_by_the_angle_and_no_bond_or_angle_does():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 6, 3))
    bonds = rotatable_bonds(topology(6, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]))
    angles = rng.uniform(-np.pi, np.pi, 5)
    turned = rotate(x, bonds, np.array([1, 1, 1, 1, 1]), angles)
    change = torsion(turned, 1, 2, 3, 4) - torsion(x, 1, 2, 3, 4)
    np.testing.assert_allclose(np.exp(1j * change), np.exp(1j * angles), atol=1e-12)
    for quadruple in ((0, 1, 2, 3), (2, 3, 4, 5)):
        np.testing.assert_allclose(torsion(turned, *quadruple), torsion(x, *quadruple), atol=1e-12)
    for apart in (1, 2):  # bonds, and distances across bond angles
        before, after = (np.linalg.norm(y[:, apart:] - y[:, :-apart], axis=-1) for y in (x, turned))
        np.testing.assert_allclose(after, before, atol=1e-12)


def test_each_configuration_turns_about_its_own_bond_and_back():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(9, 6, 3))
    bonds = rotatable_bonds(topology(6, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]))
    chosen, angles = np.arange(9) % 3, rng.uniform(-np.pi, np.pi, 9)
    turned = rotate(x, bonds, chosen, angles)
    assert (np.abs(turned - x).max((1, 2)) > 1e-3).all()
    np.testing.assert_allclose(rotate(turned, bonds, chosen, -angles), x, atol=1e-12)


def test_rotation_keeps_volume():
    x = np.random.default_rng(2).normal(size=(1, 5, 3))
    bonds = rotatable_bonds(topology(5, [(0, 1), (1, 2), (2, 3), (3, 4)]))

    def turn(flat):
        return rotate(
            flat.reshape(-1, 5, 3), bonds, np.ones(len(flat), int), np.full(len(flat), 0.7)
        )

    shifts = 1e-6 * np.eye(15)
    jacobian = (turn(x.reshape(1, 15) + shifts) - turn(x.reshape(1, 15) - shifts)) / 2e-6
    assert abs(np.linalg.det(jacobian.reshape(15, 15))) == pytest.approx(1.0, abs=1e-7)
