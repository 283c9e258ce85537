"""Which molecule: the files of one door, or a sequence, and which of them go together.

A door is a way in: a PDB file, a sequence, AMBER's, GROMACS's or CHARMM's files, an OpenMM System.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from jbg.interfaces import ConfigError

FORCEFIELD = ("amber14-all.xml", "implicit/obc2.xml")
Implicit = Literal["obc2", "obc1", "gbn", "gbn2", "hct", "none"]
DEFAULT_IMPLICIT: Implicit = "obc2"


class Door(NamedTuple):
    """Options that a molecule needs beside the first one, and others that it may have."""

    needs: tuple[str, ...]
    may: tuple[str, ...] = ()


DOORS = {
    "pdb": Door(("pdb",), ("forcefield",)),
    "sequence": Door(("sequence",), ("forcefield",)),
    "prmtop": Door(("prmtop", "inpcrd"), ("implicit",)),
    "top": Door(("top", "gro"), ("include", "implicit")),
    "psf": Door(("psf", "crd", "prm"), ("implicit",)),
    "system": Door(("system", "pdb")),
    "sdf": Door(("sdf",)),
    "smiles": Door(("smiles",)),
}
CONTENTS = {
    "prmtop": "topology and parameters",
    "inpcrd": "coordinates",
    "top": "topology and parameters",
    "gro": "coordinates",
    "psf": "topology",
    "crd": "coordinates",
    "prm": "parameters",
    "system": "forces",
    "pdb": "atoms and coordinates",
}
_INCLUDE = re.compile(r'^\s*#include\s+"([^"]+)"', re.MULTILINE)
WAYS = (
    "--pdb, --sequence, --prmtop + --inpcrd, --top + --gro, --psf + --crd + --prm, --system + --pdb"
)
SMALL_MOLECULES = (
    "jbg assigns no force field to a small molecule from its structure alone: give --prmtop and --inpcrd (GAFF by "
    "AmberTools), or --system and --pdb (System XML, such as by openmmforcefields); docs/molecules.md has both"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForceFieldFiles:
    """The force field of a PDB file or a sequence."""

    forcefield: tuple[str, ...] = FORCEFIELD
    """Force field files of OpenMM, for --pdb and --sequence; other inputs have their own force field."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GivenMolecule(ForceFieldFiles):
    """A molecule of the user, through one door.

    Raises:
        ConfigError: no door or several, a file that is missing beside others, or an option of another door.
    """

    pdb: Path | None = None
    """PDB file of one molecule. Adds missing hydrogens (by names such as HIE, else at pH 7), then minimises."""
    sequence: str | None = None
    """Peptide by its sequence: ACE-ALA-NME, GYDPETGTWG (lower case: D), C1GGC1 (disulfide), cyclo(AGAGAG)."""
    prmtop: Path | None = None
    """AMBER topology with parameters (prmtop, parm7), with --inpcrd."""
    inpcrd: Path | None = None
    """AMBER coordinates (inpcrd, rst7) of --prmtop."""
    top: Path | None = None
    """GROMACS topology with parameters, with --gro."""
    gro: Path | None = None
    """GROMACS coordinates of --top."""
    include: Path | None = None
    """Folder of the force fields that --top includes; default: where GROMACS is installed."""
    psf: Path | None = None
    """CHARMM or NAMD structure, with --crd and --prm."""
    crd: Path | None = None
    """Coordinates of --psf, CHARMM's or a PDB file."""
    prm: tuple[Path, ...] = ()
    """CHARMM parameters of --psf: all .prm, .rtf and .str files."""
    system: Path | None = None
    """OpenMM System as XML, used as it is, with --pdb for its atoms and coordinates."""
    sdf: Path | None = None
    """Small molecule from an SDF file; says how to give it a force field."""
    smiles: str | None = None
    """Small molecule from its SMILES; says how to give it a force field."""
    implicit: Implicit | None = None
    """Implicit solvent of --prmtop, --top and --psf: obc2 (default), obc1, gbn, gbn2, hct, or none (vacuum)."""

    def __post_init__(self):
        door = DOORS[self.door]
        if self.door in ("sdf", "smiles"):
            raise ConfigError(f"{self.door}: {SMALL_MOLECULES}")
        lacking = [name for name in door.needs if not getattr(self, name)]
        if lacking:
            has = next((name for name in door.needs if name not in lacking), "include")
            others = " and ".join(f"--{name} FILE" for name in lacking)
            raise ConfigError(
                f"--{has} needs {others} beside it ({', '.join(CONTENTS[name] for name in lacking)})"
            )
        if self.implicit is not None:
            _check_implicit(self.implicit, self.door)
        if "forcefield" not in door.may and tuple(self.forcefield) not in ((), FORCEFIELD):
            raise ConfigError(
                f"--forcefield is for --pdb and --sequence; --{self.door} has a force field: leave it out"
            )
        if "forcefield" not in door.may:
            object.__setattr__(self, "forcefield", ())
        for field in dataclasses.fields(GivenMolecule):
            object.__setattr__(self, field.name, _absolute(getattr(self, field.name), field.name))

    @property
    def door(self) -> str:
        """The key in DOORS.

        Raises:
            ConfigError: no door, or several.
        """
        given = {name for each in DOORS.values() for name in each.needs if getattr(self, name)}
        given |= {"include"} if self.include else set()
        fitting = [
            key for key, each in DOORS.items() if given and given <= {*each.needs, *each.may}
        ]
        if not given:
            raise ConfigError(f"which molecule: give one of {WAYS}")
        if not fitting:
            got = ", ".join(f"--{name}" for name in _ordered(given))
            raise ConfigError(f"which molecule: give one of {WAYS}; got {got}")
        return fitting[0]  # a PDB file alone is the door "pdb"

    @property
    def given(self) -> "GivenMolecule":
        """These fields alone, of options that have others too."""
        fields = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(GivenMolecule)
        }
        return GivenMolecule(**fields)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that say which molecule it is, in the order of the door's options, and what ``top`` includes."""
        found: list[Path] = []
        for name in DOORS[self.door].needs:
            value = getattr(self, name)
            found += value if isinstance(value, tuple) else [value]
        paths = [each for each in found if isinstance(each, Path)]
        return (*paths, *(included(self.top, self.include) if self.top else ()))


