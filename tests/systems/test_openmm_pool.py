"""The pool gives OpenMM's numbers, whatever the workers; leapfrog is velocity Verlet."""

import subprocess
import sys
import threading

import numpy as np
import openmm
import pytest

from jbg.systems.exchange_symmetry import exchangeable
from jbg.systems.openmm_pool import ContextPool

pytestmark = pytest.mark.openmm


@pytest.fixture(scope="module")
def molecule(alanine_dipeptide):
    return alanine_dipeptide


@pytest.fixture(scope="module")
def frames(molecule):
    rng = np.random.default_rng(0)
    return molecule.positions + 0.005 * rng.normal(size=(13, 22, 3))


@pytest.fixture(scope="module")
def pool(molecule):
    with ContextPool(molecule.system_xml, platform="Reference", n_workers=2) as pool:
        yield pool


def direct(molecule, frame):
    context = openmm.Context(
        openmm.XmlSerializer.deserialize(molecule.system_xml),
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    context.setPositions(frame)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def test_energies_and_forces_are_those_of_openmm(molecule, frames, pool):
    energy, force = pool.energies_and_forces(frames)
    np.testing.assert_array_equal(pool.energies(frames), energy)
    for i, frame in enumerate(frames):
        expected_energy, expected_force = direct(molecule, frame)
        assert energy[i] == expected_energy
        np.testing.assert_array_equal(force[i], expected_force)


def test_forces_are_minus_the_slope_of_the_energy(frames, pool):
    x, step = frames[:1], 1e-5
    _, force = pool.energies_and_forces(x)
    shifts = step * np.eye(66).reshape(66, 22, 3)
    slope = (pool.energies(x + shifts) - pool.energies(x - shifts)) / (2 * step)
    np.testing.assert_allclose(force.ravel(), -slope, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def test_results_do_not_depend_on_workers_or_history(molecule, frames, platform):
    rng = np.random.default_rng(1)
    v = rng.normal(size=frames.shape)
    results = []
    for n_workers in (1, 3):
        with ContextPool(molecule.system_xml, platform=platform, n_workers=n_workers) as pool:
            pool.energies(frames[::-1])
            _, f = pool.energies_and_forces(frames)
            results.append(pool.leapfrog(frames, v, f, 0.001, 7))
            results.append(pool.leapfrog(frames, v, f, 0.001, 7))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_leapfrog_is_velocity_verlet_with_the_masses_given(molecule, frames):
    masses = np.linspace(2, 12, 22)
    dt = 0.0005
    v = np.random.default_rng(2).normal(size=frames.shape)
    with ContextPool(molecule.system_xml, platform="Reference", masses=masses) as pool:
        _, f = pool.energies_and_forces(frames)
        got = pool.leapfrog(frames, v, f, dt, 5)
        x, m = frames, masses[:, None]
        for _ in range(5):
            v = v + 0.5 * dt * f / m
            x = x + dt * v
            energy, f = pool.energies_and_forces(x)
            v = v + 0.5 * dt * f / m
    for a, b in zip(got, (x, v, energy, f), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-7)


def test_bad_geometry_gives_nan_only_where_it_is(frames, pool):
    bad = frames.copy()
    bad[1] = np.nan
    bad[2, 0] = np.inf
    bad[3] = 0.0
    good = np.ones(len(frames), bool)
    good[1:4] = False
    energy, force = pool.energies_and_forces(bad)
    assert not np.isfinite(energy[~good]).any()
    expected_energy, expected_force = pool.energies_and_forces(frames)
    np.testing.assert_array_equal(energy[good], expected_energy[good])
    np.testing.assert_array_equal(force[good], expected_force[good])
    x, _, energy, _ = pool.leapfrog(bad, 0 * frames, 0 * frames, 0.001, 3)
    assert not np.isfinite(energy[~good]).any()
    assert np.isfinite(x[good]).all()
    assert pool.energies(frames[:0]).shape == (0,)


def test_wrong_arguments_are_refused(molecule, frames, pool):
    with pytest.raises(ValueError, match="expected shape"):
        pool.energies(frames[:, :21])
    with pytest.raises(ValueError, match="no platform 'GPU'"):
        ContextPool(molecule.system_xml, platform="GPU")
    with pytest.raises(ValueError, match="n_workers"):
        ContextPool(molecule.system_xml, n_workers=0)
    with pytest.raises(ValueError, match="masses"):
        ContextPool(molecule.system_xml, masses=np.zeros(22))


def test_closing_leaves_no_threads(molecule, frames):
    with ContextPool(molecule.system_xml, n_workers=3) as pool:
        pool.energies(frames)
        assert any(t.name.startswith("jbg-openmm") for t in threading.enumerate())
        mine = list(pool._threads._threads)
    assert not any(thread.is_alive() for thread in mine)


def test_a_process_that_forgets_to_close_still_ends(tmp_path, molecule):
    (tmp_path / "system.xml").write_text(molecule.system_xml)
    np.save(tmp_path / "x.npy", molecule.positions)
    code = (
        "import numpy as np; from jbg.systems.openmm_pool import ContextPool;"
        "pool = ContextPool(open('system.xml').read());"
        "assert np.isfinite(pool.energies(np.load('x.npy')[None])).all()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=30)


def test_atoms_that_may_be_swapped_are_found(molecule, pool):
    names = molecule.topology.atom_names
    hb1, hb2, ha, hn = (names.index(name) for name in ("HB1", "HB2", "HA", "H"))
    assert exchangeable(pool.energies, molecule.positions, hb1, hb2)
    assert not exchangeable(pool.energies, molecule.positions, hb1, ha)
    assert not exchangeable(pool.energies, molecule.positions, hn, ha)
