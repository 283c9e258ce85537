"""Which ladders are for what, and frames of a run that do not fit each other."""

from pathlib import Path

import numpy as np
import pytest

from jbg.interfaces import ConfigError
from jbg.studies.molecule import data as molecule_data
from jbg.studies.molecule import molecule


@pytest.mark.parametrize(
    ("n", "learn", "watch", "aside"), [(32, 14, 2, 16), (16, 6, 2, 8), (4, 2, 1, 1), (2, 1, 1, 0)]
)
def test_every_ladder_has_one_part(n, learn, watch, aside):
    simulation = {"heldout": 2 / n if n >= 16 else 0.25, "aside": 0.5 if n >= 16 else 0.25}
    heldout, of_bar = molecule_data.roles(n, simulation)
    assert (np.sum(~heldout), np.sum(heldout & ~of_bar), np.sum(of_bar)) == (learn, watch, aside)
    assert not np.any(of_bar & ~heldout)
    older, none = molecule_data.roles(n, {"heldout": 0.125})
    assert older.any()
    assert not none.any()


class Folder:
    path = Path("run")


def test_damaged_frames_are_refused_by_name():
    whole = {"frames": np.zeros((6, 2, 3)), "ladder": np.zeros(6), "aside": np.zeros(6, bool)}
    molecule._check_frames(Folder, whole, np.ones(6, bool))
    cut, broken = (
        whole | {"aside": np.zeros(4, bool)},
        whole | {"frames": np.full((6, 2, 3), np.nan)},
    )
    for data, inside, what in (
        (cut, 6, "aside for 6 frames"),
        (broken, 6, "not finite"),
        (whole, 5, "5 of 6 frames"),
    ):
        with pytest.raises(ConfigError, match=what) as caught:
            molecule._check_frames(Folder, data, np.ones(inside, bool))
        assert "frames.npz is damaged" in str(caught.value)
