"""Names of coordinates for people."""

import pytest

from jbg.coords import build_zmatrix, rotor_candidates
from jbg.coords.labels import coordinate_labels
from tests.molecules import peptide


@pytest.mark.parametrize(
    ("residue", "named"),
    [
        ("ILE", {"chi1 ILE2", "chi2 ILE2"}),
        # its seeds lie in the side chain, which is then read inwards
        ("TRP", {"chi1 TRP2", "chi2 TRP2"}),
        ("ARG", {*(f"chi{k} ARG2" for k in range(1, 6))}),
        ("THR", {"chi1 THR2", "hydroxyl THR2:OG1"}),
        ("PRO", set()),
        ("ALA", set()),
    ],
)
def test_side_chain_torsions_are_called_as_in_textbooks(residue, named):
    sample = peptide(f"ACE-{residue}-NME")
    zmatrix = build_zmatrix(sample.topology, sample.positions)
    rotors = rotor_candidates(sample.topology, zmatrix)
    labels = coordinate_labels(sample.topology, zmatrix, rotors)
    assert {label for label in labels if label.startswith(("chi", "hydroxyl"))} == named
    assert len(set(labels)) == len(labels)
