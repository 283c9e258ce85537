"""Frames of another temperature or force field are told from those of the target, and these are left in peace."""

import numpy as np
import pytest
from scipy import stats

from jbg.analysis.own_data_alarms import own_data_alarms
from jbg.analysis.target_test import CHANCE, target_test

LABELS = ("torsion a", *(f"bond {k}" for k in range(20)))


def frames(rng, temperature=300.0, kappa=1.5, chains=24, n=300):
    """An angle of density exp(kappa cos a), and 20 harmonic variables, at a temperature; the target: kappa = 1.5,
    unit widths, 300 K."""
    tau = temperature / 300.0
    angle = stats.vonmises.rvs(kappa / tau, size=(chains * n, 1), random_state=rng)
    lines = np.sqrt(tau) * rng.normal(size=(chains * n, 20))
    v = np.concatenate([angle, lines], axis=1)
    force = np.concatenate([-1.5 * np.sin(angle), -lines], axis=1)
    return v, force, np.repeat(np.arange(chains), n)


def checked(v, force, chain, weight=None):
    return target_test(
        v,
        force,
        chain,
        np.ones(len(v)) if weight is None else weight,
        n_circular=1,
        labels=LABELS,
        temperature=300.0,
    )


def test_frames_of_the_target_pass():
    found = checked(*frames(np.random.default_rng(0)))
    assert found["reasons"] == []
    assert abs(found["temperature"] - 300) < 4 * found["temperature_stderr"] < 6


def test_false_alarms_are_rare():
    """At a chance of 1e-3 for each of two kinds, with room for errors of integrators: none in 150."""
    assert CHANCE == 1e-3
    rng = np.random.default_rng(1)
    assert not any(checked(*frames(rng, n=40))["reasons"] for _ in range(150))


@pytest.mark.parametrize("temperature", [280.0, 320.0])
def test_another_temperature_is_named(temperature):
    found = checked(*frames(np.random.default_rng(0), temperature))
    assert found["temperature"] == pytest.approx(temperature, abs=4)
    assert f"of the frames have {found['temperature']:.0f} +-" in found["reasons"][0]


def test_a_hot_torsion_is_of_no_other_force_field():
    """At T' mean forces are those of T' times the slopes: one reason, the temperature."""
    (reason,) = checked(*frames(np.random.default_rng(0), 350.0, kappa=1.5, n=1000))["reasons"]
    assert "the target 300 K" in reason


def test_another_torsion_potential_is_named():
    found = checked(*frames(np.random.default_rng(0), kappa=0.8))
    (reason,) = found["reasons"]
    assert "the mean force along torsion a is" in reason
    assert found["coordinate"] == "torsion a"


def test_weights_turn_biased_frames_into_those_of_the_target():
    v, force, chain = frames(np.random.default_rng(0), kappa=0.8)
    weight = np.exp(0.7 * np.cos(v[:, 0]))
    assert checked(v, force, chain)["reasons"]
    assert not checked(v, force, chain, weight)["reasons"]


def test_alarms_of_own_data():
    sound = {"reasons": [], "left_out": 50, "n_frames": 1000, "effective": None, "frames": 950}
    assert own_data_alarms({}) == own_data_alarms(sound) == []
    (told,) = own_data_alarms(sound | {"reasons": ["they are hot"]})
    assert told == "the frames are not of the target: they are hot"
    (told,) = own_data_alarms(sound | {"left_out": 51})
    assert told == "51 of 1000 frames of the data are broken and left out"
    (told,) = own_data_alarms(sound | {"effective": 120.4})
    assert told.startswith("the weights of the data hold 120 effective frames of 950")