def included(top: Path, folder: Path | None) -> tuple[Path, ...]:
    """Files that a GROMACS topology includes, beside each file or in ``folder``; not those of GROMACS itself."""
    found, queue = [], [top]
    while queue:
        path = queue.pop(0)
        try:
            names = _INCLUDE.findall(path.read_text(errors="replace"))
        except OSError:  # the reader says so
            continue
        for name in names:
            places = [path.parent / name, *([folder / name] if folder else [])]
            new = [place for place in places if place.is_file() and place not in found][:1]
            found += new
            queue += new
    return tuple(found)


def _check_implicit(implicit: str, door: str) -> None:
    if implicit not in get_args(Implicit):
        raise ConfigError(
            f"implicit must be one of {', '.join(get_args(Implicit))}, got {implicit!r}"
        )
    if "implicit" in DOORS[door].may:
        return
    if door == "system":
        raise ConfigError("--implicit: a System has its solvent already; leave it out")
    raise ConfigError(
        f"--implicit is for --prmtop, --top and --psf; with --{door} the solvent is a file of --forcefield, such "
        "as implicit/obc2.xml"
    )


def _ordered(names: set[str]) -> list[str]:
    return [field.name for field in dataclasses.fields(GivenMolecule) if field.name in names]


def _absolute(value: Any, name: str) -> Any:
    """Paths of files as absolute ones, whether given as text or not; anything else as it is."""
    if name in ("sequence", "smiles", "implicit") or value is None:
        return value
    if name == "forcefield":
        return value if isinstance(value, str) else tuple(value)
    if name == "prm":
        value = (value,) if isinstance(value, str | Path) else value
        return tuple(Path(each).absolute() for each in value)
    return Path(value).absolute()
