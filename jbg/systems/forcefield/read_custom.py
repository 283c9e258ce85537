"""Custom forces that OpenMM writes for CHARMM, GROMACS and AMBER, recognised by their expressions."""

import re

import numpy as np
import openmm

from jbg.interfaces import ConfigError
from jbg.systems.forcefield.bonded import Impropers
from jbg.systems.forcefield.columns import by_atom, lennard_jones, plain, terms_of, unknown
from jbg.systems.forcefield.pairs import PairMatrices

# of charmm36.xml, of amoeba's way to wrap, of psf files, of top files; the digits of pi differ
IMPROPER, WRAPPED_IMPROPER = (
    "k*(theta-theta0)^2",
    "k*min(dtheta,2*pi-dtheta)^2;dtheta=abs(theta-theta0);pi=3.141592653589793",
)
HALF_IMPROPER = (
    "0.5*k*(thetap-theta0)^2;thetap=step(-(theta-theta0+pi))*2*pi+theta+step(theta-theta0-pi)*(-2*pi);"
    "pi=3.141592653589793"
)
TABULATED = "acoef(type1,type2)/r^12-bcoef(type1,type2)/r^6"
SQUARED = "(a/r6)^2-b/r6;r6=r^6;a=acoef(type1,type2);b=bcoef(type1,type2)"
GEOMETRIC = "A1*A2/r^12-C1*C2/r^6"
ONE_FOUR = "4*epsilon*((sigma/r)^12-(sigma/r)^6)"
POWERS = "-C/r^6+A/r^12"


def read_impropers(force: openmm.CustomTorsionForce, n: int) -> list[Impropers]:
    """Harmonic in the torsion, the shorter way around or not."""
    del n
    expression, pi = _plain_text(force), re.compile(r"pi=(3\.14\d+)")
    written = pi.search(expression)
    turn = 2 * float(written[1]) if written else 0.0
    expression = pi.sub("pi=3.141592653589793", expression)
    names = [force.getPerTorsionParameterName(i) for i in range(force.getNumPerTorsionParameters())]
    known = (IMPROPER, WRAPPED_IMPROPER, HALF_IMPROPER)
    if expression not in known or sorted(names) != ["k", "theta0"]:
        raise ConfigError(unknown(force, force.getEnergyFunction()))
    k, theta0 = names.index("k"), names.index("theta0")
    half = 0.5 if expression == HALF_IMPROPER else 1.0
    rows = [force.getTorsionParameters(i) for i in range(force.getNumTorsions())]
    rows = [(*row[:4], plain(row[4][theta0]), half * plain(row[4][k])) for row in rows]
    return [Impropers(*terms, turn=turn) for terms in terms_of(lambda *a: a, rows, 4)]


def read_lennard_jones(force: openmm.CustomNonbondedForce, n: int) -> list[PairMatrices]:
    """By a table of pairs of types, or by geometric means."""
    expression = _plain_text(force)
    names = [
        force.getPerParticleParameterName(i) for i in range(force.getNumPerParticleParameters())
    ]
    tabulated = expression in (TABULATED, SQUARED) and names == ["type"]
    geometric = expression == GEOMETRIC and sorted(names) == ["A", "C"]
    if not (tabulated or geometric) or force.getNumInteractionGroups():
        raise ConfigError(unknown(force, force.getEnergyFunction()))
    if force.getUseSwitchingFunction():
        raise ConfigError(unknown(force, "a switching function"))
    columns = by_atom(force, n)
    if geometric:
        a, c = (columns[names.index(name)] for name in ("A", "C"))
        twelve, six = a[:, None] * a, c[:, None] * c
    else:
        tables, kind = _tables(force), columns[0].astype(int)
        twelve, six = (tables[name][np.ix_(kind, kind)] for name in ("acoef", "bcoef"))
        twelve = twelve**2 if expression == SQUARED else twelve
    kept = 1.0 - np.eye(n)
    for i in range(force.getNumExclusions()):
        a, b = force.getExclusionParticles(i)
        kept[a, b] = kept[b, a] = 0
    return [PairMatrices(np.zeros((n, n)), kept * twelve, kept * six)]


def _tables(force: openmm.CustomNonbondedForce) -> dict[str, np.ndarray]:
    tables = {}
    for i in range(force.getNumTabulatedFunctions()):
        function = force.getTabulatedFunction(i)
        if not isinstance(function, openmm.Discrete2DFunction):
            raise ConfigError(unknown(force, type(function).__name__))
        n_x, n_y, values = function.getFunctionParameters()
        table = np.reshape(values, (n_y, n_x)).T
        if n_x != n_y or not np.array_equal(table, table.T):
            raise ConfigError(unknown(force, "a table that is not symmetric"))
        tables[force.getTabulatedFunctionName(i)] = table
    return tables


def read_pairs(force: openmm.CustomBondForce, n: int) -> list[PairMatrices]:
    """Lennard-Jones of listed pairs, as of atoms three bonds apart."""
    expression = _plain_text(force)
    names = [force.getPerBondParameterName(i) for i in range(force.getNumPerBondParameters())]
    powers = expression == POWERS and sorted(names) == ["A", "C"]
    if not powers and (expression != ONE_FOUR or names != ["sigma", "epsilon"]):
        raise ConfigError(unknown(force, force.getEnergyFunction()))
    total = [np.zeros((n, n)) for _ in range(3)]
    for i in range(force.getNumBonds()):
        a, b, row = force.getBondParameters(i)
        row = [plain(value) for value in row]
        found = [row[names.index(x)] for x in "AC"] if powers else lennard_jones(*row)
        for matrix, value in zip(total[1:], found, strict=True):
            matrix[a, b] += value
            matrix[b, a] += value
    return [PairMatrices(*total)]


def _plain_text(force) -> str:
    return force.getEnergyFunction().replace(" ", "").rstrip(";")
