"""States and variables by text are what functions of mdtraj are, and bad ones are refused in one line."""

import mdtraj
import numpy as np
import pytest

import jbg
from jbg.interfaces import ConfigError, Topology
from jbg.variables import mdtraj_topology

pytestmark = pytest.mark.openmm
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def dipeptide(alanine_dipeptide):
    return alanine_dipeptide


@pytest.fixture(scope="module")
def frames(dipeptide):
    """Frames of random torsions ``(n, atoms, 3)``: any configuration will do."""
    scattered = dipeptide.positions[None] + 0.08 * RNG.normal(size=(4000, 22, 3))
    return scattered.astype(np.float32)


@pytest.fixture(scope="module")
def reference(dipeptide, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "native.pdb"
    path.write_text(dipeptide.pdb)
    return path


def degrees(angles):
    return np.degrees(angles[1][:, 0] if isinstance(angles, tuple) else angles[:, 0])


def torsion(t, *atoms):
    return degrees(mdtraj.compute_dihedrals(t, [atoms]))


def distance(t, i, j):
    return mdtraj.compute_distances(t, [[i, j]])[:, 0]


def atom(t, residue, name):
    (index,) = t.topology.select(f"residue {residue} and name {name}")
    return int(index)


def gyration(t):
    """About the centre of mass, where ``mdtraj.compute_rg`` takes the mean of the positions."""
    mass = np.array([a.element.mass for a in t.topology.atoms])
    away = t.xyz - mdtraj.compute_center_of_mass(t)[:, None]
    return np.sqrt(np.sum(mass * np.sum(away**2, axis=2), axis=1) / mass.sum())


def definitions(reference):
    """text -> the same as a function of an mdtraj trajectory."""
    native = mdtraj.load(str(reference))
    heavy = native.topology.select("not element H")
    phi = lambda t: degrees(mdtraj.compute_phi(t))
    psi = lambda t: degrees(mdtraj.compute_psi(t))
    return {
        "torsion phi2 in -120..-30": lambda t: (phi(t) >= -120) & (phi(t) < -30),
        "torsion phi2 in -180..-30 and torsion psi2 in 90..-150": lambda t: (
            (phi(t) < -30) & ((psi(t) >= 90) | (psi(t) < -150))
        ),
        "not (torsion phi2 < 0 or torsion psi2 > 100)": lambda t: ~((phi(t) < 0) | (psi(t) > 100)),
        "torsion omega2 in 150..210": lambda t: (
            np.abs(
                torsion(
                    t,
                    *(
                        atom(t, r, n)
                        for r, n in zip((1, 1, 2, 2), ("CH3", "C", "N", "CA"), strict=True)
                    ),
                )
            )
            >= 150
        ),
        "torsion 5 7 9 15 in -60..60": lambda t: np.abs(torsion(t, 4, 6, 8, 14)) < 60,
        "distance 1:O 3:H < 0.3": lambda t: distance(t, atom(t, 1, "O"), atom(t, 3, "H")) < 0.3,
        "angle 2:N 2:CA 2:C in 100..115": lambda t: (
            np.abs(
                np.degrees(
                    mdtraj.compute_angles(t, [[atom(t, 2, n) for n in ("N", "CA", "C")]])[:, 0]
                )
                - 107.5
            )
            < 7.5
        ),
        f"rmsd '{reference}' of heavy < 0.1": lambda t: (
            mdtraj.rmsd(mdtraj.Trajectory(t.xyz.copy(), t.topology), native, atom_indices=heavy)
            < 0.1
        ),
        f'rmsd "{reference}" of "name CA or name C or name N" >= 0.08': lambda t: (
            mdtraj.rmsd(
                mdtraj.Trajectory(t.xyz.copy(), t.topology),
                native,
                atom_indices=t.topology.select("name CA or name C or name N"),
            )
            >= 0.08
        ),
        "rg < 0.27 or rg of heavy in 0.25..0.26": lambda t: (
            (gyration(t) < 0.27)
            | ((gyration(t.atom_slice(heavy)) >= 0.25) & (gyration(t.atom_slice(heavy)) < 0.26))
        ),
    }


def test_ten_definitions_by_text_and_by_function_agree(dipeptide, frames, reference):
    x = frames.reshape(len(frames), -1).T
    table = definitions(reference)
    assert len(table) == 10
    for k, (text, function) in enumerate(table.items()):
        by_text = jbg.state(f"s{k}", text, dipeptide)
        by_function = jbg.state(f"s{k}", function, dipeptide)
        inside = by_text.contains(x)
        assert inside.dtype == bool
        assert 0.01 < inside.mean() < 0.99, (text, inside.mean())
        np.testing.assert_array_equal(inside, by_function.contains(x), err_msg=text)


def test_a_function_of_positions(dipeptide, frames):
    x = frames.reshape(len(frames), -1).T
    by_text = jbg.state("near", "distance 1 7 < 0.25", dipeptide)
    of = lambda p: np.linalg.norm(p[:, 0].astype(float) - p[:, 6], axis=1) < 0.25
    by_function = jbg.state("near", of, dipeptide, takes="positions")
    np.testing.assert_array_equal(by_text.contains(x), by_function.contains(x))
    assert by_text.contains(x[:, :6].reshape(66, 2, 3)).shape == (2, 3)
    assert by_text.contains(x[:, 0]).shape == ()


def test_residues_are_numbered_as_in_the_file(dipeptide, frames):
    x = frames.reshape(len(frames), -1).T
    numbers = tuple(str(int(n) + 40) for n in dipeptide.topology.residue_numbers)
    later = dipeptide.topology._replace(residue_numbers=numbers)
    moved = jbg.state("a", "torsion phi42 < 0 and distance 41:O 43:H > 0.3", later)
    plain = jbg.state("a", "torsion phi2 < 0 and distance 1:O 3:H > 0.3", dipeptide)
    np.testing.assert_array_equal(moved.contains(x), plain.contains(x))
    with pytest.raises(ConfigError, match="no torsion phi2, .*did you mean phi42"):
        jbg.state("a", "torsion phi2 < 0", later)


def test_the_built_molecule_keeps_the_numbers_of_its_file(dipeptide, tmp_path):
    lines = [
        f"{line[:22]}{int(line[22:26]) + 40:4d}{line[26:]}"
        if line.startswith(("ATOM", "HETATM"))
        else line
        for line in dipeptide.pdb.splitlines()
    ]
    (tmp_path / "m.pdb").write_text("\n".join(lines) + "\n")
    found = jbg.molecule(tmp_path / "m.pdb")
    assert set(found.topology.residue_numbers) == {"41", "42", "43"}
    assert set(dipeptide.topology.residue_numbers) == {"1", "2", "3"}


def test_intervals_of_torsions_wrap_and_tile_the_circle(dipeptide, frames):
    x = frames.reshape(len(frames), -1).T
    parts = ["-180..-60", "-60..60", "60..180"]
    inside = [jbg.state("a", f"torsion psi2 in {p}", dipeptide).contains(x) for p in parts]
    np.testing.assert_array_equal(np.sum(inside, 0), 1)
    for same in ("150..-150", "150..210", "-210..-150"):
        first = jbg.state("a", f"torsion psi2 in {same}", dipeptide).contains(x)
        second = jbg.state("a", "torsion psi2 in 150..180 or torsion psi2 in -180..-150", dipeptide)
        np.testing.assert_array_equal(first, second.contains(x))
    assert jbg.state("a", "torsion psi2 in -180..180", dipeptide).contains(x).all()


WRONG = {
    "torsion phi3 in 0..1": "no torsion phi3, at character 9 of .*did you mean phi2",
    "torsoin phi2 in 0..1": "got 'torsoin', at character 1 .*did you mean torsion",
    "torsion phi2 0..1": "expected 'in', '<' or '>' after the quantity, got '0', at character 14",
    "torsion phi2 in 0.1": "expected '..' between the two ends, got nothing, at its end",
    "torsion phi2 in 10..10": "10..10 is empty or more than a turn, at character 17",
    "torsion phi2 > 200": "a torsion lies between -180 and 180 degrees",
    "torsion phi2 in 0..400": "between -360 and 360 degrees",
    "distance 1:O 3:HX < 0.2": "no atom 3:HX, at character 14 .*did you mean 3:H",
    "distance 1:O < 0.2": "expected 2 atoms",
    "angle 1:O 1:O 2:N < 3": "the atoms must differ",
    "torsion 5 7 9 99 < 3": "no atom 99: atoms are numbered from 1 to 22",
    "torsion phi2 < 0 und torsion psi2 < 3": "expected 'and' or 'or', or the end, got 'und'",
    "(torsion phi2 in 0..10": r"expected '\)', got nothing, at its end",
    "torsion phi2 = 3": "cannot read '=', at character 14",
    "distance 1:O 3:H in 0.5..0.1": "is empty: the first number is the lower one",
    "rmsd 'nowhere.pdb' < 0.1": "no file nowhere.pdb",
    "rmsd native.pdb < 0.1": "cannot read '.pdb'",
    "rg of backbon < 1": "got 'backbon', .*did you mean backbone",
    "rg of 'name ZZ' < 1": "no atom is in the selection",
    "rg of 'nam' and < 1": "mdtraj cannot read the selection|no atom|expected",
    "": "expected a quantity, got nothing",
    "torsion phi2, torsion psi2": "expected 'in'",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_definitions_are_refused_in_one_line(dipeptide, text):
    with pytest.raises(ConfigError, match=WRONG[text]) as caught:
        jbg.state("alpha", text, dipeptide)
    assert str(caught.value).startswith("state alpha: ")
    assert "\n" not in str(caught.value)


def misuses(molecule):
    return {
        "name": (lambda: jbg.state("my state", "rg < 1", molecule), "a name has up to 40"),
        "molecule": (lambda: jbg.state("a", "rg < 1", 7), r"got int: use jbg\.molecule"),
        "takes": (lambda: jbg.state("a", len, molecule, takes="frames"), "trajectory or positions"),
        "number": (lambda: jbg.state("a", 3, molecule), "expected a text or a function, got int"),
        "three": (
            lambda: jbg.variable("v", "rg, rg, rg", molecule),
            "expected one quantity or two",
        ),
        "file": (lambda: jbg.state("a", "none.py:f", molecule), "state a: no file none.py"),
    }


@pytest.mark.parametrize("name", ["name", "molecule", "takes", "number", "three", "file"])
def test_misuse_is_one_line(dipeptide, name):
    call, message = misuses(dipeptide)[name]
    with pytest.raises(ConfigError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


BROKEN = {
    "fails": (lambda t: 1 / 0, "the function failed: ZeroDivisionError"),
    "shape": (lambda t: np.zeros(3, bool), "expected one value for each of 50 frames"),
    "kind": (lambda t: np.zeros(t.n_frames), "expected true or false for each frame, got float64"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_functions_that_answer_something_else_are_refused(dipeptide, frames, name):
    function, message = BROKEN[name]
    state = jbg.state("a", function, dipeptide)
    with pytest.raises(ConfigError, match=message):
        state.contains(frames[:50].reshape(50, -1).T)


def test_a_variable_takes_a_column_and_refuses_tables(dipeptide, frames):
    x = frames[:50].reshape(50, -1).T
    column = jbg.variable("d", lambda t: mdtraj.compute_distances(t, [[0, 5]]), dipeptide)
    apart = np.linalg.norm(frames[:50, 0] - frames[:50, 5], axis=-1)
    np.testing.assert_allclose(column.quantities[0].of(frames[:50]), apart, rtol=1e-5)
    np.testing.assert_allclose(column.of(x)[:, 0], apart, rtol=1e-5)
    table = jbg.variable("d", lambda t: np.zeros((t.n_frames, 2)), dipeptide)
    with pytest.raises(ConfigError, match="one number for each of 50 frames, got float64 of shape"):
        table.of(x)


def test_a_single_question_needs_no_tuple():
    asked = jbg.Questions(
        states="a: torsion phi2 < 0", variables="b: torsion psi2", temperatures=280
    )
    assert asked.states == ("a: torsion phi2 < 0",)
    assert (asked.variables, asked.temperatures) == (("b: torsion psi2",), (280,))


def test_a_file_with_a_function(dipeptide, frames, tmp_path):
    (tmp_path / "mine.py").write_text("def right(t):\n    return t.xyz[:, 0, 0] > 0\n")
    x = frames.reshape(len(frames), -1).T
    state = jbg.state("a", "mine.py:right", dipeptide, folder=tmp_path)
    np.testing.assert_array_equal(state.contains(x), x[0] > 0)
    with pytest.raises(ConfigError, match="has no function left: it has right"):
        jbg.state("a", "mine.py:left", dipeptide, folder=tmp_path)


def test_variables(dipeptide, frames):
    x = frames.reshape(len(frames), -1).T
    both = jbg.variable("rama", "torsion phi2, torsion psi2 in 0..360", dipeptide)
    values = both.of(x)
    assert values.shape == (len(frames), 2)
    t = mdtraj.Trajectory(frames, mdtraj_topology(dipeptide.topology))
    np.testing.assert_allclose(values[:, 0], mdtraj.compute_phi(t)[1][:, 0], atol=1e-5)
    assert both.bounds == (None, (0.0, 2 * np.pi))
    assert "psi2 = 2:N 2:CA 2:C 3:N" in both.definition
    assert jbg.variable("d", "distance 1:O 3:H in 0.1..0.8", dipeptide).bounds == ((0.1, 0.8),)


def test_side_chain_torsions_are_those_of_mdtraj():
    from jbg.variables.names import Names
    from tests.molecules import peptide

    molecule = peptide("ACE-ARG-ILE-MET-ASP-HIS-THR-CYS-VAL-LYS-NME")
    trajectory = mdtraj.Trajectory(molecule.positions, mdtraj_topology(molecule.topology))
    known = Names(molecule.topology).torsions
    for k in range(1, 6):
        quads, _ = getattr(mdtraj, f"compute_chi{k}")(trajectory)
        mine = sorted(tuple(q[0]) for n, q in known.items() if n.startswith(f"chi{k}_"))
        assert mine == sorted(map(tuple, quads.tolist())), k


def test_a_molecule_without_names_takes_atoms_only():
    bonds = np.array([[0, 1], [1, 2], [2, 3]])
    butane = Topology(("C",) * 4, ("C1", "C2", "C3", "C4"), ("BUT",) * 4, (0,) * 4, bonds)
    x = np.random.default_rng(0).normal(size=(12, 5))
    assert jbg.state("a", "torsion 1 2 3 4 > 0", butane).contains(x).shape == (5,)
    with pytest.raises(ConfigError, match="only those of peptides have names; give four atoms"):
        jbg.state("a", "torsion phi1 > 0", butane)
    twice = butane._replace(atom_names=("C1", "C1", "C3", "C4"))
    with pytest.raises(ConfigError, match="1:C1 is 2 times in the file: give atoms by number"):
        jbg.state("a", "distance 1:C1 1:C3 > 0", twice)
