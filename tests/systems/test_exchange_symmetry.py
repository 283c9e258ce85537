"""Which groups of atoms may be exchanged together, and to which tolerance: phenyl rings and carboxylates."""

import numpy as np
import pytest

from jbg.coords import build_zmatrix, ring_flips
from jbg.systems.exchange_symmetry import exchangeable
from jbg.systems.openmm_pool import ContextPool
from tests.molecules import peptide

pytestmark = pytest.mark.openmm
LOOSE = 3.0  # kJ/mol: what depends on the order of atoms in impropers alone, up to 1.5 here, passes


@pytest.fixture(scope="module")
def molecule():
    return peptide("FD")


@pytest.fixture(scope="module")
def energies(molecule):
    with ContextPool(molecule.system_xml, platform="Reference", n_workers=1) as pool:
        yield pool.energies


def atom(molecule, residue, name):
    topology = molecule.topology
    places = zip(topology.residue_names, topology.atom_names, strict=True)
    return list(places).index((residue, name))


def test_the_sides_of_a_ring_are_exchanged_as_a_whole(molecule, energies):
    flips = ring_flips(molecule.topology, build_zmatrix(molecule.topology, molecule.positions))
    first, second = flips.pairs[0].T
    given = (energies, molecule.positions)
    assert exchangeable(*given, first, second, tolerance=LOOSE)
    assert not exchangeable(*given, first, second)  # impropers know the order of their atoms
    assert not exchangeable(*given, first[:2], second[:2], tolerance=LOOSE)  # without its hydrogens
    assert not exchangeable(*given, first, second[::-1], tolerance=LOOSE)


def test_oxygens_of_a_carboxylate_to_a_tolerance(molecule, energies):
    one, other, ca = (atom(molecule, "ASP", name) for name in ("OD1", "OD2", "CA"))
    given = (energies, molecule.positions)
    assert exchangeable(*given, one, other, tolerance=LOOSE)
    assert not exchangeable(*given, one, other)
    assert not exchangeable(*given, one, ca, tolerance=LOOSE)


def test_hydrogens_of_a_rotor_need_no_tolerance(molecule, energies):
    hydrogens = [atom(molecule, "PHE", name) for name in ("H", "H2", "H3")]
    turned = np.roll(hydrogens, 1)
    assert exchangeable(energies, molecule.positions, hydrogens[:1], hydrogens[1:2])
    frames = np.repeat(molecule.positions[None], 2, 0)
    frames[1, hydrogens] = frames[0, turned]
    np.testing.assert_allclose(*energies(frames), rtol=1e-6)
