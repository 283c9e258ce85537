"""Small rings, and those that half a turn maps to themselves: found by topology, folded by position."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jbg.coords import build_zmatrix, ring_flips, torsions_of
from jbg.coords.rings import fold_flips, ring_bonds, small_rings, swapped
from tests.coords.conftest import benzene, simple_topology
from tests.molecules import peptide


@pytest.fixture(scope="module")
def ringed():
    """Phe, Tyr, Trp, His and Pro side by side."""
    return peptide("GFYWHP")


def named(topology, atoms):
    residue = {topology.residue_names[i] for i in atoms}
    return (*residue, frozenset(topology.atom_names[i] for i in atoms))


def test_each_ring_is_found_once_and_its_atoms_follow_each_other(ringed):
    topology = ringed.topology
    bonds = {frozenset(bond) for bond in topology.bonds.tolist()}
    rings = small_rings(topology)
    around = lambda ring: zip(ring, (*ring[1:], ring[0]), strict=True)
    assert all(frozenset(bond) in bonds for ring in rings for bond in around(ring))
    six = {"CG", "CD1", "CD2", "CE1", "CE2", "CZ"}
    expected = {
        ("PHE", frozenset(six)),
        ("TYR", frozenset(six)),
        ("TRP", frozenset({"CG", "CD1", "NE1", "CE2", "CD2"})),
        ("TRP", frozenset({"CD2", "CE2", "CZ2", "CH2", "CZ3", "CE3"})),
        ("HIS", frozenset({"CG", "ND1", "CE1", "NE2", "CD2"})),
        ("PRO", frozenset({"N", "CA", "CB", "CG", "CD"})),
    }
    found = [named(topology, ring) for ring in rings]
    assert len(found) == len(expected)
    assert {
        (name[:2] + "S" if name[:2] == "HI" else name, ring) for name, ring in found
    } == expected
    assert len(ring_bonds(topology)) == 6 + 6 + 5 + 6 - 1 + 5 + 5


def test_large_rings_are_none():
    around = [(i, (i + 1) % 7) for i in range(7)]
    assert small_rings(simple_topology("C" * 7, around)) == []
    assert len(ring_bonds(simple_topology("C" * 7, around), largest=7)) == 7
    assert ring_bonds(simple_topology("CCC", [(0, 1), (1, 2)])) == set()


def test_only_rings_of_phe_and_tyr_flip(ringed):
    topology = ringed.topology
    zmatrix = build_zmatrix(topology, ringed.positions)
    flips = ring_flips(topology, zmatrix)
    assert flips.n == 2
    for name, lead, quad, pairs in zip(("PHE", "TYR"), *flips, strict=True):
        row = [column[lead + 3] for column in zmatrix]
        np.testing.assert_array_equal(row, quad)
        assert {topology.residue_names[i] for i in (*quad, *pairs.ravel())} == {name}
        axis = {topology.atom_names[i] for i in quad[1:3]}
        assert axis == {"CG", "CB"}
        exchanged = {frozenset(topology.atom_names[i] for i in pair) for pair in pairs}
        names = (("CD1", "CD2"), ("CE1", "CE2"), ("HD1", "HD2"), ("HE1", "HE2"))
        assert exchanged == set(map(frozenset, names))


def test_sides_of_unequal_elements_do_not_flip(ringed):
    topology = ringed.topology
    zmatrix = build_zmatrix(topology, ringed.positions)
    (atom,) = (
        i for i, name in enumerate(topology.atom_names)
        if (topology.residue_names[i], name) == ("PHE", "HD1")
    )  # fmt: skip
    elements = tuple("F" if i == atom else e for i, e in enumerate(topology.elements))
    flips = ring_flips(topology._replace(elements=elements), zmatrix)
    assert [topology.residue_names[quad[0]] for quad in flips.quads] == ["TYR"]


def test_a_ring_on_no_bond_does_not_flip():
    topology, positions = benzene()
    flips = ring_flips(topology, build_zmatrix(topology, positions))
    assert flips.n == 0
    x = jnp.asarray(positions.reshape(-1))
    np.testing.assert_array_equal(fold_flips(x, flips, np.zeros(0)), x)


def test_folding_exchanges_a_ring_only_where_it_is_beyond(ringed, x64):
    """Frames, with no, one or both rings exchanged, fold to one and the same; a batch of two axes too."""
    topology = ringed.topology
    flips = ring_flips(topology, build_zmatrix(topology, ringed.positions))
    rng = np.random.default_rng(0)
    frames = ringed.positions + 0.002 * rng.normal(size=(3, *ringed.positions.shape))
    flat = lambda frames: jnp.asarray(frames.reshape(len(frames), -1).T)
    centres = np.asarray(torsions_of(flat(ringed.positions[None]), flips.quads))[:, 0] + 0.5
    fold = jax.jit(lambda x: fold_flips(x, flips, centres))
    first, second = flips.pairs
    variants = [frames, swapped(frames, first), swapped(frames, second)]
    variants.append(swapped(variants[1], second))
    for given in variants:
        np.testing.assert_array_equal(fold(flat(given)), flat(frames))
    assert not np.array_equal(variants[1], frames)
    folded = fold(jnp.stack([flat(given) for given in variants], 1))
    np.testing.assert_array_equal(folded, np.stack([flat(frames)] * 4, 1))
    np.testing.assert_array_equal(fold(flat(variants[3])[:, 0]), flat(frames)[:, 0])
    as_host = np.asarray(flat(variants[3]))  # not compiled, and not an array of jax
    np.testing.assert_array_equal(fold_flips(as_host, flips, centres), flat(frames))
    turn = torsions_of(flat(variants[1]), flips.quads) - torsions_of(flat(frames), flips.quads)
    np.testing.assert_allclose(abs(np.asarray(turn[0])), np.pi, atol=0.2)
    np.testing.assert_allclose(turn[1], 0, atol=1e-12)
    np.testing.assert_allclose(np.sort(pdist(variants[1][0])), np.sort(pdist(frames[0])))
