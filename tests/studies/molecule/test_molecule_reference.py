"""What is said of a molecule's reference is true: what turned, what was left out, what was never visited."""

import numpy as np
import pytest

from jbg.coords import build_zmatrix, coordinates_from_fit, fit_coordinates
from jbg.interfaces import ConfigError, Topology
from jbg.simulation.torsion_rotation import rotatable_bonds
from jbg.studies.dataset import Dataset
from jbg.studies.molecule.observables import SimulatedFrames, never_turned
from jbg.studies.molecule.reference import ladder_reference, slow_functions, torsion_sides
from jbg.studies.molecule.states import states, topology_of
from jbg.systems import double_well

LADDERS, FRAMES = 16, 600


def topology(elements, bonds):
    n = len(elements)
    names = tuple(f"{element}{i + 1}" for i, element in enumerate(elements))
    return Topology(tuple(elements), names, ("UNK",) * n, (0,) * n, np.array(bonds))


CHAIN = topology("CCCC", [(0, 1), (1, 2), (2, 3)])
TRANS, GAUCHE = states(CHAIN)
SIDES = {"torsion1": np.arange(LADDERS) % 2 == 1}  # every other ladder starts in gauche


def chains(angles):
    """Frames ``(n, 4, 3)`` of four carbons with these torsions, bonds and angles fluctuating."""
    rng, n = np.random.default_rng(0), len(angles)
    b, first, second = rng.normal(0.153, 0.003, (3, n))
    a, c = rng.normal(np.deg2rad(68), 0.05, (2, n))
    x = np.zeros((n, 4, 3))
    x[:, 0] = np.stack([-first * np.cos(a), first * np.sin(a), 0 * a], 1)
    x[:, 2, 0] = b
    out = second * np.sin(c)
    x[:, 3] = np.stack([b + second * np.cos(c), out * np.cos(angles), out * np.sin(angles)], 1)
    return x


def data_of(gauche):
    """Frames of ladders in turn, ``gauche (FRAMES, LADDERS)`` bool, one walker each."""
    rng = np.random.default_rng(1)
    angles = np.where(gauche, 1.1 * rng.choice([-1, 1], gauche.shape), np.pi)
    x = chains((angles + 0.15 * rng.normal(size=gauche.shape)).ravel())
    data = Dataset.of_chains(x.reshape(1, len(x), -1))
    return data._replace(
        chain=np.tile(np.arange(LADDERS), FRAMES), walker=np.zeros(gauche.size, int)
    )


def frames_of(data):
    return data.x.reshape(len(data.x), 4, 3)


def difference(data, inside):
    return ladder_reference(CHAIN, data, inside, SIDES, (TRANS, GAUCHE), seed=0)


def fitted(data):
    zmatrix = build_zmatrix(CHAIN, frames_of(data)[0])
    fit = fit_coordinates(zmatrix, frames_of(data), ladder=data.chain)
    inside = coordinates_from_fit(CHAIN, fit).in_domain(frames_of(data))
    return inside, never_turned(CHAIN, fit, SimulatedFrames(data.x, data.chain, inside))


@pytest.mark.parametrize("by_time", [True, False])
def test_the_first_frames_of_each_ladder_remember(by_time):
    """Frames in turn, as replica exchange writes them, or ladder after ladder, as trajectories are read."""
    ladder = np.tile(np.arange(3), 4) if by_time else np.repeat(np.arange(3), 4)
    known = SimulatedFrames(np.zeros((12, 3)), ladder, np.ones(12, bool), remembered=1)
    first = [np.flatnonzero(ladder == k)[0] for k in range(3)]
    assert np.flatnonzero(~known.kept).tolist() == sorted(first)


def rarely(share):
    return np.random.default_rng(2).random((FRAMES, LADDERS)) < share


def test_a_rotamer_of_one_per_cent_is_kept_and_its_f_is_that_of_all_frames():
    gauche = rarely(0.008)
    data = data_of(gauche)
    inside, held = fitted(data)
    assert inside.all()
    assert held == []
    found = difference(data, inside)
    assert found.value == pytest.approx(np.log((~gauche).sum() / gauche.sum()), abs=0.05)
    assert abs(found.value - np.log(0.992 / 0.008)) < 3 * found.stderr


