"""Distances of bonds, angles and torsions against SciPy, known shifts, and chains of one density."""

import numpy as np
import pytest
from scipy import stats

from jbg.analysis.geometry import bonded_terms, geometry_distance, kolmogorov, kuiper, measured
from jbg.interfaces import ConfigError, Topology

# hydrogen peroxide with a third atom on one oxygen: 4 bonds, 1 + 3 angles, 2 torsions
TOPOLOGY = Topology(
    elements=("H", "O", "O", "H", "C"),
    atom_names=("H1", "O1", "O2", "H2", "C"),
    residue_names=("X",) * 5,
    residue_ids=(0,) * 5,
    bonds=np.array([(0, 1), (1, 2), (2, 3), (4, 2)]),
)


def test_every_bond_angle_and_torsion_once():
    found = bonded_terms(TOPOLOGY)
    assert found.bonds.tolist() == [[0, 1], [1, 2], [2, 3], [2, 4]]
    assert sorted(found.angles.tolist()) == [[0, 1, 2], [1, 2, 3], [1, 2, 4], [3, 2, 4]]
    assert found.torsions.tolist() == [[0, 1, 2, 3], [0, 1, 2, 4]]


def test_a_ring_of_three_has_no_torsion_within_itself():
    bonds = np.array([(0, 1), (1, 2), (0, 2)])
    ring = TOPOLOGY._replace(bonds=bonds, elements=("C",) * 3, atom_names=("A", "B", "C"))
    assert len(bonded_terms(ring).angles) == 3
    assert bonded_terms(ring).torsions.shape == (0, 4)


def test_values_of_a_frame_known_by_hand():
    x = np.array([[[0.1, 0, 0], [0, 0, 0], [0, 0.2, 0], [0, 0.2, 0.1], [-0.1, 0.2, 0.0]]])
    found = bonded_terms(TOPOLOGY)
    np.testing.assert_allclose(measured(x, found.bonds), [[0.1, 0.2, 0.1, 0.1]])
    np.testing.assert_allclose(measured(x, found.angles), np.full((1, 4), np.pi / 2))
    torsions = measured(x, found.torsions)
    np.testing.assert_allclose(np.abs(torsions), [[np.pi / 2, np.pi]], atol=1e-6)


def test_kolmogorov_against_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 3)), rng.normal(0.3, 1.2, size=(500, 3))
    expected = [stats.ks_2samp(x, y).statistic for x, y in zip(a.T, b.T, strict=True)]
    np.testing.assert_allclose(kolmogorov(a, b), expected, rtol=1e-12)
    assert kolmogorov(a, a).max() == 0


def test_kuiper_does_not_depend_on_where_the_circle_is_cut():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 0.5, size=(400, 1)), rng.normal(0.4, 0.5, size=(400, 1))
    turned = [np.mod(x + 3.0 + np.pi, 2 * np.pi) - np.pi for x in (a, b)]
    np.testing.assert_allclose(kuiper(a, b), kuiper(*turned), atol=1e-12)
    assert abs(kolmogorov(a, b) - kolmogorov(*turned))[0] > 0.01


def test_a_stretched_bond_stands_above_its_floor_and_others_do_not():
    rng = np.random.default_rng(2)
    x = np.array([[0.1, 0, 0], [0, 0, 0], [0, 0.2, 0], [0, 0.2, 0.1], [-0.1, 0.2, 0.0]])
    data, generated = (x + rng.normal(scale=0.003, size=(n, 5, 3)) for n in (800, 900))
    generated[:, 0, 0] += 0.003
    found = geometry_distance(
        generated, data, np.arange(800) % 8, bonded_terms(TOPOLOGY).bonds, seed=0
    )
    assert found.distance[0] > 4 * found.floor[0]
    assert (found.distance[1:] < 1.5 * found.floor[1:]).all()


def test_bad_input_is_refused():
    x = np.zeros((4, 5, 3))
    bonds = bonded_terms(TOPOLOGY).bonds
    with pytest.raises(ConfigError, match="frames of one molecule"):
        geometry_distance(x, x[:, :4], np.arange(4), bonds)
    with pytest.raises(ConfigError, match="frames of one molecule"):
        geometry_distance(x[:0], x, np.arange(4), bonds)
    with pytest.raises(ConfigError, match="two independent chains"):
        geometry_distance(x, x, np.zeros(4), bonds)
