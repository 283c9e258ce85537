"""Torsions against mdtraj; histograms and their distances against closed forms."""

import mdtraj
import numpy as np
import pytest

from jbg.analysis import (
    ramachandran_histogram,
    ramachandran_noise_floor,
    torsions,
    total_variation,
)


def test_torsions_are_mdtraj_s():
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(200, 6, 3))
    quadruples = np.array([[0, 1, 2, 3], [5, 3, 2, 1], [4, 0, 5, 2]])
    topology = mdtraj.Topology()
    residue = topology.add_residue("ALA", topology.add_chain())
    for _ in range(6):
        topology.add_atom("C", mdtraj.element.carbon, residue)
    expected = mdtraj.compute_dihedrals(mdtraj.Trajectory(positions, topology), quadruples)
    difference = torsions(positions, quadruples) - expected
    np.testing.assert_allclose((difference + np.pi) % (2 * np.pi) - np.pi, 0.0, atol=2e-4)


def test_torsion_signs_follow_iupac():
    # seen from the second atom to the third, the front bond turns clockwise by 90 degrees
    positions = np.array([[[1.0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1]]])
    expected = np.pi / 2
    assert torsions(positions, [[0, 1, 2, 3]])[0, 0] == pytest.approx(expected)
    mirrored = positions * [1, -1, 1]
    assert torsions(mirrored, [[0, 1, 2, 3]])[0, 0] == pytest.approx(-expected)


def test_histogram_counts_weights_on_the_torus():
    phi = np.array([-np.pi, np.pi - 1e-9, np.pi + 0.01, np.nan])
    psi = np.array([0.01, 0.01, 0.01, 0.0])
    histogram = ramachandran_histogram(phi, psi, np.log([1.0, 2.0, 5.0, 9.0]))
    assert histogram.shape == (100, 100)
    assert histogram[0, 50] == pytest.approx(6 / 8)  # pi + 0.01 wraps to the first row
    assert histogram[99, 50] == pytest.approx(2 / 8)


def test_total_variation_closed_forms():
    p, q = np.array([[0.5, 0.5], [0.0, 0.0]]), np.array([[0.0, 0.5], [0.25, 0.25]])
    assert total_variation(p, p) == 0.0
    assert total_variation(p, q) == pytest.approx(0.5)
    assert total_variation([1.0, 0.0], [0.0, 1.0]) == pytest.approx(1.0)


def test_noise_floor_compares_chains_not_frames():
    rng = np.random.default_rng(1)
    chain = np.repeat(np.arange(4), 5000)
    mixed = rng.uniform(-np.pi, np.pi, (2, chain.size))
    # uniform over K cells, n frames a half: <TV> = sqrt(K / (pi n)) with K = 100, n = 10 000
    floor = ramachandran_noise_floor(*mixed, chain, bins=10)
    assert floor == pytest.approx(np.sqrt(100 / (np.pi * 10_000)), rel=0.3)
    stuck = np.where(chain % 2 == 0, -1.0, 1.0)
    assert ramachandran_noise_floor(stuck, mixed[1], chain) == pytest.approx(1.0)


def test_noise_floor_halves_a_single_chain_in_time():
    phi = np.where(np.arange(1000) < 500, -1.0, 1.0)
    assert ramachandran_noise_floor(phi, np.zeros(1000), np.zeros(1000)) == pytest.approx(1.0)
