"""Torsions against mdtraj; histograms and their distances against closed forms."""

import mdtraj
import numpy as np
import pytest

from jbg.analysis import ramachandran_histogram, ramachandran_noise_floor, torsions, total_variation


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


def torus_density(bins=100):
    """Probabilities (bins, bins) of four basins of a dipeptide, from 55 % to half a percent."""
    angle = 2 * np.pi * ((np.arange(bins) + 0.5) / bins - 0.5)
    phi, psi = np.meshgrid(angle, angle, indexing="ij")
    p = 0.0
    for a, b, width, share in [
        (-1.2, 2.4, 0.35, 0.55), (-2.5, 2.6, 0.4, 0.25), (-1.3, -0.6, 0.35, 0.195), (1.0, 0.6, 0.2, 0.005),
    ]:  # fmt: skip
        basin = np.exp((np.cos(phi - a) + np.cos(psi - b) - 2) / width**2)
        p = p + share * basin / basin.sum()
    return p


def drawn(p, shape, rng, alike=0.0):
    """phi and psi (n,) in order of time of chains (n_chains, n_frames), which repeat a frame with
    probability ``alike``, and the chain of each."""
    fresh = rng.choice(p.size, shape, p=p.ravel())
    at = np.where(rng.random(shape) < alike, 0, np.arange(shape[1]))
    cell = np.take_along_axis(fresh, np.maximum.accumulate(at, axis=1), 1).ravel()
    phi, psi = 2 * np.pi * ((np.array(divmod(cell, len(p))) + 0.5) / len(p) - 0.5)
    return phi, psi, np.repeat(np.arange(shape[0]), shape[1])


@pytest.mark.parametrize(
    ("shape", "alike"),
    [
        ((16, 3000), 0.0),
        ((16, 3000), 0.8),
        ((16, 10_000), 0.8),
        ((8, 1000), 0.0),
        ((3, 20_000), 0.5),
        ((5, 6000), 0.0),
    ],
)
def test_noise_floor_is_the_distance_from_the_density_itself(shape, alike):
    p, rng = torus_density(), np.random.default_rng(0)
    *angles, chain = drawn(p, shape, rng, alike)
    expected = total_variation(ramachandran_histogram(*angles), p)
    # of ten thousand cells: expected scatters by 1 %
    assert 0.92 < ramachandran_noise_floor(*angles, chain) / expected < 1.05


def test_noise_floor_of_two_ensembles_of_one_density_and_no_more():
    p, rng = torus_density(), np.random.default_rng(1)
    *angles, chain = drawn(p, (16, 3000), rng)
    *samples, _ = drawn(p, (1, 60_000), rng)
    log_w = rng.normal(0.0, 0.5, 60_000)
    between = total_variation(
        ramachandran_histogram(*angles), ramachandran_histogram(*samples, log_w)
    )
    floor = ramachandran_noise_floor(*angles, chain, samples=(*samples, log_w))
    assert 0.92 < floor / between < 1.08
    assert floor > 1.2 * ramachandran_noise_floor(*angles, chain)
    # a density that is wrong by 0.1 is not excused, as by the halves' distance (0.18) it would be
    wrong = p * np.exp(0.35 * np.sign(np.arange(100) % 2 - 0.5))
    off = total_variation(wrong / wrong.sum(), ramachandran_histogram(*angles))
    assert total_variation(wrong / wrong.sum(), p) == pytest.approx(0.17, abs=0.02)
    assert off > 1.5 * ramachandran_noise_floor(*angles, chain)


def test_noise_floor_compares_chains_not_frames():
    rng = np.random.default_rng(1)
    chain = np.repeat(np.arange(10), 2000)
    mixed = rng.uniform(-np.pi, np.pi, (2, chain.size))
    # uniform over K cells, n frames: <TV> = sqrt(K / (2 pi n)) with K = 100, n = 20 000
    floor = ramachandran_noise_floor(*mixed, chain, bins=10)
    assert floor == pytest.approx(np.sqrt(100 / (2 * np.pi * 20_000)), rel=0.15)
    stuck = np.where(chain % 2 == 0, -1.0, 1.0)
    # of ten chains that never leave a half of the weight, k are in it: sd(k / 10) = 0.16
    assert ramachandran_noise_floor(stuck, mixed[1], chain, bins=10) == pytest.approx(
        0.14, abs=0.05
    )


def test_noise_floor_cuts_a_single_chain_in_time():
    phi = np.where(np.arange(1000) < 500, -1.0, 1.0)
    assert ramachandran_noise_floor(phi, np.zeros(1000), np.zeros(1000)) > 0.1
    assert ramachandran_noise_floor(np.zeros(9), np.zeros(9), np.zeros(9)) == 0.0
    assert ramachandran_noise_floor([0.0], [0.0], [0]) > 0.1  # one frame
