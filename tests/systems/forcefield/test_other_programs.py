"""Forces that OpenMM writes for files of GROMACS, CHARMM and AMBER, against its Reference platform."""

import numpy as np
import openmm
import pytest

from tests.systems.forcefield.test_exactness import assert_same, by_reference, compiled

pytestmark = pytest.mark.openmm
N = 6
FRAMES = np.random.default_rng(0).uniform(0.0, 0.6, (40, N, 3))
KEPT = FRAMES[
    [np.linalg.norm(f[:, None] - f, axis=-1)[np.triu_indices(N, 1)].min() > 0.12 for f in FRAMES]
]


def _ryckaert_bellemans():
    force = openmm.RBTorsionForce()
    force.addTorsion(0, 1, 2, 3, 9.28, 12.16, -13.12, -3.06, 26.24, -31.5)
    force.addTorsion(1, 2, 3, 4, 1.0, -2.0, 0.0, 0.0, 0.0, 0.0)
    return force


def _improper(text, order):
    force = openmm.CustomTorsionForce(text)
    for name in order:
        force.addPerTorsionParameter(name)
    values = {"theta0": 2.8, "k": 30.0}
    force.addTorsion(0, 1, 2, 3, [values[name] for name in order])
    return force


def _geometric():
    force = openmm.CustomNonbondedForce("A1*A2/r^12-C1*C2/r^6")
    for name in ("C", "A"):
        force.addPerParticleParameter(name)
    for i in range(N):
        force.addParticle([0.04 + 0.01 * i, 1e-3 + 1e-4 * i])
    force.addExclusion(0, 1)
    return force


def _squared():
    text = "(a/r6)^2-b/r6; r6=r^6;a=acoef(type1, type2);b=bcoef(type1, type2)"
    force = openmm.CustomNonbondedForce(text)
    force.addPerParticleParameter("type")
    force.addTabulatedFunction("acoef", openmm.Discrete2DFunction(2, 2, [1e-3, 2e-3, 2e-3, 3e-3]))
    force.addTabulatedFunction("bcoef", openmm.Discrete2DFunction(2, 2, [3e-3, 1e-3, 1e-3, 2e-3]))
    for i in range(N):
        force.addParticle([i % 2])
    force.addExclusion(2, 4)
    return force


def _powers():
    force = openmm.CustomBondForce("-C/r^6+A/r^12")
    for name in ("C", "A"):
        force.addPerBondParameter(name)
    force.addBond(0, 3, [1.5e-3, 1.2e-6])
    return force


OF_CHARMM = "k*min(dtheta, 2*pi-dtheta)^2; dtheta = abs(theta-theta0);pi = 3.141593;"
OF_GROMACS = (
    "0.5*k*(thetap-theta0)^2; thetap = step(-(theta-theta0+pi))*2*pi+theta+step(theta-theta0-pi)*(-2*pi); "
    "pi = 3.14159265358979"
)


@pytest.mark.parametrize(
    "force",
    [
        _ryckaert_bellemans(),
        _improper(OF_CHARMM, ("k", "theta0")),
        _improper(OF_GROMACS, ("theta0", "k")),
        _geometric(),
        _squared(),
        _powers(),
    ],
    ids=["ryckaert-bellemans", "charmm", "gromacs", "geometric", "nbfix", "pairs"],
)
def test_the_force_is_that_of_openmm(force, x64):
    system = openmm.System()
    for _ in range(N):
        system.addParticle(12.0)
    system.addForce(force)
    assert len(KEPT) >= 5
    assert_same(compiled(system, KEPT), by_reference(system, KEPT))
