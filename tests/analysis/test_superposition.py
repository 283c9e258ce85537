"""Superposition, RMSD and RMSF against mdtraj, novelty on planted copies."""

import mdtraj
import numpy as np
import pytest

from jbg.analysis import nearest_rmsd, novelty, rmsd, rmsd_matrix, rmsf, superposed
from jbg.interfaces import ConfigError

SHAPE = np.cumsum(np.random.default_rng(4).normal(0.0, 0.2, (15, 3)), 0)


def moved(frames, seed=0):
    """Each frame rotated and shifted at random."""
    rng = np.random.default_rng(seed)
    turns = np.linalg.qr(rng.normal(size=(len(frames), 3, 3)))[0]
    turns[np.linalg.det(turns) < 0] *= -1
    return frames @ turns + rng.normal(size=(len(frames), 1, 3))


def frames(n, seed=0, width=0.05):
    return moved(SHAPE + width * np.random.default_rng(seed).normal(size=(n, 15, 3)), seed)


def trajectory(x):
    topology = mdtraj.Topology()
    residue = topology.add_residue("ALA", topology.add_chain())
    for _ in range(x.shape[1]):
        topology.add_atom("CA", mdtraj.element.carbon, residue)
    return mdtraj.Trajectory(x.astype(np.float32), topology)


def test_rmsd_is_mdtraj_s(monkeypatch):
    x, reference = frames(40), moved(SHAPE[None], 9)[0]
    expected = mdtraj.rmsd(trajectory(x), trajectory(reference[None]))
    np.testing.assert_allclose(rmsd(x, reference), expected, atol=2e-5)
    monkeypatch.setattr("jbg.analysis.superposition.CHUNK", 100)
    matrix = rmsd_matrix(x, x[:30])
    expected = np.stack([mdtraj.rmsd(trajectory(x), trajectory(x[i : i + 1])) for i in range(30)])
    np.testing.assert_allclose(matrix, expected.T, atol=5e-4)  # mdtraj is in float32
    np.testing.assert_allclose(matrix[:30], matrix[:30].T, atol=1e-9)


@pytest.mark.parametrize("mirror", [1.0, -1.0])
@pytest.mark.parametrize("flat", [False, True])
def test_rmsd_is_that_of_the_superposed_frames(mirror, flat):
    """Mirror images are not superposed by a reflection; planar structures have a singular covariance."""
    x = frames(20, width=0.3) * np.array([1.0, 1.0, 0.0 if flat else mirror])
    onto = superposed(x, SHAPE)
    centred = SHAPE - SHAPE.mean(0)
    expected = np.sqrt(np.mean(np.sum((onto - centred) ** 2, -1), -1))
    np.testing.assert_allclose(rmsd(x, SHAPE), expected, atol=1e-9)
    lengths = lambda x: np.linalg.norm(x[:, 1:] - x[:, :-1], axis=-1)
    np.testing.assert_allclose(lengths(onto), lengths(x), rtol=1e-9)
    triple = lambda x: np.linalg.det(x[:, 1:4] - x[:, :1])
    np.testing.assert_allclose(triple(onto), triple(x), atol=1e-12)


def test_equal_structures_do_not_deviate():
    x = moved(np.repeat(SHAPE[None], 5, 0))
    np.testing.assert_allclose(rmsd(x, SHAPE), 0.0, atol=1e-7)
    line = np.linspace(0, 1, 8)[:, None] * np.array([[[1.0, 2.0, 3.0]]])
    np.testing.assert_allclose(rmsd(moved(line), line[0]), 0.0, atol=1e-6)
    assert rmsd(SHAPE[None] * [1, 1, -1], SHAPE)[0] > 0.01
    with pytest.raises(ConfigError, match="same atoms"):
        rmsd(x, SHAPE[:4])


def test_rmsf_is_mdtraj_s():
    """mdtraj superposes on a reference and measures deviations from the mean of what results."""
    widths = 0.02 * np.arange(1, 16)[:, None] / 5
    x = moved(SHAPE + widths * np.random.default_rng(2).normal(size=(400, 15, 3)))
    found = rmsf(x)
    expected = mdtraj.rmsf(trajectory(x), trajectory(found.mean[None]), precentered=False)
    np.testing.assert_allclose(found.rmsf, expected, rtol=5e-3)
    # three dimensions of which superposition takes little; the widest atoms by three times the middle one
    assert np.all(np.diff(found.rmsf[3:]) > 0)
    np.testing.assert_allclose(found.rmsf[9], np.sqrt(3) * 0.04, rtol=0.2)
    assert rmsd(found.mean[None], SHAPE)[0] < 0.01
    with pytest.raises(ConfigError, match=r"expected frames \(n, atoms, 3\)"):
        rmsf(x[0])


def test_errors_of_rmsf_are_those_of_chains():
    """Chains of 100 equal frames are worth 100 times fewer."""
    fresh = frames(30 * 8, 3)
    chain = np.repeat(np.arange(30), 8)
    independent = rmsf(fresh, chain=chain)
    repeated = rmsf(np.repeat(fresh, 10, axis=0), chain=np.repeat(chain, 10))
    np.testing.assert_allclose(repeated.stderr, independent.stderr, rtol=1e-3)
    # of a width known from 3 x 240 normals: 1 / sqrt(2 x 720) of it
    np.testing.assert_allclose(np.mean(independent.stderr / independent.rmsf), 0.0264, rtol=0.25)
    assert np.isnan(rmsf(fresh, chain=np.zeros(240)).stderr).all()


def test_novelty_finds_copies_and_what_is_far():
    training, heldout = frames(300, 1), frames(200, 2)
    np.testing.assert_allclose(nearest_rmsd(moved(training[:70]), training), 0.0, atol=1e-6)
    direct = rmsd_matrix(heldout[:5], training).min(1)
    np.testing.assert_allclose(nearest_rmsd(heldout[:5], training), direct)
    perfect = novelty(frames(200, 3), training, heldout)
    assert abs(perfect.median - perfect.heldout_median) < 5 * np.hypot(
        perfect.median_stderr, perfect.heldout_median_stderr
    )
    assert perfect.closer < 0.1
    assert perfect.farther < 0.1
    half = novelty(np.concatenate([training[:95], frames(105, 4, width=0.2)]), training, heldout)
    assert 0.45 < half.closer < 0.55
    assert 0.45 < half.farther < 0.55
    assert 0 < half.closer_stderr < 0.1
