"""The molecule of a run as its folder keeps it, and what is made of it: topology, potential, symmetric rotors."""

import itertools
import json
from typing import Any

import numpy as np

from jbg.coords import rotor_candidates
from jbg.interfaces import Topology
from jbg.runs import Run
from jbg.studies.molecule.data import is_compiled

MOLECULE, PDB = "data/molecule.npz", "data/molecule.pdb"


def stored_molecule(run: Run, build) -> dict[str, np.ndarray]:
    """The molecule as arrays, built once and then read back, so that resuming does not build it anew."""
    if not (run.path / MOLECULE).exists():
        molecule = build(run.config["options"])
        run.write_text(PDB, molecule.pdb)
        run.save_arrays(
            MOLECULE,
            name=molecule.name,
            system_xml=molecule.system_xml,
            positions=molecule.positions,
            masses=molecule.masses,
            description=json.dumps(molecule.description),
            topology=json.dumps(
                {**molecule.topology._asdict(), "bonds": molecule.topology.bonds.tolist()}
            ),
        )
    return run.load_arrays(MOLECULE)


def description(run: Run) -> dict[str, Any] | None:
    """What the molecule of a run is; None where the run was begun before it was kept."""
    kept = run.load_arrays(MOLECULE).get("description")
    return None if kept is None else json.loads(str(kept))


def topology_of(stored: dict[str, np.ndarray]) -> Topology:
    fields = json.loads(str(stored["topology"]))
    bonds = np.array(fields.pop("bonds"), int).reshape(-1, 2)
    return Topology(**{k: tuple(v) for k, v in fields.items()}, bonds=bonds)


def potential_of(run: Run, stored: dict[str, np.ndarray]):
    """The potential of training and sampling: compiled, or OpenMM's contexts as a timing chose at first."""
    from jbg.systems.forcefield import compiled_potential
    from jbg.systems.openmm_callback import openmm_potential
    from jbg.systems.openmm_pool import default_platform
    from jbg.systems.openmm_probe import open_pool, probe

    xml = str(stored["system_xml"])
    if is_compiled(run.config):
        return compiled_potential(xml)
    choice = run.manifest().get("openmm")
    if choice is None:
        # the platform decides the bits of every energy, so the molecule decides the platform; timing only
        # chooses the workers, which no result depends on
        platform = default_platform(len(stored["positions"]))
        choice = probe(xml, stored["positions"], platforms=(platform,))
        run.note(openmm=choice)
    return openmm_potential(open_pool(xml, choice))


def symmetric_rotors(stored: dict[str, np.ndarray], zmatrix) -> tuple[tuple[int, ...], ...]:
    """Groups of atoms turning about one bond that the force field cannot tell apart."""
    from jbg.systems.exchange_symmetry import exchangeable
    from jbg.systems.openmm_pool import ContextPool

    with ContextPool(str(stored["system_xml"]), platform="Reference") as pool:
        return tuple(
            group
            for group in rotor_candidates(topology_of(stored), zmatrix)
            if all(
                exchangeable(pool.energies, stored["positions"], i, j)
                for i, j in itertools.pairwise(group)
            )
        )
