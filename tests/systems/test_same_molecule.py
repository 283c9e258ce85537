"""The molecule that is built is the one that was named: kept, or refused in one line, never another."""

import io
import re

import numpy as np
import pytest
from openmm import app, unit

from jbg.coords import chiral_centres, side_chain_centres, signed_volume
from jbg.interfaces import ConfigError
from jbg.studies.molecule.observables import chirality
from jbg.systems.description_rows import rows
from jbg.systems.handedness import Handedness, check_kept, handedness
from jbg.systems.molecule import molecule_from_pdb, molecule_from_sequence
from jbg.systems.openmm_pool import ContextPool
from jbg.systems.pdb_input import complete
from jbg.systems.pdb_links import is_ring
from jbg.systems.peptide import peptide_pdb
from jbg.systems.protonation import disulfides
from jbg.systems.sequences import parse_sequence

pytestmark = pytest.mark.openmm

FORMS = {  # name in the file -> heavy atoms, form, hydrogens of the residue
    "HIS": ("HIS", "HID", "HD1"),
    "HID": ("HIS", "HID", "HD1"),
    "HIE": ("HIS", "HIE", "HE2"),
    "HIP": ("HIS", "HIP", "HD1 HE2"),
    "HSD": ("HIS", "HID", "HD1"),
    "HSE": ("HIS", "HIE", "HE2"),
    "HSP": ("HIS", "HIP", "HD1 HE2"),
    "ASP": ("ASP", "ASP", ""),
    "ASH": ("ASP", "ASH", "HD2"),
    "GLU": ("GLU", "GLU", ""),
    "GLH": ("GLU", "GLH", "HE2"),
    "LYS": ("LYS", "LYS", "HZ1 HZ2 HZ3"),
    "LYN": ("LYS", "LYN", "HZ1 HZ2"),
    "CYS": ("CYS", "CYS", "HG"),
    "CYM": ("CYS", "CYM", ""),
}
TITRATABLE = {
    "HIS": "HD1 HE2",
    "ASP": "HD1 HD2",
    "GLU": "HE1 HE2",
    "LYS": "HZ1 HZ2 HZ3",
    "CYS": "HG",
}


def peptide(sequence: str) -> str:
    return peptide_pdb(parse_sequence(sequence))


def mirrored(text: str) -> str:
    """The same atoms with z of the other sign."""
    turn = lambda line: f"{line[:46]}{-float(line[46:54]):8.3f}{line[54:]}"
    lines = (turn(x) if x.startswith("ATOM") else x for x in text.splitlines())
    return "\n".join(lines) + "\n"


def whole(sequence: str) -> str:
    """PDB text with all hydrogens."""
    modeller, out = complete(peptide(sequence), "test").modeller, io.StringIO()
    app.PDBFile.writeFile(modeller.topology, modeller.positions, out, keepIds=True)
    return out.getvalue()


def hydrogens(text: str) -> tuple[str, set[str]]:
    """The form of residue 2 of the completed molecule, and its hydrogens."""
    found = complete(text, "test")
    residue = list(found.modeller.topology.residues())[1]
    forms = [each["form"] for each in found.protonation.forms]
    assert len(forms) == 1
    return forms[0], {atom.name for atom in residue.atoms() if atom.element.symbol == "H"}


@pytest.mark.parametrize("name", FORMS)
def test_a_named_form_is_kept_without_hydrogens_and_with_them(name):
    residue, form, expected = FORMS[name]
    bare = peptide(f"ACE-{residue}-NME").replace(residue, name)
    assert f" {name} " in bare
    titratable = set(TITRATABLE[residue].split())
    got, atoms = hydrogens(bare)
    assert (got, atoms & titratable) == (form, set(expected.split()))
    # as written with its hydrogens, under the name that is written then: the same again
    with_hydrogens = whole(f"ACE-{name}-NME")
    assert hydrogens(with_hydrogens) == (got, atoms)
    assert complete(with_hydrogens, "test").protonation.added == 0


def test_hydrogens_in_the_file_decide_where_the_name_does_not():
    for name in ("HIE", "HIP", "ASH", "GLH"):
        text = whole(f"ACE-{name}-NME")
        assert name not in text  # HIS, ASP or GLU
        (form,) = complete(text, "test").protonation.forms
        assert (form["form"], form["by"]) == (name, "hydrogens")


