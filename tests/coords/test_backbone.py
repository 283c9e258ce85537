"""Named torsions and chirality of peptides."""

import mdtraj
import numpy as np

from jbg.coords import backbone_torsions, chiral_centres, signed_volume


def names(topology, quads):
    return [tuple(topology.atom_names[i] for i in quad) for quad in quads]


def residues(topology, quads, column):
    return [topology.residue_ids[quad[column]] for quad in quads]


def test_capped_and_free_ends(peptides):
    topology = peptides["dialanine"].topology
    found = backbone_torsions(topology)
    assert names(topology, found["phi"]) == [("C", "N", "CA", "C")]
    assert names(topology, found["psi"]) == [("N", "CA", "C", "N")]
    assert sorted(names(topology, found["omega"])) == [
        ("CA", "C", "N", "C"),
        ("CH3", "C", "N", "CA"),
    ]
    topology = peptides["trialanine"].topology
    found = backbone_torsions(topology)
    assert residues(topology, found["phi"], 2) == residues(topology, found["psi"], 1) == [1, 2, 3]
    assert len(found["omega"]) == 4
    topology = peptides["chignolin"].topology
    found = backbone_torsions(topology)
    assert residues(topology, found["phi"], 2) == list(range(1, 10))
    assert residues(topology, found["psi"], 1) == list(range(9))
    assert residues(topology, found["omega"], 2) == list(range(1, 10))
    assert set(names(topology, found["omega"])) == {("CA", "C", "N", "CA")}  # proline's CD is no CA


def test_chignolin_agrees_with_mdtraj(peptides, tmp_path):
    topology = peptides["chignolin"].topology
    plain = mdtraj.Topology()
    chain = plain.add_chain()
    groups = {}
    for i, residue in enumerate(topology.residue_ids):
        if residue not in groups:
            groups[residue] = plain.add_residue(topology.residue_names[i], chain)
        element = mdtraj.element.get_by_symbol(topology.elements[i])
        plain.add_atom(topology.atom_names[i], element, groups[residue])
    trajectory = mdtraj.Trajectory(peptides["chignolin"].frames[:1], plain)
    found = backbone_torsions(topology)
    for name in ("phi", "psi", "omega"):
        expected, _ = getattr(mdtraj, f"compute_{name}")(trajectory)
        np.testing.assert_array_equal(found[name], expected)


def test_chirality_flags_every_mirror_image(peptides):
    for name, n_centres in (("dialanine", 1), ("trialanine", 3), ("chignolin", 7)):
        peptide = peptides[name]
        centres = chiral_centres(peptide.topology)
        assert centres.shape == (n_centres, 4)
        volumes = signed_volume(peptide.frames, centres)
        assert np.all(volumes > 0)
        np.testing.assert_allclose(signed_volume(peptide.frames * [-1, 1, 1], centres), -volumes)
