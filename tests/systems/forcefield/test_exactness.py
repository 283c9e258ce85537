"""Every kind of force against OpenMM's Reference platform, in float64, near a minimum and far from it."""

import jax
import jax.numpy as jnp
import numpy as np
import openmm
import pytest

from jbg.systems.forcefield import compiled_potential
from jbg.systems.forcefield.read_custom import IMPROPER, WRAPPED_IMPROPER
from tests.molecules import peptide

DISTORTIONS = (0.0, 0.01, 0.1)  # nm
CASES = [
    ("ACE-ALA-NME", ("amber19/protein.ff19SB.xml", "implicit/gbn2.xml")),
    ("GYG", ("charmm36.xml", "implicit/obc1.xml")),
]


def single_force(system, index):
    part = openmm.System()
    for i in range(system.getNumParticles()):
        part.addParticle(system.getParticleMass(i))
    part.addForce(openmm.XmlSerializer.clone(system.getForce(index)))
    return part


def frames_of(sequence, forcefield, seed=0):
    rng, start = np.random.default_rng(seed), peptide(sequence, forcefield).positions
    return np.stack([start + s * rng.normal(size=start.shape) for s in DISTORTIONS])


def by_reference(system, frames):
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    energies, forces = [], []
    for frame in frames:
        context.setPositions(frame)
        state = context.getState(energy=True, forces=True)
        energies.append(state.getPotentialEnergy()._value)
        forces.append(state.getForces(asNumpy=True)._value)
    return np.array(energies), np.array(forces)


def compiled(system, frames, dtype=jnp.float64, **options):
    x = jnp.asarray(frames.reshape(len(frames), -1).T, dtype)
    energy, pull_back = jax.vjp(jax.jit(compiled_potential(system, **options)), x)
    (gradient,) = pull_back(jnp.ones_like(energy))
    return np.asarray(energy), -np.asarray(gradient).T.reshape(frames.shape)


def assert_same(found, expected, tolerance=1e-9):
    energy, force = found
    np.testing.assert_allclose(energy, expected[0], rtol=tolerance, atol=1e-7)
    for f, e in zip(force, expected[1], strict=True):
        assert np.linalg.norm(f - e) < tolerance * max(np.linalg.norm(e), 1e-3)


@pytest.mark.parametrize(("sequence", "forcefield"), CASES)
def test_each_force_is_that_of_openmm(sequence, forcefield, x64):
    system = openmm.XmlSerializer.deserialize(peptide(sequence, forcefield).system_xml)
    frames = frames_of(sequence, forcefield)
    for index in range(system.getNumForces()):
        part = single_force(system, index)
        assert_same(compiled(part, frames), by_reference(part, frames))


@pytest.mark.parametrize("solvent", ["hct", "obc1", "obc2", "gbn", "gbn2"])
@pytest.mark.parametrize("surface", ["ACE", None])
def test_each_implicit_solvent_as_openmm_writes_it(solvent, surface, x64):
    from openmm import app

    from jbg.systems.pdb_input import complete_molecule, load_forcefield
    from jbg.systems.peptide import peptide_pdb
    from jbg.systems.sequences import parse_sequence

    modeller = complete_molecule(peptide_pdb(parse_sequence("ACE-ALA-NME")), "test")
    system = load_forcefield(("amber14-all.xml", f"implicit/{solvent}.xml")).createSystem(
        modeller.topology, nonbondedMethod=app.NoCutoff, sasaMethod=surface, soluteDielectric=2.0
    )
    (index,) = (i for i, f in enumerate(system.getForces()) if "GB" in type(f).__name__)
    part = single_force(system, index)
    forcefield = ("amber14-all.xml", "implicit/obc2.xml")
    frames = frames_of("ACE-ALA-NME", forcefield)
    assert_same(compiled(part, frames), by_reference(part, frames))


def test_harmonic_impropers_wrapped_or_not(x64):
    """The two forms of CHARMM; they differ where phi and phi0 lie on either side of pi."""
    frames = np.random.default_rng(3).normal(size=(40, 4, 3))
    for expression in (IMPROPER, WRAPPED_IMPROPER):
        system, force = openmm.System(), openmm.CustomTorsionForce(expression)
        for _ in range(4):
            system.addParticle(1.0)
        force.addPerTorsionParameter("k")
        force.addPerTorsionParameter("theta0")
        force.addTorsion(0, 1, 2, 3, (500.0, 2.8))
        system.addForce(force)
        assert_same(compiled(system, frames), by_reference(system, frames))


def test_native_solvent_with_an_atom_inside_another(x64):
    """GBSAOBCForce has a term for it, the expressions have not: both as they are."""
    charges, radii, scales = (0.4, -0.3, 0.2), (0.17, 0.12, 0.25), (0.8, 0.85, 0.9)
    system, force = openmm.System(), openmm.GBSAOBCForce()
    for charge, radius, scale in zip(charges, radii, scales, strict=True):
        system.addParticle(1.0)
        force.addParticle(charge, radius, scale)
    system.addForce(force)
    frames = np.array([[[0, 0, 0], [0.02, 0, 0], [0.0, r, 0.01]] for r in (0.03, 0.1, 0.3)])
    assert_same(compiled(system, frames), by_reference(system, frames))


def test_float32_is_as_good_as_its_positions():
    sequence, forcefield = CASES[0]
    xml = peptide(sequence, forcefield).system_xml
    frames = frames_of(sequence, forcefield)[1:].astype(np.float32)
    system = openmm.XmlSerializer.deserialize(xml)
    parts = [single_force(system, i) for i in range(system.getNumForces())]
    energies, forces = zip(*(by_reference(p, frames.astype(float)) for p in parts), strict=True)
    energy, force = compiled(xml, frames, jnp.float32)
    assert energy.dtype == force.dtype == np.float32
    assert (np.abs(energy - sum(energies)) < 1e-5 * sum(np.abs(e) for e in energies)).all()
    apart = np.linalg.norm(force - sum(forces), axis=(1, 2))
    assert (apart < 5e-5 * np.linalg.norm(sum(forces), axis=(1, 2))).all()