def test_neutral_lysine_with_the_hydrogens_of_amber_is_kept():
    amber = whole("ACE-LYN-NME").replace(" HZ2", " HZ3").replace(" HZ1", " HZ2")
    assert hydrogens(amber)[0] == "LYN"
    assert complete(amber, "test").protonation.added == 0


def cystine(*names: str) -> str:
    """Two cysteines with a glycine between them, their sulfurs moved to 0.2 nm from each other."""
    text = peptide("ACE-CYS-GLY-CYS-NME")
    a, b = (place_of(text, "CB", k) for k in (2, 4))
    for k, name, start, end in ((2, names[0], a, b), (4, names[1], b, a)):
        at = (a + b) / 2 + (start - end) / np.linalg.norm(end - start)
        moved = "".join(f"{x:8.3f}" for x in at)
        text = re.sub(rf"(SG  CYS A   {k}    ).{{24}}", rf"\g<1>{moved}", text)
        text = text.replace(f"CYS A   {k}", f"{name} A   {k}")
    return text


def place_of(text: str, atom: str, residue: int) -> np.ndarray:
    """In Angstrom."""
    (line,) = (
        x
        for x in text.splitlines()
        if x[12:16].strip() == atom and x[22:26].strip() == str(residue)
    )
    return np.array([float(line[i : i + 8]) for i in (30, 38, 46)])


@pytest.mark.parametrize("names", [("CYX", "CYX"), ("CYS", "CYS")])
def test_a_disulfide_is_kept(names):
    record = "SSBOND   1 CYS A    2    CYS A    4                          1555   1555  2.00\n"
    found = complete(record + cystine(*names), "test")
    ((a, b),) = disulfides(found.modeller.topology)
    assert (a.residue.id, b.residue.id) == ("2", "4")
    assert found.protonation.forms == []


def pdb(text: str):
    return lambda: complete(text() if callable(text) else text, "file.pdb")


REFUSED = {
    "CYX alone": (pdb(lambda: peptide("ACE-CYX-NME")), "CYS 2 is named CYX, but no other sulfur"),
    "CYM in a bridge": (pdb(lambda: cystine("CYM", "CYS")), "named CYM, but its sulfur is bonded"),
    "HID with HE2": (
        pdb(lambda: whole("ACE-HIE-NME").replace("HIS", "HID")),
        "HIS 2 is named HID, which has 0 hydrogen.s. on NE2, but the file has 1",
    ),
    "LYN with three": (
        pdb(lambda: whole("ACE-LYS-NME").replace("LYS", "LYN")),
        "LYS 2 is named LYN, which has 2 hydrogen.s. on NZ, but the file has 3",
    ),
    "LYS drawn neutral": (
        pdb(lambda: whole("ACE-LYN-NME").replace("LYN", "LYS")),
        "LYS 2 has 2 hydrogen.s. on NZ; name it LYN if that is meant",
    ),
    "CYS drawn as thiolate": (
        pdb(lambda: whole("ACE-CYM-NME").replace("CYM", "CYS")),
        "CYS 2 has hydrogens, but none on SG; name it CYM if that is meant",
    ),
    "HIH": (pdb(lambda: peptide("ACE-HIS-NME").replace("HIS", "HIH")), "unknown residue.*HIH 2"),
    "MSE": (
        pdb(lambda: peptide("ACE-MET-NME").replace("MET", "MSE").replace(" SD ", "SE  ")),
        "unknown residue.*MSE 2.*MSE: modified, needs CONECT records",
    ),
    "DAL that is L": (
        pdb(lambda: peptide("ACE-ALA-NME").replace("ALA", "DAL")),
        "DAL 2 is D by name and L by its coordinates; name it ALA",
    ),
    "flat": (
        pdb(lambda: re.sub(r"(CB  ALA A   2 {4}).{24}", _flat_cb, peptide("ACE-ALA-NME"))),
        "CA of ALA 2 is flat, neither L nor D",
    ),
    "SSBOND without a bond": (
        pdb(lambda: "SSBOND   1 CYS A    2    CYS A    4\n" + peptide("ACE-CYS-GLY-CYS-NME")),
        "SSBOND says that SG of CYS 2 and SG of CYS 4 are bonded, but no bond is read",
    ),
    "LINK without a bond": (
        pdb(lambda: LINK + peptide("ACE-LYS-GLY-ASP-NME")),
        "LINK says that NZ of LYS 2 and CG of ASP 4 are bonded, but no bond is read",
    ),
    "D in a force field for L": (
        lambda: molecule_from_sequence("ACE-DAL-NME", forcefield=("amber19-all.xml",)),
        "the force field is made for L.*D residues .ALA 2.; choose one without CMAP",
    ),
}


