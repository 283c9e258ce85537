"""What a notebook passes as a molecule, its frames and their temperature is refused in one line."""

import numpy as np
import pytest

import jbg
from jbg.studies.dataset import Dataset
from jbg.studies.molecule.given_frames import check_energies
from tests.molecules import peptide

U = np.array([-40.0, -35.0, np.nan, -52.0])


def alanine():
    return peptide("ACE-ALA-NME")


def frames(n=50):
    return np.repeat(alanine().positions[None], n, 0)


TABLE = {
    "angstrom": (
        lambda: jbg.molecular_problem(alanine(), 10 * frames()),
        r"expected frames in nm .*look like angstrom, divide by 10",
    ),
    "not finite": (
        lambda: jbg.molecular_problem(alanine(), np.full((50, 22, 3), np.nan)),
        "must be finite, got NaN or inf in 50 of 50 frames",
    ),
    "0 K": (
        lambda: jbg.simulate(alanine(), temperature=0),
        r"temperature must be .*> 0 in K, got 0",
    ),
    "problem at 0 K": (
        lambda: jbg.molecular_problem(alanine(), frames(), temperature=0),
        "molecular_problem: temperature must be",
    ),
    "system": (
        lambda: jbg.simulate(jbg.double_well()),
        r"expected a molecule from jbg\.molecule, got the System .*use jbg\.metropolis",
    ),
    "temperature": (
        lambda: check_energies(U, U / 2, 600.0),
        r"energies are 2 times those at 600 K: pass temperature=300",
    ),
    "another force field": (
        lambda: check_energies(U, U[::-1], 300.0),
        "not those of this molecule",
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_bad_input_is_one_line(name):
    call, message = TABLE[name]
    with pytest.raises(jbg.ConfigError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_energies_of_the_same_temperature_pass_and_so_do_those_not_kept():
    check_energies(U, U * (1 + 1e-4), 300.0)
    check_energies(np.full(4, np.nan), U, 300.0)


@pytest.mark.slow
def test_a_problem_refuses_simulated_frames_of_another_temperature():
    found = jbg.simulate(alanine(), temperature=300, n_ladders=2, n_rounds=200, n_burn_in=5)
    assert isinstance(found, Dataset)
    jbg.molecular_problem(alanine(), found, temperature=300)
    with pytest.raises(jbg.ConfigError, match="pass temperature=300 or simulate at 600 K"):
        jbg.molecular_problem(alanine(), found, temperature=600)
