"""Missing atoms of side chains are built of the right hand and clear of others; no given atom moves."""

import re

import numpy as np
import pytest
from openmm import unit

from jbg.systems.description_rows import rows
from jbg.systems.handedness import handedness
from jbg.systems.molecule import molecule_from_pdb
from jbg.systems.pdb_input import complete
from jbg.systems.side_chains import build_side_chain
from tests.pdb_text import built, check_unmoved, fields, is_atom, peptide, places, without

pytestmark = pytest.mark.openmm

SIDE_CHAINS = {
    "ALA": "CB", "ARG": "CG CD NE CZ NH1 NH2", "ASN": "ND2", "ASP": "CG OD1 OD2", "CYS": "SG",
    "GLN": "OE1 NE2", "GLU": "CB CG CD OE1 OE2", "HIS": "CE1 NE2", "ILE": "CG1 CD1", "LEU": "CD1",
    "LYS": "CG", "MET": "CB CG SD CE", "PHE": "CE1 CE2 CZ", "PRO": "CG CD", "SER": "OG",
    "THR": "OG1 CG2", "TRP": "CB CG CD1 CD2 NE1 CE2 CE3 CZ2 CZ3 CH2", "TYR": "CG CD1 CD2 CE1 CE2 CZ OH",
    "VAL": "CG1",
}  # fmt: skip


def test_missing_side_chains_are_built_of_the_right_hand_and_said():
    """Every residue but GLY, L and D, a part of each or all of it."""
    for hand in (str.upper, str.lower):
        letters = "ARNDCQEILKMFPSTWYVH"
        text = peptide(f"A{hand(letters)}G")
        full, lacking = places(text), text
        residues = list(complete(text, "test").modeller.topology.residues())
        asked = []
        for k in range(2, len(letters) + 2):
            names = SIDE_CHAINS[residues[k - 1].name]
            lacking = without(lacking, k, names)
            asked.append(f"{residues[k - 1].name} {k}: {' '.join(sorted(names.split()))}")
        found = complete(lacking, "test")
        said = [each.split(" of ") for each in found.heavy_added if "OXT" not in each]
        assert [f"{who}: {' '.join(sorted(what.split()))}" for what, who in said] == asked
        check_unmoved(places(lacking), built(found))
        positions = np.array(found.modeller.positions.value_in_unit(unit.nanometer))
        hands = handedness(found.modeller.topology, positions)
        n = len(letters)
        assert (len(hands.left), len(hands.right), hands.allo) == (
            (n + 1, 0, ()) if hand is str.upper else (1, n, ())
        )
        heavy = {a.index for a in found.modeller.topology.atoms() if a.element.symbol != "H"}
        distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
        for a, b in found.modeller.topology.bonds():
            assert {a.index, b.index} - heavy or 0.11 < distances[a.index, b.index] < 0.19, (a, b)
        heavy = sorted(heavy)
        assert np.min(distances[np.ix_(heavy, heavy)] + np.eye(len(heavy))) > 0.11
        assert full.keys() <= built(found).keys()


def test_an_atom_between_given_ones_is_placed_where_it_was():
    """With its neighbours given, the template decides; PDBFixer puts O of a carboxylate 0.07 nm from the other."""
    text = peptide("ACE-GLU-PHE-THR-NME")
    for residue, name in ((2, "OE2"), (3, "CD1"), (4, "OG1")):
        found = built(complete(without(text, residue, name), "test"))
        given = places(text)[residue, name]
        np.testing.assert_allclose(found[residue, name], given, atol=0.02, err_msg=name)


def test_a_free_torsion_turns_away_from_other_atoms():
    """A wall where the template's own torsion would put the atom."""
    template = {
        "N": [0, 0.14, 0], "CA": [0, 0, 0], "C": [-0.14, -0.05, 0], "O": [-0.2, 0.05, 0],
        "CB": [0.07, -0.06, 0.12], "OG": [0.2, -0.02, 0.12],
    }  # fmt: skip
    template = {name: np.array(place, float) for name, place in template.items()}
    bonds = ("N-CA", "CA-C", "C-O", "CA-CB", "CB-OG")
    neighbours = {name: [] for name in template}
    for a, b in (bond.split("-") for bond in bonds):
        neighbours[a].append(b)
        neighbours[b].append(a)
    there = {name: place for name, place in template.items() if name != "OG"}
    for wall in (template["OG"], np.array([0.0, -0.2, 0.15])):
        found = build_side_chain("SER", template, there, neighbours, wall[None])
        assert np.linalg.norm(found["OG"] - wall) > 0.15
        given = np.linalg.norm(template["OG"] - template["CB"])
        assert np.linalg.norm(found["OG"] - found["CB"]) == pytest.approx(given)


def test_a_side_chain_is_said_in_the_rows_and_the_log(tmp_path, caplog):
    path = tmp_path / "lacking.pdb"
    path.write_text(without(peptide("ACE-ASP-NME"), 2, "CG OD1 OD2"))
    found = molecule_from_pdb(path)
    assert dict(rows(found.description))["added"].endswith(
        "; where there is room: CG OD1 OD2 of ASP 2"
    )
    assert "rotamers are guesses: CG OD1 OD2 of ASP 2" in caplog.text


def test_a_bond_of_conect_records_survives_the_repair():
    """PDBFixer drops those between standard residues when it adds atoms."""
    text = peptide("ACE-SER-GLY-ALA")
    a, b = (
        next(x[6:11] for x in text.splitlines() if is_atom(x) and fields(x) == key)
        for key in ((2, "O"), (3, "N"))  # 0.22 nm apart
    )
    for lacking in (text, without(text, 2, "OG")):
        found = complete(re.sub("END *$", f"CONECT{a}{b}\nEND", lacking), "test")
        bonds = {frozenset((x.name, y.name)) for x, y in found.modeller.topology.bonds()}
        assert frozenset(("O", "N")) in bonds