LINK = "LINK         NZ  LYS A   2                 CG  ASP A   4     1555   1555  1.33\n"


def triglycine(per_turn: int) -> str:
    """Backbone atoms 0.15 nm from each other on a circle of so many; of 9 it closes."""
    radius = 0.75 / np.sin(np.pi / per_turn)
    lines = []
    for k in range(9):
        name, residue, angle = ("N", "CA", "C")[k % 3], k // 3 + 1, 2 * np.pi * k / per_turn
        places = {name: radius} | ({"O": radius + 1.2} if name == "C" else {})
        for atom, r in places.items():
            x, y = r * np.cos(angle), r * np.sin(angle)
            lines.append(
                f"ATOM  {len(lines) + 1:5d}  {atom:<3s} GLY A{residue:4d}    {x:8.3f}{y:8.3f}{0:8.3f}"
                f"  1.00  0.00           {atom[0]}"
            )
    return "\n".join([*lines, "END\n"])


@pytest.mark.parametrize(("per_turn", "closed"), [(9, True), (12, False)])
def test_a_ring_of_head_and_tail_is_told_by_its_places(per_turn, closed):
    topology = complete(triglycine(per_turn), "test").modeller.topology
    residues = list(topology.residues())
    assert len(residues) == 3
    assert is_ring(topology) == closed
    first = {atom.name for atom in residues[0].atoms()}
    assert ({"H2", "H3"} <= first) != closed
    assert ("OXT" in {atom.name for atom in residues[2].atoms()}) != closed


def _flat_cb(match: re.Match) -> str:
    """CB in the plane of N, CA and C, opposite to them."""
    n, ca, c = (place_of(peptide("ACE-ALA-NME"), atom, 2) for atom in ("N", "CA", "C"))
    place = 2 * ca - (n + c) / 2
    return match[1] + "".join(f"{x:8.3f}" for x in place)


@pytest.mark.parametrize("case", REFUSED)
def test_what_contradicts_itself_is_refused_in_one_line(case):
    build, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message) as error:
        build()
    assert "\n" not in str(error.value)


D_NAMES = "DAL DAR DAS DCY DGL DGN DHI DIL DLE DLY DPN DPR DSG DSN DTH DTR DTY DVA MED"


def test_lower_case_letters_are_d_and_all_of_them_are_built_so():
    letters = "arndcqehilkmfpstwyv"
    assert " ".join(sorted(parse_sequence(letters))) == D_NAMES
    modeller = complete(peptide(f"ATI{letters}G"), "test").modeller
    positions = np.array(modeller.positions.value_in_unit(unit.nanometer))
    found = handedness(modeller.topology, positions)
    assert (len(found.left), len(found.right), found.allo) == (3, 19, ())


def test_d_stays_d_after_minimising():
    found = molecule_from_sequence("tTiI")
    at_ca = signed_volume(found.positions[None], chiral_centres(found.topology))[0]
    at_cb = signed_volume(found.positions[None], side_chain_centres(found.topology))[0]
    assert (at_ca > 0).tolist() == [False, True, False, True]
    assert (at_cb > 0).tolist() == [False, True, False, True]
    about = found.description
    assert (about["n_l"], about["n_d"], about["allo_residues"]) == (2, 2, [])


def test_mirror_images_have_one_energy_and_each_its_minimum():
    """aAa is the mirror image of AaA: the same energy to the last digit, and the same minimum."""
    first, second = (molecule_from_sequence(sequence) for sequence in ("AaA", "aAa"))
    with ContextPool(first.system_xml, platform="Reference") as pool:
        energies = pool.energies(np.stack([first.positions, -second.positions]))
    with ContextPool(second.system_xml, platform="Reference") as pool:
        (own,) = pool.energies(second.positions[None])
    assert energies[1] == pytest.approx(own, abs=1e-6)
    assert energies[0] == pytest.approx(own, abs=0.1)  # 0.0006 kJ/mol was seen
    other = molecule_from_sequence("AAA")
    with ContextPool(other.system_xml, platform="Reference") as pool:
        assert abs(pool.energies(other.positions[None])[0] - own) > 0.2  # another molecule


