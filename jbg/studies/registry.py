"""The studies that `jbg run NAME` finds: name, one-line description, module. Loads no JAX."""

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jbg.studies.study import Study

PRESETS = ("quick", "full")
MOLECULES = ("openmm", "pdbfixer", "PeptideBuilder", "mdtraj")  # packages, of the extra "molecules"


class Entry(NamedTuple):
    """One line of `jbg systems`, the module whose ``STUDY`` it is, and the optional packages that it needs."""

    about: str
    module: str
    needs: tuple[str, ...] = ()


STUDIES = {
    "double-well": Entry(
        "two wells in the plane, exact reference by quadrature", "plane.double_well"
    ),
    "mueller-brown": Entry(
        "three basins in the plane, exact reference by quadrature", "plane.mueller_brown"
    ),
    "lj-dimer": Entry(
        "bistable dimer in a bath of 36 soft discs, reference by umbrella sampling",
        "dimer.umbrella",
        ("pymbar",),
    ),
    "lj-dimer-explored": Entry(
        "the same dimer from one closed configuration: exploration finds the open state",
        "dimer.explored",
    ),
    "alanine-dipeptide": Entry(
        "ACE-ALA-NME built from its sequence, in implicit solvent",
        "molecule.alanine_dipeptide",
        MOLECULES,
    ),
    "protein": Entry(
        "a protein near its structure, in reduced internal coordinates",
        "protein.protein",
        MOLECULES,
    ),
    "molecule": Entry(
        "any molecule: PDB, AMBER, GROMACS or CHARMM files, a System, a sequence",
        "molecule.molecule",
        MOLECULES,
    ),
}


def names() -> list[str]:
    return list(STUDIES)


def study(name: str) -> "Study[Any, Any]":
    """The study ``name``.

    Raises:
        ConfigError: no study of that name, or an optional package that it needs is not installed.
    """
    from jbg.interfaces import ConfigError  # loads JAX
    from jbg.runs.extras import require

    if name not in STUDIES:
        raise ConfigError(f"unknown system {name!r}: choose one of {', '.join(STUDIES)}")
    require(STUDIES[name].needs, name)
    return importlib.import_module(f"jbg.studies.{STUDIES[name].module}").STUDY
