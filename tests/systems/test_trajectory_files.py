"""Trajectories as users bring them: solvated, split by a box, rounded, in another order, with a bias."""

import sys

import mdtraj
import numpy as np
import pytest

from jbg.interfaces import ConfigError
from jbg.systems import trajectory_files
from jbg.systems.frame_weights import log_weights
from jbg.systems.openmm_energies import read_frames
from jbg.systems.solute import find_solute, mdtraj_topology
from jbg.units import beta
from tests import own_trajectories as own
from tests.molecules import peptide

pytestmark = pytest.mark.openmm


def solvated(reordered: bool = False):
    """Two waters, the molecule, an ion; its atoms within residues from behind if ``reordered``."""
    of = mdtraj_topology(peptide(own.SEQUENCE).topology)
    top = mdtraj.Topology()
    water = lambda: [("O", "O"), ("H1", "H"), ("H2", "H")]
    residues = [("HOH", water()), ("HOH", water())]
    for residue in of.residues:
        atoms = [(a.name, a.element.symbol) for a in residue.atoms]
        residues.append((residue.name, atoms[::-1] if reordered else atoms))
    residues.append(("NA", [("NA", "Na")]))
    for name, atoms in residues:
        added = top.add_residue(name, top.add_chain())
        for atom, symbol in atoms:
            top.add_atom(atom, mdtraj.element.Element.getBySymbol(symbol), added)
    return top


@pytest.mark.parametrize("reordered", [False, True])
def test_the_molecule_is_found_among_solvent_and_ions(reordered):
    topology, top = peptide(own.SEQUENCE).topology, solvated(reordered)
    found = find_solute(top, topology, "a.pdb")
    names = [(top.atom(i).name, top.atom(i).residue.name) for i in found.atoms]
    assert names == list(zip(topology.atom_names, topology.residue_names, strict=True))
    assert "7 other atoms of each frame left out (HOH, NA)" in found.words
    assert ("order by their names" in found.words) == reordered


def test_the_molecule_alone_takes_no_words():
    topology = peptide(own.SEQUENCE).topology
    found = find_solute(mdtraj_topology(topology), topology, "a.pdb")
    assert found.words == ""
    np.testing.assert_array_equal(found.atoms, np.arange(22))


def test_atoms_of_one_name_keep_the_order_of_their_elements():
    topology = peptide(own.SEQUENCE).topology
    alike = topology._replace(atom_names=tuple(topology.elements))
    found = find_solute(mdtraj_topology(alike), alike, "a.pdb")
    assert found.words == ""
    np.testing.assert_array_equal(found.atoms, np.arange(22))


def test_another_molecule_is_refused():
    other = mdtraj_topology(peptide("ACE-ALA-ALA-NME").topology)
    with pytest.raises(ConfigError, match=r"a.xtc: among its 32 atoms is no molecule with the 22"):
        find_solute(other, peptide(own.SEQUENCE).topology, "a.xtc")


def test_a_molecule_split_by_the_box_is_made_whole():
    x, bonds = own.chains()[0, :5], peptide(own.SEQUENCE).topology.bonds
    cell = np.array([[1.5, 0, 0], [0.4, 1.4, 0], [-0.3, 0.2, 1.3]])
    image = np.random.default_rng(0).integers(-2, 3, (5, 22, 3))
    image[0] = 0
    split = x + image @ cell
    found, changed = trajectory_files.made_whole(split, np.tile(cell, (5, 1, 1)), bonds)
    assert changed.tolist() == [False, True, True, True, True]
    offset = found - x
    np.testing.assert_allclose(offset, np.broadcast_to(offset[:, :1], x.shape), atol=1e-12)


@pytest.mark.parametrize(("suffix", "step"), [(".xtc", 0.001), (".gro", 0.001), (".dcd", 0.0)])
def test_what_a_format_rounds_to_is_seen(suffix, step, tmp_path):
    path = own.write(tmp_path / f"a{suffix}", own.chains()[0, :20])
    topology = mdtraj_topology(peptide(own.SEQUENCE).topology)
    assert trajectory_files.count_frames(path, topology) == 20
    (piece,) = trajectory_files.read(path, topology)
    assert trajectory_files.precision_of(piece.x) == step
    assert trajectory_files.precision_of(np.round(piece.x, 2)) == 0.01


def test_an_unreadable_trajectory_is_one_line(tmp_path):
    path = tmp_path / "a.xtc"
    path.write_bytes(b"not a trajectory")
    topology = mdtraj_topology(peptide(own.SEQUENCE).topology)
    with pytest.raises(ConfigError, match=r"a.xtc: not readable as a trajectory") as error:
        list(trajectory_files.read(path, topology))
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="b.xtc: no such trajectory file"):
        trajectory_files.count_frames(tmp_path / "b.xtc", topology)


