"""Frames of another molecule, in another order, in angstrom or split by a box are refused in one line."""

import numpy as np
import pytest

from jbg.interfaces import ConfigError
from jbg.systems.frame_bonds import check_bonds
from tests.molecules import peptide as molecule_of

pytestmark = pytest.mark.openmm


def test_frames_that_disagree_with_the_molecule_are_refused():
    one, other = molecule_of("ACE-ALA-GLY-NME"), molecule_of("ACE-GLY-ALA-NME")
    frames = one.positions[None] + np.random.default_rng(0).normal(scale=0.01, size=(20, 1, 1))
    noise = np.random.default_rng(1).normal(scale=0.01, size=frames.shape)
    check_bonds(one.topology, frames + noise, "x.dcd")
    split = np.where(np.arange(len(one.positions))[:, None] > 16, frames + [0, 0, 4.0], frames)
    shuffled = frames[:, np.random.default_rng(2).permutation(frames.shape[1])]
    for bad, hint in (
        (other.positions[None], "are bonded but .* nm apart"),
        (shuffled, "give a trajectory of this molecule, with its atoms in its order"),
        (10 * frames, "look like angstrom, divide by 10"),
        (split, "make the molecule whole if a periodic box splits it"),
    ):
        with pytest.raises(ConfigError, match=f"x.dcd: frames disagree.*{hint}") as error:
            check_bonds(one.topology, bad, "x.dcd")
        assert "\n" not in str(error.value)
