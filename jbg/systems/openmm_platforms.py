"""How fast each OpenMM platform of this installation is, on a small molecule."""

import time
from typing import NamedTuple

import openmm

from jbg.systems.molecule import Molecule, molecule_from_sequence
from jbg.systems.openmm_pool import ContextPool, available_platforms

TOLERANCE = 1e-3  # of the force of the Reference platform, relative; single precision gives 1e-5


class PlatformTiming(NamedTuple):
    """One platform: evaluations of energy and forces per second, or why there are none."""

    name: str
    evaluations_per_second: float | None
    problem: str | None = None


def time_platforms(*, seconds: float = 1.0) -> list[PlatformTiming]:
    """Each platform for about ``seconds``, one Context, alanine dipeptide in implicit solvent.

    A platform that fails (a GPU driver that is not there) is reported with its message, and so is
    one whose energy differs from the Reference platform's.
    """
    molecule = molecule_from_sequence("ACE-ALA-NME")
    with ContextPool(molecule.system_xml, platform="Reference", n_workers=1) as pool:
        expected = float(pool.energies(molecule.positions[None])[0])
    return [_time_one(molecule, name, expected, seconds) for name in available_platforms()]


def _time_one(molecule: Molecule, name: str, expected: float, seconds: float) -> PlatformTiming:
    x = molecule.positions[None]
    try:
        with ContextPool(molecule.system_xml, platform=name, n_workers=1) as pool:
            energy = float(pool.energies_and_forces(x)[0][0])
            start, n_done = time.perf_counter(), 0
            while (elapsed := time.perf_counter() - start) < seconds:
                pool.energies_and_forces(x)
                n_done += 1
    except (openmm.OpenMMException, RuntimeError, ValueError) as error:
        return PlatformTiming(name, None, str(error).strip().splitlines()[0])
    if not abs(energy - expected) <= TOLERANCE * max(1.0, abs(expected)):
        return PlatformTiming(name, None, f"energy {energy:.4f}, Reference {expected:.4f} kJ/mol")
    return PlatformTiming(name, n_done / elapsed)
