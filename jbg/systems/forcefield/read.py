"""An ``openmm.System`` as plain arrays: the parameters of every term, or an error that names what has no place."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import openmm

from jbg.interfaces import ConfigError
from jbg.systems.forcefield.bonded import Angles, Bonds, Impropers, Maps, Torsions
from jbg.systems.forcefield.born import BornModel
from jbg.systems.forcefield.maps import bicubic_patches
from jbg.systems.forcefield.pairs import PairMatrices
from jbg.systems.forcefield.read_born import COULOMB, plain, read_custom, read_native

IMPROPER, WRAPPED_IMPROPER = (
    "k*(theta-theta0)^2",
    "k*min(dtheta,2*pi-dtheta)^2;dtheta=abs(theta-theta0);pi=3.141592653589793",
)
TABULATED = "acoef(type1,type2)/r^12-bcoef(type1,type2)/r^6"
ONE_FOUR = "4*epsilon*((sigma/r)^12-(sigma/r)^6)"
WAY_OUT = "use the OpenMM callback (`openmm_potential`, --energies openmm)"


class Terms(NamedTuple):
    """What a compiled potential is made of; lists because a System may hold several forces of a kind."""

    n_atoms: int
    bonded: list[Any]
    pairs: PairMatrices | None
    born: list[BornModel]


def read_system(system: openmm.System, *, drop_constraints: bool = False) -> Terms:
    """The terms of a System without box, cut-off or virtual sites.

    Args:
        system: of HarmonicBond, HarmonicAngle, PeriodicTorsion, CMAPTorsion, Nonbonded and GBSAOBC forces, the
            custom forces of charmm36.xml and the CustomGBForces of implicit/*.xml; CMMotionRemover is ignored.
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
                f"{_named(force)} is periodic: create the System without a box, or {WAY_OUT}"
            )
        method = getattr(force, "getNonbondedMethod", int)()
        if method:
            raise ConfigError(
                f"{_named(force)} has a cut-off: create the System with nonbondedMethod=NoCutoff, or {WAY_OUT}"
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
    return _terms(Bonds, rows, 2)


def _angles(force: openmm.HarmonicAngleForce, n: int) -> list[Angles]:
    rows = [force.getAngleParameters(i) for i in range(force.getNumAngles())]
    return _terms(Angles, rows, 3)


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


def _impropers(force: openmm.CustomTorsionForce, n: int) -> list[Impropers]:
    expression = force.getEnergyFunction().replace(" ", "").rstrip(";")
    names = [force.getPerTorsionParameterName(i) for i in range(force.getNumPerTorsionParameters())]
    if expression not in (IMPROPER, WRAPPED_IMPROPER) or names != ["k", "theta0"]:
        raise ConfigError(_unknown(force, force.getEnergyFunction()))
    rows = [force.getTorsionParameters(i) for i in range(force.getNumTorsions())]
    rows = [(*row[:4], row[4][1], row[4][0]) for row in rows]
    return [
        Impropers(*terms, wrapped=expression == WRAPPED_IMPROPER)
        for terms in _terms(lambda *a: a, rows, 4)
    ]


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
        raise ConfigError(f"{_named(force)} has parameter offsets: {WAY_OUT}")
    if not force.getIncludeDirectSpace():
        raise ConfigError(f"{_named(force)} leaves out its direct space: {WAY_OUT}")
    charge, sigma, epsilon = _by_atom(force, n)
    charges = charge[:, None] * charge
    sigmas, epsilons = 0.5 * (sigma[:, None] + sigma), np.sqrt(epsilon[:, None] * epsilon)
    for i in range(force.getNumExceptions()):
        a, b, *row = force.getExceptionParameters(i)
        for matrix, value in zip((charges, sigmas, epsilons), row, strict=True):
            matrix[a, b] = matrix[b, a] = plain(value)
    return [_matrices(charges, sigmas, epsilons)]


def _tabulated(force: openmm.CustomNonbondedForce, n: int) -> list[PairMatrices]:
    """Lennard-Jones by a table of pairs of types, as charmm36.xml has it."""
    expression = force.getEnergyFunction().replace(" ", "").rstrip(";")
    names = [
        force.getPerParticleParameterName(i) for i in range(force.getNumPerParticleParameters())
    ]
    if expression != TABULATED or names != ["type"] or force.getNumInteractionGroups():
        raise ConfigError(_unknown(force, force.getEnergyFunction()))
    if force.getUseSwitchingFunction():
        raise ConfigError(_unknown(force, "a switching function"))
    kind = _by_atom(force, n)[0].astype(int)
    tables = {}
    for i in range(force.getNumTabulatedFunctions()):
        function = force.getTabulatedFunction(i)
        if not isinstance(function, openmm.Discrete2DFunction):
            raise ConfigError(_unknown(force, type(function).__name__))
        n_x, n_y, values = function.getFunctionParameters()
        table = np.reshape(values, (n_y, n_x)).T
        if n_x != n_y or not np.array_equal(table, table.T):
            raise ConfigError(_unknown(force, "a table that is not symmetric"))
        tables[force.getTabulatedFunctionName(i)] = table
    kept = 1.0 - np.eye(n)
    for i in range(force.getNumExclusions()):
        a, b = force.getExclusionParticles(i)
        kept[a, b] = kept[b, a] = 0
    of_pairs = [kept * tables[name][np.ix_(kind, kind)] for name in ("acoef", "bcoef")]
    return [PairMatrices(np.zeros((n, n)), *of_pairs)]


def _one_four(force: openmm.CustomBondForce, n: int) -> list[PairMatrices]:
    expression = force.getEnergyFunction().replace(" ", "").rstrip(";")
    names = [force.getPerBondParameterName(i) for i in range(force.getNumPerBondParameters())]
    if expression != ONE_FOUR or names != ["sigma", "epsilon"]:
        raise ConfigError(_unknown(force, force.getEnergyFunction()))
    total = [np.zeros((n, n)) for _ in range(3)]
    for i in range(force.getNumBonds()):
        a, b, (sigma, epsilon) = force.getBondParameters(i)
        for matrix, value in zip(total[1:], _lennard_jones(sigma, epsilon), strict=True):
            matrix[a, b] += value
            matrix[b, a] += value
    return [PairMatrices(*total)]


def _matrices(charges: np.ndarray, sigmas: np.ndarray, epsilons: np.ndarray) -> PairMatrices:
    found = (COULOMB * charges, *_lennard_jones(sigmas, epsilons))
    return PairMatrices(*(m * (1.0 - np.eye(len(m))) for m in found))


def _lennard_jones(sigma, epsilon) -> tuple:
    return 4 * epsilon * sigma**12, 4 * epsilon * sigma**6


def _terms(kind: Callable, rows: list, n_atoms: int) -> list:
    """``kind(atoms, parameters...)`` of the rows, none if there are none."""
    if not rows:
        return []
    columns = np.array([[plain(v) for v in row] for row in rows], float).T
    return [kind(columns[:n_atoms].T.astype(np.int32), *columns[n_atoms:])]


def _by_atom(force, n: int) -> np.ndarray:
    """Parameters as columns.

    Raises:
        ConfigError: a force that does not know all particles.
    """
    if force.getNumParticles() != n:
        raise ConfigError(
            f"{_named(force)} has parameters of {force.getNumParticles()} particles, the System has {n}"
        )
    rows = [force.getParticleParameters(i) for i in range(n)]
    return np.array([[plain(v) for v in row] for row in rows], float).T


def _named(force: openmm.Force) -> str:
    kind, name = type(force).__name__, force.getName()
    return kind if name == kind else f"{kind} {name!r}"


def _unknown(force: openmm.Force, what: str) -> str:
    return f"{_named(force)} cannot be compiled: unknown {what!r}: {WAY_OUT}"


READERS: dict[str, Callable] = {
    "HarmonicBondForce": _bonds,
    "HarmonicAngleForce": _angles,
    "PeriodicTorsionForce": _torsions,
    "CMAPTorsionForce": _maps,
    "CustomTorsionForce": _impropers,
    "NonbondedForce": _nonbonded,
    "CustomNonbondedForce": _tabulated,
    "CustomBondForce": _one_four,
    "GBSAOBCForce": lambda force, n: [read_native(force)],
    "CustomGBForce": lambda force, n: [read_custom(force)],
    "CMMotionRemover": lambda force, n: [],
}
