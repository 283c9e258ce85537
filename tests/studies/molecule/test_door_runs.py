"""A whole run through every door, tiny, ends with a report that says what was simulated."""

import shutil

import openmm
import pytest

import jbg
from jbg.interfaces import ConfigError
from jbg.report import write_report
from jbg.studies import engine
from tests import tiny
from tests.systems.test_doors import AMBER, CHARMM, GROMACS, SYSTEM, XML

pytestmark = pytest.mark.openmm


def python_system(folder):
    """A System and its topology from Python, as a run takes them: written to files."""
    butane = jbg.molecule(**AMBER, implicit="none")
    system = openmm.XmlSerializer.deserialize(butane.system_xml)
    (folder / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    (folder / "molecule.pdb").write_text(butane.pdb)
    return {"system": folder / "system.xml", "pdb": folder / "molecule.pdb"}


DOORS = {
    "amber": (AMBER, "butane.prmtop"),
    "gromacs": (GROMACS | {"implicit": "gbn2"}, "GBn2, surface term"),
    "charmm": (CHARMM, "tripeptide.psf tripeptide.prm"),
    "system": (SYSTEM, "radii of the System"),
    "pdb and xml": (XML, "radii of the force field files"),
    "sequence": ({"sequence": "ACE-CYS1-HIE-DAL-CYS1-NME"}, "CYS 2 to CYS 5"),
    "ring": ({"sequence": "cyclo(GGGGG)"}, "cyclo(GLY-GLY-GLY-GLY-GLY)"),
    "python system": (python_system, "vacuum"),
}


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_a_run_ends_with_a_report(door, tmp_path):
    files, said = DOORS[door]
    files = files(tmp_path) if callable(files) else files
    plan = tiny.molecule("molecule", steps=20, **files)
    run = engine.open_run(tmp_path / "run", plan)
    engine.run_all(run, quiet=True)
    tiny.check_results(run.read_json("results.json"))
    page = write_report(run).read_text()
    assert said in page
    assert run.read_json("results.json")["molecule"]["solvent"]


def test_the_plan_keeps_its_files(tmp_path, monkeypatch):
    """Whole paths in config.json, no force field of another door, and an edited file is another run."""
    monkeypatch.chdir(tmp_path)
    for path in AMBER.values():
        shutil.copy(path, tmp_path)
    plan = engine.make_plan("molecule", prmtop="butane.prmtop", inpcrd="butane.inpcrd")
    run = engine.open_run(tmp_path / "run", plan)
    options = engine.plan_of(run).options
    assert options == plan.options
    assert options.prmtop == tmp_path / "butane.prmtop"
    assert options.forcefield == ()
    text = (tmp_path / "butane.inpcrd").read_text()
    (tmp_path / "butane.inpcrd").write_text(text.replace("1.9300", "1.9301", 1) + "\n")
    with pytest.raises(ConfigError, match="sha256"):
        engine.open_run(
            tmp_path / "run",
            engine.make_plan("molecule", prmtop="butane.prmtop", inpcrd="butane.inpcrd"),
        )


def test_vacuum_that_was_asked_for_sets_off_no_warning(caplog):
    engine.make_plan("molecule", **AMBER, implicit="none")
    assert "no solvent model" not in caplog.text
    engine.make_plan("molecule", **(XML | {"forcefield": XML["forcefield"][:1]}))
    assert "no solvent model" in caplog.text


def test_an_edited_include_is_another_run(tmp_path):
    """The parameters of a ligand are often in a file of their own."""
    text = GROMACS["top"].read_text()
    head, rest = text.split("[ moleculetype ]")
    (tmp_path / "butane.top").write_text(head + '#include "ligand.itp"\n' + _system_of(rest))
    ligand = tmp_path / "ligand.itp"
    ligand.write_text("[ moleculetype ]" + rest.split("[ system ]")[0])
    given = {"top": tmp_path / "butane.top", "gro": GROMACS["gro"]}
    first = engine.make_plan("molecule", **given)
    ligand.write_text(ligand.read_text().replace("191535.152", "191535.153"))
    second = engine.make_plan("molecule", **given)
    assert first.data.sha256 != second.data.sha256
    assert first.options == second.options


def _system_of(text):
    return "[ system ]" + text.split("[ system ]")[1]
