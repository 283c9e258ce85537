"""An ``openmm.System`` as plain arrays: the parameters of every term, or an error that names what has no place."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import openmm

from jbg.interfaces import ConfigError
from jbg.systems.forcefield.bonded import Angles, Bonds, Maps, Torsions
from jbg.systems.forcefield.born import BornModel
from jbg.systems.forcefield.columns import (
    WAY_OUT,
    by_atom,
    lennard_jones,
    named,
    plain,
    terms_of,
)
from jbg.systems.forcefield.maps import bicubic_patches
from jbg.systems.forcefield.pairs import PairMatrices
from jbg.systems.forcefield.read_born import COULOMB, read_custom, read_native
from jbg.systems.forcefield.read_custom import read_impropers, read_lennard_jones, read_pairs


class Terms(NamedTuple):
    """What a compiled potential is made of; lists because a System may hold several forces of a kind."""

    n_atoms: int
    bonded: list[Any]
    pairs: PairMatrices | None
    born: list[BornModel]


def read_system(system: openmm.System, *, drop_constraints: bool = False) -> Terms:
    """The terms of a System without box, cut-off or virtual sites.

    Args:
        system: of HarmonicBond, HarmonicAngle, PeriodicTorsion, RBTorsion, CMAPTorsion, Nonbonded and GBSAOBC
            forces, the custom forces of charmm36.xml and of OpenMM's readers of CHARMM's and GROMACS's files, and
            the CustomGBForces of implicit/*.xml; CMMotionRemover is ignored.
        drop_constraints: whether constrained distances are left free, with whatever forces act on them.

    Raises:
        ConfigError: anything else, by name and with the way out.
    """
    if system.getNumParticles() == 0:
        raise ConfigError("the System has no particles")
    if system.getNumConstraints() and not drop_constraints:
        raise ConfigError(
            f"the System constrains {system.getNumConstraints()} distances, and a compiled potential has no"
            " constraints: create it with constraints=None and rigidWater=False, or pass drop_constraints=True"
            " to leave those distances to their bonds"
        )
    sites = [i for i in range(system.getNumParticles()) if system.isVirtualSite(i)]
    if sites:
        raise ConfigError(
            f"particle {sites[0]} is a virtual site, which has no energy of its own: {WAY_OUT}"
        )
    n = system.getNumParticles()
    for force in system.getForces():
        if type(force).__name__ not in READERS:
            raise ConfigError(f"{type(force).__name__} cannot be compiled: {WAY_OUT}")
        if force.usesPeriodicBoundaryConditions():
            raise ConfigError(
                f"{named(force)} is periodic: create the System without a box, or {WAY_OUT}"
            )
        method = getattr(force, "getNonbondedMethod", int)()
        if method:
            raise ConfigError(
                f"{named(force)} has a cut-off: create the System with nonbondedMethod=NoCutoff, or {WAY_OUT}"
            )
    _check_with_openmm(system)
    bonded, born, matrices = [], [], []
    for force in system.getForces():
        for term in READERS[type(force).__name__](force, n):
            kind = {PairMatrices: matrices, BornModel: born}.get(type(term), bonded)
            kind.append(term)
    pairs = None
    if matrices:
        total = (sum(of_forces, np.zeros((n, n))) for of_forces in zip(*matrices, strict=True))
        pairs = PairMatrices(*total)
    return Terms(n, bonded, pairs, born)


def _check_with_openmm(system: openmm.System) -> None:
    """What OpenMM refuses is refused: periodicities below 1, negative radii, forces that miss particles."""
    try:
        platform = openmm.Platform.getPlatformByName("Reference")
        openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    except openmm.OpenMMException as error:
        message = str(error).strip().splitlines()[0]
        raise ConfigError(f"OpenMM refuses the System: {message}") from error


def _bonds(force: openmm.HarmonicBondForce, n: int) -> list[Bonds]:
    rows = [force.getBondParameters(i) for i in range(force.getNumBonds())]
    return terms_of(Bonds, rows, 2)


def _angles(force: openmm.HarmonicAngleForce, n: int) -> list[Angles]:
    rows = [force.getAngleParameters(i) for i in range(force.getNumAngles())]
    return terms_of(Angles, rows, 3)


def _torsions(force: openmm.PeriodicTorsionForce, n: int) -> list[Torsions]:
    """k (1 + cos(n phi - phi0)) = k + k cos(phi0) cos(n phi) + k sin(phi0) sin(n phi)."""
    rows = [force.getTorsionParameters(i) for i in range(force.getNumTorsions())]
    rows = [[*row[:5], plain(row[5]), plain(row[6])] for row in rows if plain(row[6])]
    if not rows:
        return []
    atoms = sorted({tuple(row[:4]) for row in rows})
    at = {quadruple: i for i, quadruple in enumerate(atoms)}
    cosine, sine = np.zeros((2, max(row[4] for row in rows), len(atoms)))
    for *quadruple, order, phase, k in rows:
        cosine[order - 1, at[tuple(quadruple)]] += k * np.cos(phase)
        sine[order - 1, at[tuple(quadruple)]] += k * np.sin(phase)
    return [Torsions(np.array(atoms, np.int32), float(sum(row[6] for row in rows)), cosine, sine)]


def _ryckaert_bellemans(force: openmm.RBTorsionForce, n: int) -> list[Torsions]:
    """Powers of cos(phi - pi) as cosines of multiples of phi."""
    del n
    rows = [force.getTorsionParameters(i) for i in range(force.getNumTorsions())]
    if not rows:
        return []
    powers = np.array([[plain(c) for c in row[4:]] for row in rows], float)
    powers = powers * (-1.0) ** np.arange(powers.shape[1])
    of_multiples = np.zeros_like(powers)
    for row, each in zip(of_multiples, powers, strict=True):
        found = np.polynomial.chebyshev.poly2cheb(each)
        row[: len(found)] = found
    atoms = np.array([row[:4] for row in rows], np.int32)
    cosine = of_multiples[:, 1:].T
    return [Torsions(atoms, float(of_multiples[:, 0].sum()), cosine, np.zeros_like(cosine))]


def _maps(force: openmm.CMAPTorsionForce, n: int) -> list[Maps]:
    """One term for each size of map."""
    found = [force.getMapParameters(i) for i in range(force.getNumMaps())]
    rows = [force.getTorsionParameters(i) for i in range(force.getNumTorsions())]
    terms = []
    for size in sorted({found[row[0]][0] for row in rows}):
        of_size = [i for i, (s, _) in enumerate(found) if s == size]
        energies = [np.reshape([plain(v) for v in found[i][1]], (size, size)).T for i in of_size]
        mine = [row for row in rows if row[0] in of_size]
        terms.append(
            Maps(
                np.array([row[1:] for row in mine], np.int32),
                np.array([of_size.index(row[0]) for row in mine]),
                np.stack([bicubic_patches(e) for e in energies]),
            )
        )
    return terms


def _nonbonded(force: openmm.NonbondedForce, n: int) -> list[PairMatrices]:
    """Lorentz-Berthelot pairs; exceptions, excluded or 1-4, replace theirs."""
    if force.getNumGlobalParameters():
        raise ConfigError(f"{named(force)} has parameter offsets: {WAY_OUT}")
    if not force.getIncludeDirectSpace():
        raise ConfigError(f"{named(force)} leaves out its direct space: {WAY_OUT}")
    charge, sigma, epsilon = by_atom(force, n)
    charges = charge[:, None] * charge
    sigmas, epsilons = 0.5 * (sigma[:, None] + sigma), np.sqrt(epsilon[:, None] * epsilon)
    for i in range(force.getNumExceptions()):
        a, b, *row = force.getExceptionParameters(i)
        for matrix, value in zip((charges, sigmas, epsilons), row, strict=True):
            matrix[a, b] = matrix[b, a] = plain(value)
    found = (COULOMB * charges, *lennard_jones(sigmas, epsilons))
    return [PairMatrices(*(m * (1.0 - np.eye(n)) for m in found))]


READERS: dict[str, Callable] = {
    "HarmonicBondForce": _bonds,
    "HarmonicAngleForce": _angles,
    "PeriodicTorsionForce": _torsions,
    "CMAPTorsionForce": _maps,
    "RBTorsionForce": _ryckaert_bellemans,
    "CustomTorsionForce": read_impropers,
    "NonbondedForce": _nonbonded,
    "CustomNonbondedForce": read_lennard_jones,
    "CustomBondForce": read_pairs,
    "GBSAOBCForce": lambda force, n: [read_native(force)],
    "CustomGBForce": lambda force, n: [read_custom(force)],
    "CMMotionRemover": lambda force, n: [],
}
