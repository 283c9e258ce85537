"""Harmonic frames: the right torsions are soft, vibrations have the right width, energies are low."""

import jax.numpy as jnp
import numpy as np
import pytest

from jbg.coords import (
    backbone_torsions,
    build_zmatrix,
    coordinates_from_fit,
    fit_coordinates,
    torsions_of,
)
from jbg.simulation import harmonic
from jbg.simulation.harmonic import _reached, harmonic_frames
from jbg.simulation.torsion_rotation import rotatable_bonds
from jbg.systems.forcefield import compiled_potential
from jbg.units import K_B

TEMPERATURE, N = 300.0, 300


@pytest.fixture(scope="module")
def alanine(alanine_dipeptide):
    return alanine_dipeptide


@pytest.fixture(scope="module")
def found(alanine):
    potential = compiled_potential(alanine.system_xml)
    zmatrix = build_zmatrix(alanine.topology, alanine.positions)
    bonds = rotatable_bonds(alanine.topology)
    few = pytest.MonkeyPatch()
    few.setattr(harmonic, "BACKGROUNDS", 2)  # conformations of a scan: enough for a dipeptide
    few.setattr(harmonic, "PIECE", 2 * harmonic.SCAN)
    frames = harmonic_frames(
        potential, zmatrix, alanine.positions, bonds, temperature=TEMPERATURE, n=N, seed=1
    )
    few.undo()
    return zmatrix, frames


def test_energies_are_those_of_the_frames_and_a_harmonic_ensemble_s(alanine, found):
    _, (frames, energies, evaluations) = found
    potential = compiled_potential(alanine.system_xml)
    x = jnp.asarray(frames.reshape(len(frames), -1).T, jnp.float32)
    np.testing.assert_allclose(energies, potential(x), atol=0.2)
    lowest = float(potential(jnp.asarray(alanine.positions.reshape(-1, 1), jnp.float32))[0])
    above = (energies - lowest) / (K_B * TEMPERATURE)
    # 55 vibrations of kT/2 each, and what the torsions cost
    assert 55 / 2 < np.median(above) < 55 / 2 + 20
    assert N * 60 < evaluations < 1e6


def test_phi_psi_and_methyls_are_soft_and_amides_and_the_chiral_centre_are_not(alanine, found):
    zmatrix, (frames, _, _) = found
    fit = fit_coordinates(zmatrix, frames)
    soft = {
        tuple(sorted((int(zmatrix.bond[3 + t]), int(zmatrix.angle[3 + t]))))
        for t in np.flatnonzero(fit.half_width == np.pi)
    }
    names = alanine.topology.atom_names
    about = {tuple(sorted((names[i], names[j]))) for i, j in soft}
    assert about == {("CA", "N"), ("C", "CA"), ("CA", "CB"), ("C", "CH3"), ("C", "N")}
    assert len(soft) == 5  # C-N once: of NME's methyl, not of an amide
    assert coordinates_from_fit(alanine.topology, fit).in_domain(frames).all()


def test_soft_torsions_go_all_the_way_round(alanine, found):
    _, (frames, _, _) = found
    quads = backbone_torsions(alanine.topology)
    x = jnp.asarray(frames.reshape(len(frames), -1).T)
    psi = np.asarray(torsions_of(x, quads["psi"]))[0]
    assert np.histogram(psi, 6, (-np.pi, np.pi))[0].min() > N / 6 / 3
    omega = np.asarray(torsions_of(x, quads["omega"]))
    assert np.cos(omega).max() < 0


def test_bonds_vibrate_as_their_force_constants_say(alanine, found):
    """A bond to hydrogen hardly couples: variance kT/k with k = 284 512 kJ/mol/nm^2 (AMBER CT-HC, 340 kcal)."""
    _, (frames, _, _) = found
    names = alanine.topology.atom_names
    i, j = names.index("CA"), names.index("HA")
    lengths = np.linalg.norm(frames[:, i] - frames[:, j], axis=1)
    assert lengths.std() == pytest.approx(np.sqrt(K_B * TEMPERATURE / 284_512), rel=0.15)


@pytest.mark.parametrize(
    ("scan", "expected"),
    [
        (np.zeros(8), 1.0),
        (np.array([0, 60, 0, 0, 0, 0, 0, 0]), 7 / 8),  # a single barrier: round the other way
        (np.array([0, 60, 0, 0, 0, 0, 60, 0]), 2 / 8),  # two: shut in between
        (np.array([60, 0, 20, 60, 60, 60, 60, 60]), 2 / 8),
    ],
)
def test_what_a_scan_reaches(scan, expected):
    assert _reached(scan.astype(float)) == expected


def test_a_torsion_that_is_not_soft_stays_on_its_side():
    """Five atoms: bonds, angles, then the torsions 7 and 8, with the minimum at 3 rad."""
    model = object.__new__(harmonic._Vibrations)
    model.n_atoms, model.minimum = 5, np.full(9, 3.0)
    turned = np.zeros((9, 4))
    turned[7] = [0.0, 1.0, 2.0, 2 * np.pi - 0.1]
    turned[:7] = 10.0  # bonds and angles do not matter
    s = model.minimum[:, None] + turned
    np.testing.assert_array_equal(model.stayed(s, [8]), [True, True, False, True])
    np.testing.assert_array_equal(model.stayed(s, [7]), True)
