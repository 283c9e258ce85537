"""Sequences become peptides with the right atoms, all L."""

import numpy as np
import pytest

from jbg.interfaces import ConfigError
from jbg.systems.molecule import molecule_from_sequence
from jbg.systems.peptide import signed_ca_volume
from jbg.systems.sequences import parse_sequence

pytestmark = pytest.mark.openmm

ALL = "ACDEFGHIKLMNPQRSTVWY"


def test_sequences_are_read():
    assert parse_sequence("ACE-ALA-NME") == ("ACE", "ALA", "NME")
    assert parse_sequence("GAW") == ("GLY", "ALA", "TRP")
    assert parse_sequence("Ala-Gly") == ("ALA", "GLY")
    assert parse_sequence("A-D-W") == ("ALA", "ASP", "TRP")
    assert parse_sequence("aAg") == ("DAL", "ALA", "GLY")  # lower case: D
    for d_alanine in ("DAL", "Dal", "DALA", "dALA", "dAla"):
        assert parse_sequence(f"ACE-{d_alanine}-NME") == ("ACE", "DAL", "NME")
    assert parse_sequence("ACE-HIE-ASH-NME") == ("ACE", "HIE", "ASH", "NME")


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ("ACE-ALAA-NME", "unknown residue 'ALAA'; did you mean ALA"),
        ("GAX", "unknown residue 'X'"),
        ("ALA", "Write ALA-LEU-ALA for the letters"),
        ("ACEANME", "or put dashes between the names"),
        ("ALA-ACE-ALA", "cap ACE at position 2"),
        ("NME-ALA", "cap NME at position 1"),
        ("ACE-NME", "no amino acid"),
        ("", "no amino acid"),
        ("ACE--NME", "unknown residue ''"),
        ("ACE-D-ALA-NME", "write ACE-DAL-NME for D-ALA, or ACE-ASP-ALA-NME for ASP before it"),
        ("ACE-L-ALA-NME", "write ACE-ALA-NME for L-ALA, or ACE-LEU-ALA-NME for LEU before it"),
        ("D-ALA", "write DAL for D-ALA, or ASP-ALA"),
        ("ACE-A-NME", "one-letter codes among names; write ACE-ALA-NME"),
        ("ACE-ala-NME", "'ala' is in lower case, which is for D; write ALA, or DAL for D"),
        ("ala-gly", "in lower case"),
        ("ala", "Write DAL-DLE-DAL for the letters"),
        ("DAL", "Write ASP-ALA-LEU for the letters"),
        ("DALA", "Write ASP-ALA-LEU-ALA for the letters"),
        ("MSE", "Write MET-SER-GLU for the letters"),
        ("ACE-MSE-NME", "MSE is a modified residue, which cannot be built from a sequence"),
        ("HIP", "Write HIS-ILE-PRO for the letters"),
        ("CYX", "Put dashes between the names"),
        ("aXa", "unknown residue 'X'"),
        ("ACE-DGLY-NME", "unknown residue 'DGLY'"),
    ],
)
def test_bad_sequences_are_refused_in_one_line(sequence, message):
    with pytest.raises(ConfigError, match=message) as error:
        parse_sequence(sequence)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("sequence", "n_atoms"),
    [("ACE-ALA-NME", 22), ("ACE-ALA-ALA-ALA-NME", 42), ("AG", 20), ("ACE-GLY-NHE", 16)],
)
def test_peptides_have_all_their_atoms(sequence, n_atoms):
    molecule = molecule_from_sequence(sequence)
    assert molecule.topology.n_atoms == n_atoms
    assert len(molecule.topology.bonds) == n_atoms - 1  # a tree: no rings in these
    lengths = np.linalg.norm(np.diff(molecule.positions[molecule.topology.bonds], axis=1), axis=-1)
    assert lengths.min() > 0.09
    assert lengths.max() < 0.16


def test_every_amino_acid_is_l_after_minimising():
    molecule = molecule_from_sequence(ALL)
    topology, residues = molecule.topology, {}
    for i, name in enumerate(topology.atom_names):
        residues.setdefault(topology.residue_ids[i], {})[name] = molecule.positions[i]
    volumes = [signed_ca_volume(atoms) for atoms in residues.values() if "CB" in atoms]
    assert len(volumes) == 19
    assert min(volumes) > 1e-3  # nm^3; about 2.6e-3 in an ideal CA


def test_the_sign_of_the_ca_volume_turns_with_a_mirror():
    molecule = molecule_from_sequence("ACE-ALA-NME")
    atoms = dict(zip(molecule.topology.atom_names[6:16], molecule.positions[6:16], strict=True))
    mirrored = {name: place * [1, 1, -1] for name, place in atoms.items()}
    assert signed_ca_volume(mirrored) == pytest.approx(-signed_ca_volume(atoms))
    assert signed_ca_volume(atoms) > 0
