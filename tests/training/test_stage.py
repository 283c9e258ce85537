"""Stages refuse what makes no sense, and count their energies."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jbg.interfaces import ConfigError
from jbg.losses import (
    NLL,
    Jeffreys,
    LogDispersion,
    OwnSamples,
    ReactionCoordinate,
    ReverseKL,
    Wasserstein,
)
from jbg.studies import codec
from jbg.training import Stage, Transport, evaluations
from tests.training.toy import Pull


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be a positive multiple of log_every = 10, got 0"),
        ({"steps": -10}, "steps must be a positive multiple"),
        ({"steps": 15}, "steps must be a positive multiple of log_every = 10, got 15"),
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"data_batch": -5}, "data_batch must be 1 or more, got -5"),
        ({"accumulate": 0}, "accumulate must be 1 or more, got 0"),
        ({"accumulate": 3}, "batch_size must be a multiple of accumulate = 3, got 512"),
        (
            {"accumulate": 2, "data_batch": 15},
            "data_batch must be a multiple of accumulate = 2, got 15",
        ),
        ({"log_every": 0}, "log_every must be 1 or more, got 0"),
        ({"eval_every": -10}, "eval_every must be 0 or more, got -10"),
        ({"losses": NLL()}, r"losses must be a tuple of terms such as \(NLL\(1.0\),\), got NLL"),
        ({"losses": (1.0,)}, "each of losses needs a weight of 0 or more, got 1.0"),
        ({"losses": (Pull(weight=float("nan")),)}, "needs a weight of 0 or more, got Pull"),
        ({"losses": (Pull(weight=-1.0),)}, "needs a weight of 0 or more, got Pull"),
        ({"e_high": 2e20}, "e_high must lie below e_max, got 2e.20 and 1e.20"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0, got 0.0"),
        ({"clip_norm": float("nan")}, "clip_norm must be > 0, got nan"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more, got -0.1"),
        ({"ema": 1.0}, r"ema must lie in \[0, 1\), got 1.0"),
        ({"eval_every": 15}, "eval_every must be a multiple of 10"),
        ({"warmup": 100}, "warmup must be shorter than the 100 steps, got 100"),
        ({"decay": "linear"}, "decay must be 'cosine' or 'none', got 'linear'"),
        ({"keep_best": True}, "keep_best needs eval_every and no buffer"),
        (
            {"keep_best": True, "eval_every": 10, "buffer": Transport(every=10)},
            "keep_best needs eval_every and no buffer",
        ),
    ],
)
def test_stages_that_make_no_sense(changes, message):
    with pytest.raises(ConfigError, match=rf"stage 'a': .*{message}"):
        Stage(**({"name": "a", "steps": 100} | changes))


def test_energies_are_counted_from_steps_and_batches():
    of = lambda steps, batch, *losses, **more: Stage(
        name="a", steps=steps, batch_size=batch, losses=losses, **more
    )
    example = of(100, 64, NLL(dispersion=LogDispersion()), ReactionCoordinate(), ReverseKL(0.0))
    energy = of(50, 64, NLL(), ReverseKL(along=ReactionCoordinate()), eval_every=20)
    own = of(10, 32, OwnSamples())
    assert [s.energy_evaluations for s in (example, energy, own)] == [0, 3200, 320]
    assert of(10, 32, Jeffreys()).energy_evaluations == 320
    assert of(10, 32, Jeffreys(), OwnSamples(), Pull()).energy_evaluations == 2 * 320 + 70
    # evaluations after steps 20, 40 and at the end, 50
    assert evaluations((example, energy, own), 1000) == 3520 + 1000 * (1 + 3 + 1)


def rates(stage, steps):
    """Learning rates, read off Adam's first-order updates for a constant gradient."""
    optimiser = stage.optimiser()
    params = jnp.zeros(())
    state, found = optimiser.init(params), []
    for _ in range(steps):
        update, state = optimiser.update(jnp.ones(()), state, params)
        found.append(-float(update))
    return np.array(found)


def test_the_rate_warms_up_then_falls_to_a_hundredth():
    found = rates(Stage(name="a", steps=100, learning_rate=0.1, warmup=20), 101)
    np.testing.assert_allclose(found[0], 0.01, rtol=1e-3)
    assert np.all(np.diff(found[:20]) > 0)
    np.testing.assert_allclose(found[20], 0.1, rtol=1e-3)
    assert np.all(np.diff(found[20:]) < 0)
    np.testing.assert_allclose(found[100], 0.001, rtol=1e-2)
    np.testing.assert_allclose(
        rates(Stage(name="a", steps=20, learning_rate=0.1, decay="none"), 20), 0.1, rtol=1e-3
    )