def colvar(path, times, **columns):
    rows = np.column_stack([times, *columns.values()])
    head = "#! FIELDS time " + " ".join(name.replace("_", ".") for name in columns)
    path.write_text("\n".join([head, *(" ".join(map(str, row)) for row in rows)]) + "\n")
    return path


def test_a_bias_becomes_weights_at_the_temperature(tmp_path):
    bias, wall = np.arange(4.0), np.ones(4)
    path = colvar(
        tmp_path / "COLVAR", 2.0 * np.arange(4), phi=wall, metad_bias=bias, uwall_bias=wall
    )
    found = log_weights([path], [4], [np.full(4, np.nan)], 300.0)
    np.testing.assert_allclose(found, beta(300.0) * (bias + wall))
    path = colvar(tmp_path / "C", 2.0 * np.arange(4), metad_bias=bias, metad_rbias=bias - 3)
    np.testing.assert_allclose(log_weights([path], [4], [bias], 300.0), beta(300.0) * (bias - 3))
    # a wall beside metadynamics counts too
    both = {"metad_bias": bias, "metad_rbias": bias - 3, "uwall_bias": 2 * wall}
    path = colvar(tmp_path / "D", 2.0 * np.arange(4), **both)
    np.testing.assert_allclose(log_weights([path], [4], [bias], 300.0), beta(300.0) * (bias - 1))


def test_times_in_single_precision_find_their_rows(tmp_path):
    """At 40 ns neighbouring numbers of single precision are 0.004 ps apart."""
    times = 40_000 + 0.2 * np.arange(50)
    path = colvar(tmp_path / "COLVAR", times, metad_bias=np.arange(50.0))
    found = log_weights([path], [25], [np.float32(times[::2]).astype(float)], 300.0)
    np.testing.assert_allclose(found, beta(300.0) * np.arange(0, 50, 2.0))


def test_rows_of_a_longer_table_are_found_by_their_time(tmp_path):
    path = colvar(tmp_path / "COLVAR", np.arange(10.0), metad_bias=np.arange(10.0))
    times = 2.0 * np.arange(5)
    found = log_weights([path], [5], [times], 300.0)
    np.testing.assert_allclose(found, beta(300.0) * times)
    for when in (times + 0.5, np.full(5, np.nan)):
        with pytest.raises(ConfigError, match="10 rows for 5 frames, and 5 frames at times"):
            log_weights([path], [5], [when], 300.0)


def test_one_file_of_weights_serves_all_trajectories_or_each_has_its_own(tmp_path):
    w = np.array([1.0, 2.0, 0.0, 4.0])
    np.save(tmp_path / "w.npy", w)
    times = [np.zeros(1), np.zeros(3)]
    one = log_weights([tmp_path / "w.npy"], [1, 3], times, 300.0)
    np.testing.assert_allclose(np.exp(one), w)
    np.save(tmp_path / "a.npy", w[:1])
    np.save(tmp_path / "b.npy", w[1:])
    two = log_weights([tmp_path / "a.npy", tmp_path / "b.npy"], [1, 3], times, 300.0)
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"weights of shape \(3,\), expected \(4,\)"),
        (np.array([1.0, -1.0, 1.0, 1.0]), "finite, not negative"),
        (np.array([1.0, np.nan, 1.0, 1.0]), "finite, not negative"),
        (np.zeros(4), "not all zero"),
    ],
)
def test_weights_that_are_none_are_refused(weights, message, tmp_path):
    np.save(tmp_path / "w.npy", weights)
    with pytest.raises(ConfigError, match=message):
        log_weights([tmp_path / "w.npy"], [4], [np.zeros(4)], 300.0)


def test_tables_without_a_bias_are_refused(tmp_path):
    path = colvar(tmp_path / "COLVAR", np.arange(4.0), phi=np.arange(4.0))
    with pytest.raises(ConfigError, match=r"no column of a bias .* among time, phi"):
        log_weights([path], [4], [np.zeros(4)], 300.0)
    path.write_text("1 2\n3 4\n")
    with pytest.raises(ConfigError, match="expected a line '#! FIELDS"):
        log_weights([path], [4], [np.zeros(4)], 300.0)
    path.write_text("a b\n")
    with pytest.raises(ConfigError, match="not readable as a table"):
        log_weights([path], [4], [np.zeros(4)], 300.0)
    with pytest.raises(ConfigError, match="no such file of weights"):
        log_weights([tmp_path / "none"], [4], [np.zeros(4)], 300.0)


def test_readers_print_nothing(tmp_path, capfd):
    path = own.write(tmp_path / "a.dcd", own.chains()[0, :20])
    topology = mdtraj_topology(peptide(own.SEQUENCE).topology)
    capfd.readouterr()
    list(trajectory_files.read(path, topology))
    read_frames(path, peptide(own.SEQUENCE))
    sys.stdout.write("heard\n")
    assert capfd.readouterr().out == "heard\n"