def test_a_mirrored_file_is_run_as_it_is_and_said(tmp_path):
    path = tmp_path / "mirrored.pdb"
    path.write_text(mirrored(peptide("ACE-ALA-THR-NME")))
    found = molecule_from_pdb(path)
    centres = chiral_centres(found.topology)
    assert (signed_volume(found.positions[None], centres) < 0).all()
    assert found.description["residues"] == ["ACE", "DAL", "DTH", "NME"]
    assert dict(rows(found.description))["chirality"] == (
        "0 L, 2 D by the coordinates; D: ALA 2, THR 3"
    )
    # named so, it is the same
    path.write_text(path.read_text().replace("ALA", "DAL").replace("THR", "DTH"))
    again = molecule_from_pdb(path)
    np.testing.assert_array_equal(again.positions, found.positions)


def test_shares_of_handedness_are_of_what_was_given():
    found = molecule_from_sequence("TaI")
    given = found.positions
    samples = np.stack([given, given, -given, given]).reshape(4, -1)
    assert chirality(found.topology, samples, given) == {
        "chirality_l_fraction": 0.0,
        "chirality_as_given_fraction": 0.75,
    }
    plain = molecule_from_sequence("ACE-ALA-NME")
    both = np.stack([plain.positions, -plain.positions]).reshape(2, -1)
    shares = chirality(plain.topology, both, plain.positions)
    assert set(shares.values()) == {0.5}


def test_another_hand_of_a_side_chain_is_said():
    text = peptide("ACE-THR-NME")
    places = {x[12:16].strip(): x[30:54] for x in text.splitlines() if x[17:20] == "THR"}
    swapped = text.replace(places["OG1"], "x" * 24).replace(places["CG2"], places["OG1"])
    found = complete(swapped.replace("x" * 24, places["CG2"]), "test").modeller
    positions = np.array(found.positions.value_in_unit(unit.nanometer))
    assert handedness(found.topology, positions) == (("THR 2",), (), ("THR 2",))


def test_the_description_counts_what_there_is():
    found = molecule_from_sequence("ACE-HIP-ASH-LYS-NHE").description
    assert found["formula"] == "C18H31N7O6"
    assert (found["n_atoms"], found["charge"], found["ph"]) == (62, 2, 7.0)
    said = {(each["residue"], each["form"], each["by"]) for each in found["protonation"]}
    assert said == {("HIS 2", "HIP", "name"), ("ASP 3", "ASH", "name"), ("LYS 4", "LYS", "pH 7")}
    assert dict(rows(found))["protonation"] == (
        "pH 7 where nothing else is said; as named: HIS 2 is HIP+, ASP 3 is ASH; at pH 7: 1 LYS+"
    )
    assert found["ends"] == ["", ""]
    free = molecule_from_sequence("PG").description
    assert free["ends"] == ["NH2+", "COO-"]
    assert free["heavy_atoms_added"] == ["OXT of GLY 2"]


def test_places_and_models_left_out_are_counted():
    text = peptide("ACE-ALA-NME")
    twice = re.sub(r"(ATOM +\d+ +CB )( )(ALA.*)\n", r"\1A\3\n\1B\3\n", text)
    none = {"alternate_residues": [], "unresolved": []}
    assert complete(twice, "test").left_out == none | {
        "models": 0,
        "alternate_locations": 1,
        "alternate_residues": ["ALA 2 (A)"],
    }
    body = text.replace("END", "").strip()
    models = "".join(f"MODEL     {k:4d}\n{body}\nENDMDL\n" for k in (1, 2, 3)) + "END\n"
    assert complete(models, "test").left_out == none | {"models": 2, "alternate_locations": 0}


def test_a_residue_that_minimising_turned_at_ca_alone_is_named(monkeypatch):
    """D-THR whose CA alone turned: right before, allo after."""
    found = iter([Handedness((), ("THR 2",), ()), Handedness(("THR 2",), (), ("THR 2",))])
    monkeypatch.setattr("jbg.systems.handedness.handedness", lambda *given: next(found))
    with pytest.raises(ConfigError, match="turned THR 2 into the mirror image"):
        check_kept(None, None, None, "x.pdb")
