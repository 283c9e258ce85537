"""Implicit solvents of OpenMM recognised: GBSAOBCForce, and the CustomGBForces of ``implicit/*.xml``."""

import functools
import math
import re
from xml.etree import ElementTree

import numpy as np
import openmm
from openmm import app
from openmm.app.internal import customgbforces

from jbg.interfaces import ConfigError
from jbg.systems.forcefield.born import BornModel, Neck
from jbg.systems.forcefield.columns import WAY_OUT, plain

COULOMB = 138.93545764438198  # kJ/mol nm / e^2, of NonbondedForce and GBSAOBCForce
COULOMB_OF_CUSTOM = 138.935485  # of the expressions
DIELECTRIC = r"(solute|solvent)Dielectric=([^;]*)"
OFFSET = 0.009  # nm, but for GBn2
OFFSET_OF_GBN2 = 0.0195141
SURFACE = 28.3919551  # kJ/mol/nm^2, of the expressions
NECK_CUT = 0.68  # nm
TANH = {
    "obc1": (0.8, 0.0, 2.909125),
    "obc2": (1.0, 0.8, 4.85),
    "gbn": (1.09511284, 1.907992938, 2.50798245),
}
NECK_SCALE = {"gbn": 0.361825, "gbn2": 0.826836}
BUILDERS = {
    "hct": customgbforces.GBSAHCTForce,
    "obc1": customgbforces.GBSAOBC1Force,
    "obc2": customgbforces.GBSAOBC2Force,
    "gbn": customgbforces.GBSAGBnForce,
    "gbn2": customgbforces.GBSAGBn2Force,
}


def read_native(force: openmm.GBSAOBCForce) -> BornModel:
    """OBC2 as OpenMM has it built in."""
    charge, radius, scale = _columns(force)
    epsilon = 1 / force.getSoluteDielectric() - 1 / force.getSolventDielectric()
    return BornModel(
        charge=charge,
        radius=radius,
        reduced=radius - OFFSET,
        scaled=scale * (radius - OFFSET),
        tanh=np.repeat([[1.0], [0.8], [4.85]], len(charge), axis=1),
        neck=None,
        coulomb=COULOMB * epsilon,
        surface=4 * math.pi * plain(force.getSurfaceAreaEnergy()),
        engulfed=True,
    )


def read_custom(force: openmm.CustomGBForce) -> BornModel:
    """The model that the expressions of a CustomGBForce spell.

    Raises:
        ConfigError: expressions other than those OpenMM writes for HCT, OBC1, OBC2, GBn and GBn2 without salt.
    """
    found = recognised(force)
    if found is None:
        raise ConfigError(
            "CustomGBForce: not one of the implicit solvents hct, obc1, obc2, gbn, gbn2 as OpenMM writes them"
            f" (without salt): {WAY_OUT}"
        )
    name, surface, epsilon = found
    charge, reduced, scaled, *rest = _columns(force)
    offset = OFFSET_OF_GBN2 if name == "gbn2" else OFFSET
    tanh = None
    if name != "hct":
        tanh = np.array(rest[:3]) if name == "gbn2" else _same(TANH[name], len(charge))
    return BornModel(
        charge=charge,
        radius=reduced + offset,
        reduced=reduced,
        scaled=scaled,
        tanh=tanh,
        neck=_read_neck(force, rest[-1], reduced + offset, name) if name in NECK_SCALE else None,
        coulomb=COULOMB_OF_CUSTOM * epsilon,
        surface=SURFACE if surface else 0.0,
        engulfed=False,
    )


def _same(values: tuple[float, ...], n: int) -> np.ndarray:
    return np.repeat(np.array(values)[:, None], n, axis=1)


def _columns(force) -> np.ndarray:
    """Parameters by atom as columns, units dropped."""
    rows = [force.getParticleParameters(i) for i in range(force.getNumParticles())]
    return np.array([[plain(v) for v in row] for row in rows], float).T


def _read_neck(force, index: np.ndarray, radius: np.ndarray, name: str) -> Neck:
    tables = {}
    for i in range(force.getNumTabulatedFunctions()):
        n_x, n_y, values = force.getTabulatedFunction(i).getFunctionParameters()
        tables[force.getTabulatedFunctionName(i)] = np.reshape(values, (n_y, n_x)).T
    pairs = np.ix_(*2 * [index.astype(int)])
    return Neck(
        distance=tables["getd0"][pairs],
        height=NECK_SCALE[name] * tables["getm0"][pairs],
        reach=radius[:, None] + radius + NECK_CUT,
    )


def recognised(force: openmm.CustomGBForce) -> tuple[str, bool, float] | None:
    """(model, whether it has the surface term, 1/eps_in - 1/eps_out) of an implicit solvent as OpenMM writes it;
    None of any other."""
    signature, dielectrics = _signature(force)
    if force.getNumExclusions():
        return None
    for name, surface in ((name, surface) for name in BUILDERS for surface in (True, False)):
        if signature == _reference(name, surface):
            inside, outside = dielectrics
            return None if math.isnan(inside) else (name, surface, 1 / inside - 1 / outside)
    return None


@functools.cache
def _reference(name: str, surface: bool) -> tuple:  # noqa: FBT001
    """The signature of the force that OpenMM builds, for one atom: tables and terms are written when atoms are."""
    built = BUILDERS[name](SA="ACE" if surface else None)
    topology = app.Topology()
    atom_parameters = built.getStandardParameters(_one_carbon(topology))
    built.addParticles([[0.0, *row] for row in atom_parameters])
    built.finalize()
    return _signature(built)[0]


def _one_carbon(topology: app.Topology) -> app.Topology:
    residue = topology.addResidue("X", topology.addChain())
    topology.addAtom("C", app.Element.getBySymbol("C"), residue)
    return topology


def _signature(force: openmm.CustomGBForce) -> tuple[tuple, tuple[float, float]]:
    """Everything that defines the model, less atoms, tables' values and dielectric constants; and these."""
    root = ElementTree.fromstring(openmm.XmlSerializer.serialize(force))
    read = lambda path: tuple(tuple(sorted(item.attrib.items())) for item in root.findall(path))
    terms = [item.get("expression", "") for item in root.findall("EnergyTerms/Term")]
    constants = {tuple(re.findall(DIELECTRIC, term)) for term in terms}
    named = dict(next(iter(constants))) if len(constants) == 1 else {}  # the same in every term
    inside, outside = (float(named.get(name, "nan")) for name in ("solute", "solvent"))
    return (
        read("PerParticleParameters/Parameter"),
        read("GlobalParameters/Parameter"),
        read("ComputedValues/Value"),
        tuple(item.get("type") for item in root.findall("EnergyTerms/Term")),
        tuple(re.sub(DIELECTRIC, "", term) for term in terms),
        tuple(item.get("name") for item in root.findall("Functions/Function")),
    ), (inside, outside)
