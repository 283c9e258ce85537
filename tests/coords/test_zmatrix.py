"""Z-matrices: every atom is placed from atoms placed before it, and bad molecules are named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbg.coords import backbone_torsions, build_zmatrix
from jbg.interfaces import ConfigError
from tests.coords.conftest import SMALL, benzene, placeable, simple_topology


def check(zmatrix, topology):
    n = topology.n_atoms
    assert sorted(zmatrix.order) == list(range(n))
    bonds = {frozenset(bond) for bond in np.asarray(topology.bonds).tolist()}
    seen, torsion_parent = [], {}
    for k, (atom, *parents) in enumerate(np.stack(zmatrix, 1).tolist()):
        used = parents[: min(k, 3)]
        assert all(parent == -1 for parent in parents[len(used) :])
        assert len(set(used)) == len(used)
        assert set(used) <= set(seen)
        if k > 0:
            assert frozenset((atom, parents[0])) in bonds
        if k > 1:
            assert frozenset(parents[:2]) in bonds
        if k > 2:
            assert torsion_parent.setdefault(tuple(parents[:2]), parents[2]) == parents[2]
        seen.append(atom)


def test_peptides_are_placed_whole_and_heavy_atoms_first(peptide):
    check(peptide.zmatrix, peptide.topology)
    hydrogen = [peptide.topology.elements[i] == "H" for i in peptide.zmatrix.order]
    assert hydrogen == sorted(hydrogen)


def test_named_backbone_torsions_are_coordinates(peptide):
    """phi, psi and omega lead the groups of atoms that turn about their bonds."""
    rows = {tuple(row) for row in np.stack(peptide.zmatrix, 1)[3:].tolist()}
    for name, quads in backbone_torsions(peptide.topology).items():
        missing = [q for q in quads.tolist() if not {tuple(q), tuple(q[::-1])} & rows]
        assert not missing, name


@pytest.mark.parametrize("name", SMALL)
def test_small_molecules(name):
    topology, positions = SMALL[name]()
    check(build_zmatrix(topology, positions), topology)


def test_rings_keep_all_but_their_closing_bond():
    topology, positions = benzene()
    zmatrix = build_zmatrix(topology, positions)
    tree = {frozenset(pair) for pair in zip(zmatrix.order[1:], zmatrix.bond[1:], strict=True)}
    assert len(tree) == len(topology.bonds) - 1


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 25), st.integers(0, 2**31), st.data())
def test_any_tree(n, seed, data):
    rng = np.random.default_rng(seed)
    bonds = [(i, int(rng.integers(i))) for i in range(1, n)]
    elements = data.draw(st.lists(st.sampled_from("CHNO"), min_size=n, max_size=n))
    topology = simple_topology(elements, bonds)
    check(placeable(topology, rng.normal(size=(n, 3))), topology)


LINE = np.array([[0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0], [0.1, 0.25, 0.001]])


@pytest.mark.parametrize(
    ("elements", "bonds", "positions", "message"),
    [
        ("HH", [(0, 1)], LINE[:2], "at least 3 atoms, got 2"),
        ("CCC", [], LINE[:3], "no bonds"),
        ("CCCC", [(0, 1), (2, 3)], LINE, "2 pieces"),
        ("CCCCHH", [(0, 1), (1, 2), (2, 3)], np.eye(6, 3), "3 pieces"),
        ("CCCC", [(0, 1), (1, 2), (2, 3)], LINE[:3], "4 x 3 finite"),
        ("CCC", [(0, 1), (1, 2)], np.full((3, 3), np.nan), "finite"),
        ("CCCN", [(0, 1), (1, 2), (2, 3)], LINE, "UNK1:N3, UNK1:C2, UNK1:C1 are collinear"),
        ("OCO", [(0, 1), (1, 2)], np.array([[-1, 0, 0], [0, 0, 0], [1, 0, 0]]), "180.0 degrees"),
        ("CCC", [(0, 1), (1, 2)], np.zeros((3, 3)), "coincide"),
    ],
)
def test_errors(elements, bonds, positions, message):
    with pytest.raises(ConfigError, match=message) as error:
        build_zmatrix(simple_topology(elements, bonds), positions)
    assert "\n" not in str(error.value)