def test_weight_decay_is_that_of_adamw_in_the_state_of_adam():
    stage = Stage(name="a", steps=10, learning_rate=0.1, decay="none", weight_decay=0.3)
    ours, known = stage.optimiser(), optax.adamw(0.1, weight_decay=0.3)
    params = expected = {"a": jnp.array([1.0, -2.0]), "b": jnp.ones(3)}
    state, known_state = ours.init(params), known.init(params)
    plain = dataclasses.replace(stage, weight_decay=0.0).optimiser().init(params)
    assert jax.tree.structure(state) == jax.tree.structure(plain)
    for step in range(4):
        gradient = jax.tree.map(lambda p: jnp.cos(p + step), expected)  # noqa: B023
        update, state = ours.update(gradient, state, params)
        params = optax.apply_updates(params, update)
        update, known_state = known.update(gradient, known_state, expected)
        expected = optax.apply_updates(expected, update)
    jax.tree.map(np.testing.assert_allclose, params, expected)


TERMS = (
    NLL(0.1, dispersion=LogDispersion(10.0, delta=0.5)),
    ReverseKL(taus=(0.5, 1.0), path_gradient=True, along=ReactionCoordinate(form="kernels")),
    OwnSamples(flatten=0.5, explore=0.1),
    Jeffreys(0.2),
)


def test_stages_come_back_from_json():
    stage = Stage(name="a", steps=100, losses=TERMS, buffer=Transport(n=10, every=10))
    settings = json.loads(json.dumps(codec.encode(stage)))
    assert codec.decode(Stage, settings, "stage") == stage
    kinds = [term["kind"] for term in settings["losses"]]
    assert kinds == ["nll", "reverse_kl", "own_samples", "jeffreys"]
    assert settings["buffer"]["kind"] == "transport"
    settings["losses"][0]["kind"] = "pull"
    with pytest.raises(ConfigError, match=r"losses\[0\]\.kind must be one of nll, .*, got 'pull'"):
        codec.decode(Stage, settings, "stage")


@pytest.mark.parametrize(
    ("term", "settings", "message"),
    [
        (NLL, {"weight": -1.0}, "NLL: weight must be 0 or more, got -1.0"),
        (ReverseKL, {"weight": float("nan")}, "ReverseKL: weight must be 0 or more, got nan"),
        (ReverseKL, {"taus": (2.0, 1.0)}, "strictly rising"),
        (LogDispersion, {"delta": 0.0}, "LogDispersion: delta must be > 0, got 0.0"),
        (OwnSamples, {"forward_kl": -1.0}, "OwnSamples: forward_kl must be 0 or more, got -1.0"),
        (OwnSamples, {"flatten": 1.5}, "flatten must lie between 0 and 1, got 1.5"),
        (OwnSamples, {"explore": 1.0}, r"explore must lie in \[0, 1\), got 1.0"),
        (OwnSamples, {"huber": 0.0}, "huber must be > 0, got 0.0"),
    ],
)
def test_terms_that_make_no_sense(term, settings, message):
    with pytest.raises(ConfigError, match=message):
        term(**settings)


@pytest.mark.parametrize(
    ("term", "name"),
    [
        (NLL(dispersion=LogDispersion()), "NLL"),
        (LogDispersion(), "LogDispersion"),
        (ReverseKL(along=ReactionCoordinate()), "ReverseKL"),
        (ReactionCoordinate(), "ReactionCoordinate"),
        (OwnSamples(), "OwnSamples"),
        (Jeffreys(), "Jeffreys"),
        (Wasserstein(), "Wasserstein"),
        (Pull(), "Pull"),
    ],
)
def test_losses_of_a_whole_batch_are_not_accumulated(term, name):
    Stage(name="a", steps=10, losses=(term,))
    with pytest.raises(ConfigError, match=f"means over samples, and {name} as it is set") as error:
        Stage(name="a", steps=10, losses=(NLL(), term), accumulate=2)
    assert "\n" not in str(error.value)
    without = dataclasses.replace(term, weight=0.0)
    Stage(name="a", steps=10, losses=(NLL(), ReverseKL(taus=(1.0, 2.0)), without), accumulate=2)
