"""The molecule of a run as its folder keeps it, and which of its atoms the force field cannot tell apart."""

import itertools
import json
from typing import Any, NamedTuple, Protocol

import numpy as np

from jbg.coords import ZMatrix, rotor_candidates
from jbg.interfaces import Topology
from jbg.runs import Run
from jbg.studies.molecule.build import Chosen, build
from jbg.studies.molecule.files import MOLECULE, PDB
from jbg.systems.description_rows import rows
from jbg.systems.exchange_symmetry import exchangeable
from jbg.systems.openmm_pool import ContextPool


class StoredMolecule(NamedTuple):
    """The data of a molecule that later stages need; ``description`` is from `systems.description.describe`."""

    name: str
    system_xml: str
    positions: np.ndarray  # (atoms, 3) nm, minimised
    masses: np.ndarray  # (atoms,) dalton
    topology: Topology
    description: dict[str, Any]


class Built(Protocol):
    """What a molecule has: `systems.molecule.Molecule`, or that which a run keeps."""

    @property
    def name(self) -> str: ...

    @property
    def system_xml(self) -> str: ...

    @property
    def positions(self) -> np.ndarray: ...  # (atoms, 3) nm

    @property
    def topology(self) -> Topology: ...


def store_molecule(run: Run, options: Chosen) -> StoredMolecule:
    """The molecule of a run, built once and then read back, so that resuming does not build it again."""
    if not (run.path / MOLECULE).exists():
        molecule = build(options)
        topology = molecule.topology._asdict() | {"bonds": molecule.topology.bonds.tolist()}
        run.write_text(PDB, molecule.pdb)
        run.save_arrays(
            MOLECULE,
            name=molecule.name,
            system_xml=molecule.system_xml,
            positions=molecule.positions,
            masses=molecule.masses,
            description=json.dumps(molecule.description),
            topology=json.dumps(topology),
        )
    return load_molecule(run)


def load_molecule(run: Run) -> StoredMolecule:
    """The molecule that a run keeps.

    Raises:
        ConfigError: missing or damaged.
    """
    kept = run.load_arrays(MOLECULE)
    fields = json.loads(str(kept["topology"]))
    bonds = np.array(fields.pop("bonds"), int).reshape(-1, 2)
    return StoredMolecule(
        name=str(kept["name"]),
        system_xml=str(kept["system_xml"]),
        positions=kept["positions"],
        masses=kept["masses"],
        topology=Topology(**{k: tuple(v) for k, v in fields.items()}, bonds=bonds),
        description=json.loads(str(kept["description"])),
    )


def describe(options: Chosen, run: Run | None) -> list[tuple[str, str]]:
    """(what, which): the molecule of the options, or that which ``run`` began with."""
    if run is not None and (run.path / MOLECULE).exists():
        return rows(load_molecule(run).description)
    return rows(build(options).description)


def topology(options: Chosen, run: Run | None) -> Topology:
    """The topology of the options' molecule, or of that which ``run`` began with."""
    if run is not None and (run.path / MOLECULE).exists():
        return load_molecule(run).topology
    return build(options).topology


def symmetric_rotors(molecule: Built, zmatrix: ZMatrix) -> tuple[tuple[int, ...], ...]:
    """Groups of atoms turning about one bond that the force field cannot tell apart."""
    with ContextPool(molecule.system_xml, platform="Reference") as pool:
        return tuple(
            group
            for group in rotor_candidates(molecule.topology, zmatrix)
            if all(
                exchangeable(pool.energies, molecule.positions, i, j)
                for i, j in itertools.pairwise(group)
            )
        )
