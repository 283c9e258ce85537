"""What files round and constraints hold is drawn anew: energies and bonds are those of the ensemble again."""

import numpy as np
import pytest

import jbg
from jbg.simulation import restored_frames
from jbg.simulation.restored_frames import Lost, restore, rigid_angles, rigid_bonds
from jbg.studies.molecule.trajectory_data import energies_of
from jbg.systems.forcefield import compiled_potential
from jbg.systems.harmonic_bonds import harmonic_bonds
from jbg.units import beta
from tests import own_trajectories as own
from tests.molecules import peptide

pytestmark = pytest.mark.openmm
NONE = np.zeros((0, 2), int)
K, LENGTH = 1e5, 0.1  # kT/nm^2, nm


def pair_energy(x):
    """Two atoms with a harmonic bond and a constant force that pulls them apart, in kT."""
    r = np.linalg.norm(x[:, 1] - x[:, 0], axis=-1)
    return 0.5 * K * (r - LENGTH) ** 2 - 200.0 * r


def test_rigid_bonds_are_drawn_from_their_conditional():
    """r^2 exp(-u) of two atoms, its mean and width from quadrature, with forces that no harmonic bond knows."""
    x = np.zeros((4000, 2, 3))
    x[:, 1, 0] = LENGTH
    lost = Lost(0.0, np.array([[0, 1]]), np.array([LENGTH]), np.array([K]))
    found = restore(pair_energy, x, lost, seed=0)
    r = np.linalg.norm(found.x[:, 1] - found.x[:, 0], axis=-1)
    grid = np.linspace(0.08, 0.12, 4001)
    p = grid**2 * np.exp(-0.5 * K * (grid - LENGTH) ** 2 + 200.0 * (grid - LENGTH))
    mean = np.sum(grid * p) / p.sum()
    width = np.sqrt(np.sum((grid - mean) ** 2 * p) / p.sum())
    assert mean - LENGTH > 0.6 * width  # what is drawn first is far off
    assert r.mean() == pytest.approx(mean, abs=4 * width / np.sqrt(4000))
    assert r.std() == pytest.approx(width, rel=0.05)
    np.testing.assert_allclose(found.u, pair_energy(found.x))
    assert found.evaluations == 4000 * 11


def test_positions_are_drawn_within_what_was_rounded():
    """One coordinate in a steep slope: mean of exp(-a e) over the cell, and never outside of it."""
    a, step = 3000.0, 0.001
    x = np.round(np.random.default_rng(1).normal(size=(3000, 1, 3)), 3)
    found = restore(lambda y: a * y[:, 0, 0], x, Lost(step, NONE, np.zeros(0), np.zeros(0)), seed=0)
    offset = found.x - x
    assert np.abs(offset).max() <= step / 2 + 1e-12
    half = a * step / 2
    expected = 1 / a - step / 2 / np.tanh(half)
    spread = step / np.sqrt(12 * 3000)
    assert offset[:, 0, 0].mean() == pytest.approx(expected, abs=4 * spread)
    assert np.abs(offset[:, 0, 1:].mean(axis=0)).max() < 4 * spread


def test_frames_are_restored_in_pieces(monkeypatch):
    x = np.round(np.random.default_rng(1).normal(size=(25, 2, 3)), 3)
    lost = Lost(0.001, NONE, np.zeros(0), np.zeros(0))
    whole = restore(pair_energy, x, lost, seed=0)
    monkeypatch.setattr(restored_frames, "MOST", 60)
    found = restore(pair_energy, x, lost, seed=0)
    assert found.x.shape == whole.x.shape
    assert found.evaluations == whole.evaluations == 25 * 11
    np.testing.assert_allclose(found.u, pair_energy(found.x))
    assert np.abs(found.x - x).max() <= 0.0005 + 1e-12


def test_nothing_lost_leaves_frames_as_they_are():
    x = np.random.default_rng(0).normal(size=(5, 2, 3))
    found = restore(pair_energy, x, Lost(0.0, NONE, np.zeros(0), np.zeros(0)), seed=0)
    np.testing.assert_array_equal(found.x, x)
    assert found.evaluations == 5


def test_constraints_are_told_from_thermal_bonds_through_rounding():
    molecule = peptide(own.SEQUENCE)
    bonds = harmonic_bonds(molecule.system_xml, molecule.topology.bonds)
    assert {frozenset(p) for p in bonds.pairs.tolist()} == {
        frozenset(b) for b in molecule.topology.bonds.tolist()
    }
    light = (np.array(molecule.topology.elements)[bonds.pairs] == "H").any(axis=1)
    x, k = own.chains()[:3].reshape(-1, 22, 3), beta(300.0) * bonds.k
    assert not rigid_bonds(x, bonds.pairs, k).any()
    assert not rigid_bonds(np.round(x, 3), bonds.pairs, k).any()
    held = np.round(own.rigid(x), 3)
    np.testing.assert_array_equal(rigid_bonds(held, bonds.pairs, k), light)
    assert not rigid_bonds(held[:5], bonds.pairs, k).any()  # too few to tell
    angles = np.array([[0, 1, 2]])
    assert not rigid_angles(x, angles).any()
    assert rigid_angles(np.repeat(x[:1], 30, axis=0), angles).all()


def test_energies_of_frames_that_were_rounded_and_held_are_those_of_the_ensemble():
    """Mean reduced energies: rounding to 0.001 nm raises them by 0.3, rigid bonds lower them by 6."""
    molecule = peptide(own.SEQUENCE)
    potential, kt = compiled_potential(molecule.system_xml), beta(300.0)
    energies = energies_of(lambda x: kt * potential(x), 66)
    x = own.chains()[:, ::6].reshape(-1, 22, 3)
    known, error = energies(x).mean(), 5.0 / np.sqrt(len(x))
    bonds = harmonic_bonds(molecule.system_xml, molecule.topology.bonds)
    light = np.array(molecule.topology.elements)[bonds.pairs] == "H"
    rows = np.flatnonzero(light.any(axis=1))
    pairs = np.where(light[rows][:, :1], bonds.pairs[rows][:, ::-1], bonds.pairs[rows])
    rounded = np.round(x, 3)
    assert energies(rounded).mean() - known > 0.2
    none = Lost(0.001, NONE, np.zeros(0), np.zeros(0))
    assert restore(energies, rounded, none, seed=0).u.mean() == pytest.approx(known, abs=0.15)
    lost = Lost(0.001, pairs, bonds.length[rows], kt * bonds.k[rows])
    held = np.round(own.rigid(x), 3)
    found = restore(energies, held, lost, seed=0)
    assert 0.3 < found.accepted < 0.95
    assert found.u.mean() == pytest.approx(known, abs=3 * error)


def test_springs_of_urey_and_bradley_are_no_bonds():
    """Ends of an angle move less than their soft spring allows: they would look constrained."""
    molecule = jbg.molecule(sequence="ALA-ALA", forcefield=("charmm36.xml",))
    found = harmonic_bonds(molecule.system_xml, molecule.topology.bonds)
    assert sorted(map(sorted, found.pairs.tolist())) == sorted(
        map(sorted, molecule.topology.bonds.tolist())
    )
