"""Force-field files from elsewhere are parameters: no code of theirs runs, whichever way it is put in."""

from pathlib import Path

import pytest
from openmm import app

from jbg.interfaces import ConfigError
from jbg.systems.forcefield_files import shipped_files
from jbg.systems.pdb_input import load_forcefield

pytestmark = pytest.mark.openmm

DATA = Path(app.__file__).parent / "data"
BOMB = "<!DOCTYPE a [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;&a;'>]><ForceField>&b;</ForceField>"
OUTSIDE = "<!DOCTYPE a [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><ForceField>&a;</ForceField>"


def code(tmp_path):
    return f"open({str(tmp_path / 'ran')!r}, 'w')"


def put(tmp_path, name, inner, outer="<ForceField>{}</ForceField>"):
    (tmp_path / name).write_text(outer.format(inner))
    return str(tmp_path / name)


def refused(tmp_path, names, match):
    with pytest.raises(ConfigError, match=match) as caught:
        load_forcefield(names)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("element", ["Script", "InitializationScript"])
def test_scripts_are_refused_also_behind_an_include(element, tmp_path):
    script = f"<{element}>{code(tmp_path)}</{element}>"
    plain = put(tmp_path, "a.xml", script)
    refused(tmp_path, ["amber14-all.xml", plain], rf"a\.xml holds Python code \(<{element}>\)")
    (tmp_path / "deep").mkdir()
    put(tmp_path, "deep/b.xml", '<Include file="../a.xml"/>')
    behind = put(tmp_path, "c.xml", '<Include file="deep/b.xml"/><Include file="c.xml"/>')
    refused(tmp_path, ["amber14-all.xml", behind], r"a\.xml holds Python code")


def test_a_file_here_that_hides_one_of_openmm_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "amber14-all.xml", f"<Script>{code(tmp_path)}</Script>")
    refused(tmp_path, ["amber14-all.xml"], "holds Python code")


@pytest.mark.parametrize("force", ["NonbondedForce", "LennardJonesForce"])
def test_an_attribute_that_openmm_evaluates_is_plain(force, tmp_path):
    inner = f'<{force} coulomb14scale="1" lj14scale="1" useDispersionCorrection="{{}}"/>'
    bad = put(tmp_path, "a.xml", inner.format(code(tmp_path)))
    refused(
        tmp_path, ["amber14-all.xml", bad], "useDispersionCorrection must be one of True, False"
    )
    assert load_forcefield([put(tmp_path, "b.xml", inner.format("False"))])


@pytest.mark.parametrize("text", [BOMB, OUTSIDE])
def test_entities_are_refused(text, tmp_path):
    refused(tmp_path, [put(tmp_path, "a.xml", "", text)], "declares a document type")


@pytest.mark.parametrize(
    "text", ["", "not XML", "<ForceField>", "\x00", "<?xml version='1.0' encoding='x'?><a/>"]
)
def test_what_is_no_xml_is_refused(text, tmp_path):
    refused(tmp_path, [put(tmp_path, "a.xml", "", text)], r"a\.xml is no force field file")


def test_what_openmm_ships_is_read_also_from_a_copy(tmp_path):
    copy = tmp_path / "mine.xml"
    copy.write_bytes((DATA / "implicit" / "obc2.xml").read_bytes())  # it holds a script
    assert load_forcefield(["amber14-all.xml", str(copy)])
    assert load_forcefield(["amber14-all.xml", "implicit/gbn2.xml"])
    assert len(shipped_files()) > 50
