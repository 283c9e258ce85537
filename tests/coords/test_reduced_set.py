"""Which coordinates are kept, peptide by peptide, counted by hand."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from jbg.coords import (
    HEAVY,
    KIM,
    CoordinateSet,
    backbone_atoms,
    build_zmatrix,
    disulfides,
    rotor_candidates,
)
from jbg.coords.labels import coordinate_labels
from jbg.coords.reduced_set import KINDS, kept_coordinates
from jbg.coords.torsions import sibling_leads
from jbg.interfaces import ConfigError, Topology
from tests.coords.conftest import simple_topology, water
from tests.molecules import peptide

RINGS = CoordinateSet(ring_torsions=True)
CYS, NLE, ALA = ("CB", "SG"), ("CB", "CG", "CD", "CE"), ("CB",)


def chain(*side_chains: tuple[str, ...], bridge: tuple[int, int] | None = None) -> Topology:
    """Heavy atoms of a peptide of unbranched side chains; a bond between the last atoms of two of them."""
    names, residues, bonds, carbons, last = [], [], [], [], []
    for number, side in enumerate(side_chains):
        n = len(names)
        names += ["N", "CA", "C", "O", *side]
        residues += [number] * (4 + len(side))
        bonds += [(n, n + 1), (n + 1, n + 2), (n + 2, n + 3)]
        tree = [n + 1, *range(n + 4, n + 4 + len(side))]
        bonds += list(zip(tree, tree[1:], strict=False))
        if number:
            bonds.append((carbons[-1], n))
        carbons.append(n + 2)
        last.append(tree[-1])
    if bridge:
        bonds.append(tuple(last[i] for i in bridge))
    elements = tuple(name[0] for name in names)
    return Topology(elements, tuple(names), ("UNK",) * len(names), tuple(residues), np.array(bonds))


def kept(topology, which=KIM, positions=None, closing=()):
    """The kept coordinates, how many of each kind, and the Z-matrix."""
    if positions is None:
        positions = np.random.default_rng(1).normal(size=(topology.n_atoms, 3))
        positions /= np.linalg.norm(
            positions, axis=1, keepdims=True
        )  # no three in a row on a sphere
    zmatrix = build_zmatrix(topology, positions, closing=closing)
    found = kept_coordinates(topology, zmatrix, rotor_candidates(topology, zmatrix), which)
    return found, Counter(KINDS[kind] for kind in found.kind), zmatrix


def total(counts, *kinds):
    return sum(counts[kind] for kind in kinds)


ANGLES = KINDS[:3]


@pytest.mark.parametrize(
    ("name", "which", "expected"),
    [
        # angles CH3-C-N, C-N-CA, N-CA-C, CA-C-N, C-N-CH3; phi, psi, two omega; three methyls
        ("dialanine", KIM, (5, 1, 1, 2, 0, 3, 0)),
        ("dialanine", CoordinateSet(hydrogen_rotors=False), (5, 1, 1, 2, 0, 0, 0)),
        ("trialanine", KIM, (11, 3, 3, 4, 0, 5, 0)),
        # chi of Tyr 2, Asp 2, Pro none, Glu 3, two Thr 1 each, Trp 2; OH of Tyr and Thr, their CH3, NH3+
        ("chignolin", KIM, (28, 9, 10, 9, 11, 6, 0)),
        ("chignolin", CoordinateSet(hydrogen_rotors=False), (28, 9, 10, 9, 11, 0, 0)),
        # Tyr CE1, CE2, CZ and OH, Pro CG, Trp NE1, CE2, CZ2, CZ3 and CH2: the others close rings or are offsets
        ("chignolin", RINGS, (28, 9, 10, 9, 11, 6, 10)),
    ],
)
def test_counts_by_hand(peptides, name, which, expected):
    sample = peptides[name]
    _, counts, _ = kept(sample.topology, which, sample.frames[0])
    angles = total(counts, *ANGLES)
    kinds = ("phi", "psi", "omega", "side-chain torsion", "hydrogen rotor", "ring torsion")
    assert (angles, *(counts[kind] for kind in kinds)) == expected
    assert counts["angle"] == counts["improper"] == 0


def test_sets_of_chignolin_have_their_sizes(peptides):
    sample = peptides["chignolin"]
    sizes = [
        len(kept(sample.topology, which, sample.frames[0])[0].index)
        for which in (KIM, RINGS, HEAVY)
    ]
    assert sizes == [73, 83, 155]
    found, counts, zmatrix = kept(sample.topology, HEAVY, sample.frames[0])
    n, heavy = zmatrix.n_atoms, sum(element != "H" for element in sample.topology.elements)
    assert total(counts, *ANGLES, "angle") == heavy - 2
    torsions = len(found.index) - (heavy - 2)
    assert torsions == heavy - 3 + counts["hydrogen rotor"]
    assert found.index.min() >= n - 1  # no bond lengths
    assert np.all(np.diff(found.index) > 0)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_uncapped_chains_have_3n_minus_2_backbone_angles(n):
    _, counts, _ = kept(chain(*[ALA] * n))
    assert [counts[kind] for kind in ANGLES] == [n - 1, n, n - 1]
    assert [counts[kind] for kind in ("phi", "psi", "omega")] == [n - 1, n, n - 1]


def test_kept_coordinates_know_their_residue_and_whether_they_move_the_backbone():
    topology = chain(NLE, ALA, NLE)
    found, _, zmatrix = kept(topology)
    columns = np.stack(zmatrix, 1)
    for index, kind, residue, backbone in zip(*found, strict=True):
        assert backbone == (KINDS[kind] in KINDS[:6])
        row = index - zmatrix.n_atoms + 3 if index < 2 * zmatrix.n_atoms - 3 else None
        if row is not None:  # an angle belongs to the residue of its middle atom
            assert topology.residue_ids[columns[row, 1]] == residue
            assert KINDS[kind] == f"angle at {topology.atom_names[columns[row, 1]]}"
        elif KINDS[kind] == "psi":
            assert residue == topology.residue_ids[columns[index - 2 * zmatrix.n_atoms + 6, 1]]
    omegas = found.residue[found.kind == KINDS.index("omega")]
    assert omegas.tolist() == [1, 2]


def test_odd_residues_are_read_off_their_bonds():
    """Norleucine: chi 1 to 3 about CA-CB, CB-CG and CG-CD, then a methyl, which here has no hydrogens."""
    topology = chain(ALA, NLE, ALA)
    found, counts, zmatrix = kept(topology)
    assert counts["side-chain torsion"] == 3
    assert set(found.residue[found.kind == KINDS.index("side-chain torsion")]) == {1}
    assert counts["hydrogen rotor"] == 0
    labels = coordinate_labels(topology, zmatrix, ())
    assert len({labels[i] for i in found.index}) == len(found.index)
    axes = {
        frozenset(topology.atom_names[a] for a in (zmatrix.bond[t + 3], zmatrix.angle[t + 3]))
        for t in found.index[found.kind == KINDS.index("side-chain torsion")]
        - 2 * zmatrix.n_atoms
        + 3
    }
    assert axes == {frozenset(pair) for pair in (("CA", "CB"), ("CB", "CG"), ("CG", "CD"))}


def test_a_disulfide_does_not_take_the_place_of_the_backbone():
    topology = chain(ALA, CYS, *[ALA] * 5, CYS, ALA, bridge=(1, 7))
    (bond,) = disulfides(topology)
    assert {topology.atom_names[i] for i in bond} == {"SG"}
    found, counts, zmatrix = kept(topology, closing=disulfides(topology))
    assert total(counts, *ANGLES) == 3 * 9 - 2
    assert [counts[kind] for kind in ("phi", "psi", "omega")] == [8, 9, 8]
    assert counts["side-chain torsion"] == 2  # chi 1 of each
    assert not any({a, b} == set(bond) for a, b in zip(zmatrix.order, zmatrix.bond, strict=True))
    assert found.residue[found.kind == KINDS.index("side-chain torsion")].tolist() == [1, 7]
    _, through, _ = kept(topology)  # a tree through the bridge loses coordinates of the backbone
    assert total(through, *ANGLES) < 3 * 9 - 2


def test_proline_keeps_phi_and_leaves_its_ring_alone():
    sample = peptide("APA")
    topology = sample.topology
    found, counts, zmatrix = kept(topology, positions=sample.positions)
    assert [counts[kind] for kind in ("phi", "psi", "omega")] == [2, 3, 2]
    assert counts["side-chain torsion"] == 0
    start = 2 * zmatrix.n_atoms - 3
    about = {
        frozenset((int(zmatrix.bond[i - start + 3]), int(zmatrix.angle[i - start + 3])))
        for i in found.index[found.kind == KINDS.index("phi")]
    }
    names = topology.atom_names
    prolines = [i for i in range(topology.n_atoms) if topology.residue_names[i] == "PRO"]
    n, ca = (next(i for i in prolines if names[i] == name) for name in ("N", "CA"))
    assert frozenset((n, ca)) in about
    _, free, _ = kept(topology, RINGS, sample.positions)
    assert free["ring torsion"] == 1  # CG; CB and CD are offsets


def test_d_and_l_are_alike():
    of = {
        letters: kept(peptide(letters).topology, positions=peptide(letters).positions)[1]
        for letters in ("AVA", "aVa", "ava")
    }
    assert of["AVA"] == of["aVa"] == of["ava"]
    assert of["AVA"]["side-chain torsion"] == 1


def test_offsets_and_members_of_rotors_are_never_kept_by_kim(peptides):
    sample = peptides["chignolin"]
    found, _, zmatrix = kept(sample.topology, KIM, sample.frames[0])
    start = 2 * zmatrix.n_atoms - 3
    torsions = found.index[found.index >= start] - start
    assert np.all(sibling_leads(zmatrix)[torsions] == torsions)


def test_atoms_of_the_backbone(peptides):
    topology = peptides["dialanine"].topology
    found = [(topology.residue_names[i], topology.atom_names[i]) for i in backbone_atoms(topology)]
    caps = [("ACE", "CH3"), ("ACE", "C"), ("NME", "N"), ("NME", "C")]
    assert sorted(found) == sorted(caps + [("ALA", name) for name in ("N", "CA", "C")])


def test_a_molecule_of_hydrogens_that_turn_alone():
    """Methanol keeps the one torsion of its OH, or, without hydrogens that turn, nothing."""
    topology = simple_topology("COHHHH", [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5)])
    _, counts, _ = kept(topology)
    assert counts == {"hydrogen rotor": 1}
    with pytest.raises(ConfigError, match="no torsion or angle to keep"):
        kept(topology, dataclasses.replace(HEAVY, hydrogen_rotors=False))


def test_nothing_to_keep_is_refused():
    with pytest.raises(ConfigError, match="no torsion or angle to keep"):
        kept(*water()[:1], HEAVY, water()[1])