def test_frames_that_are_left_out_are_counted():
    gauche = rarely(0.0)
    gauche[[100, 101, 400], 5] = True  # one ladder, for a moment
    data = data_of(gauche)
    inside, held = fitted(data)
    assert held == ["UNK1:C2-UNK1:C3 (turned in 3 of 9600 frames, left out)"]
    np.testing.assert_array_equal(inside, ~gauche.ravel())
    assert difference(data, inside).reason == (
        "all 3 frames of the simulation in torsion1 gauche lie outside the coordinates' domain and are "
        "left out"
    )
    inside[5 + 100 * LADDERS] = True
    reason = difference(data, inside).reason
    assert reason.startswith("only 1 of 16 chains visited")
    assert reason.endswith(
        "2 frames in torsion1 gauche lie outside the coordinates' domain and are left out"
    )


def test_the_backbone_is_free_even_where_it_never_turned():
    data = data_of(rarely(0.0))
    zmatrix = build_zmatrix(CHAIN, frames_of(data)[0])
    options = {"ladder": data.chain, "soft_bonds": {frozenset((1, 2))}}
    fit = fit_coordinates(zmatrix, frames_of(data), **options)
    assert len(fit.soft) == 1
    assert never_turned(CHAIN, fit) == []
    early = np.arange(len(data.chain)) < 4000  # whitening of these alone, softness of all
    less = fit_coordinates(zmatrix, frames_of(data), fitted=early, **options)
    np.testing.assert_array_equal(less.centre, fit.centre)
    assert not np.array_equal(less.mean, fit.mean)


def test_never_is_said_where_no_frame_at_all_was_there():
    data = data_of(rarely(0.0))
    inside, held = fitted(data)
    assert held == ["UNK1:C2-UNK1:C3"]
    assert difference(data, inside).reason == ("the simulation never visited torsion1 gauche")


def test_a_simulation_that_is_not_equilibrated_is_refused():
    stuck = np.broadcast_to(np.arange(LADDERS) % 2 == 1, (FRAMES, LADDERS))
    data, inside = data_of(stuck), np.ones(FRAMES * LADDERS, bool)
    assert difference(data, inside).reason.startswith(
        "0 crossings between torsion1 trans and torsion1 gauche in 16 ladders"
    )


def test_gauche_plus_and_minus_have_to_mix():
    data, inside = data_of(rarely(0.4)), np.ones(FRAMES * LADDERS, bool)
    assert difference(data, inside).value is not None
    mirrored = np.arange(LADDERS) % 4 < 2  # ladders that only ever saw one of the two
    sign = np.sign(np.sin(angles_of(data)))
    wrong = (sign > 0) == np.tile(mirrored, FRAMES)
    x = frames_of(data)  # a view
    x[wrong, :, 2] *= -1
    reason = difference(data, inside).reason
    assert reason.startswith("split-R-hat of sin UNK1 C1-C2-C3-C4 within torsion1 gauche is ")


def angles_of(data):
    x = frames_of(data)
    return np.arctan2(x[:, 3, 2], x[:, 3, 1])


def test_the_other_side_is_the_second_state():
    ((name, sides),) = torsion_sides(CHAIN, rotatable_bonds(CHAIN)).items()
    assert name == "torsion1"
    assert set(sides.bond.axis) == {1, 2}
    assert sides.side(chains(np.array([np.pi, 1.0])).reshape(2, -1).T).tolist() == [False, True]
    assert torsion_sides(CHAIN, ()) == {}  # as proline's phi: nothing turns it


def test_ends_that_look_alike_count_once():
    ring = [(i, i % 6 + 1) for i in range(1, 7)]
    ethylbenzene = topology("C" * 9, [*ring, (1, 7), (7, 8), (8, 0)])
    x = np.random.default_rng(3).normal(size=(27, 5))
    names = list(slow_functions(ethylbenzene, x))
    assert sum(name.startswith("cos 2 x") for name in names) == 1  # about the bond to the ring
    assert sum(name.startswith("cos UNK1") for name in names) == 1
    assert len(names) == 4


def test_ladders_of_different_lengths_are_refused():
    data = data_of(rarely(0.1))
    data.chain[0] = 1
    with pytest.raises(ValueError, match="as many frames, got 599 to 601"):
        difference(data, np.ones(FRAMES * LADDERS, bool))


def test_a_system_without_atoms_is_refused():
    with pytest.raises(ConfigError, match="system double-well has no atoms"):
        topology_of(double_well())
