"""Stages with a buffer: refilled on time, resumed bit for bit with what the buffer held, compiled once."""

import dataclasses
import json
import logging
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from jbg.interfaces import ConfigError
from jbg.losses import NLL, AlphaDivergence, LogDispersion
from jbg.studies import codec
from jbg.training import (
    Bootstrap,
    Checkpoints,
    Hooks,
    Stage,
    Transport,
    run_stages,
    stage_refills,
)
from tests.losses.affine import gaussian, generator
from tests.training.toy import DATA, ONE, START, TWO_STAGES, assert_identical, make_loss

SHARED = dict(steps=60, batch_size=8, learning_rate=0.02)
STAGES = (
    TWO_STAGES[0],
    Stage(
        name="bootstrap",
        losses=(AlphaDivergence(),),
        buffer=Bootstrap(n=16, capacity=64, every=20, levels=1),
        **SHARED,
    ),
    Stage(name="transport", losses=(NLL(),), buffer=Transport(n=100, every=30), **SHARED),
)


def train(stages=STAGES, **options):
    return run_stages(
        stages,
        make_loss=make_loss,
        make_refill=stage_refills(generator(), gaussian()),
        params=START,
        data=DATA,
        key=jax.random.key(5),
        mesh=ONE,
        **options,
    )


class Told(NamedTuple):
    """An unbroken training: its parameters, what was logged, and what was compiled."""

    params: dict
    values: list
    compiled: list


@pytest.fixture(scope="module")
def unbroken():
    values, compiled = [], []
    listener = logging.Handler()
    listener.emit = lambda record: compiled.append(record.getMessage())
    logger = logging.getLogger("jax")
    logger.addHandler(listener)
    on_log = lambda stage, step, found: values.append((stage.name, step, found))
    with jax.log_compiles(True):
        params = train(hooks=Hooks(on_log=on_log))
    logger.removeHandler(listener)
    return Told(params, values, compiled)


class StopHere(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("stops", [[(1, 20), (1, 50), (2, 10)]])
def test_stopped_anywhere_and_resumed_it_ends_the_same(stops, unbroken, tmp_path):
    names = [stage.name for stage in STAGES]
    for stop in [*stops, None]:

        def on_log(stage, step, values, stop=stop):
            if (names.index(stage.name), step) == stop:
                raise StopHere

        checkpoints = Checkpoints(tmp_path / "checkpoints")
        try:
            found = train(
                checkpoints=checkpoints, checkpoint_seconds=0.0, hooks=Hooks(on_log=on_log)
            )
        except StopHere:
            continue
        finally:
            checkpoints.close()
    assert_identical(found, unbroken.params)


def test_refills_come_on_time_and_are_logged(unbroken):
    for name, logged, steps in (
        ("bootstrap", "accepted", [10, 30, 50]),
        ("transport", "transport_kl", [10, 40]),
    ):
        told = [(stage, step) for stage, step, values in unbroken.values if logged in values]
        assert told == [(name, step) for step in steps]


def test_every_refill_and_chunk_compiles_once(unbroken):
    for name, times in (("run", 2), ("chunk", 3)):
        made = [m for m in unbroken.compiled if f"Finished XLA compilation of jit({name})" in m]
        assert len(made) == times


def test_energies_of_refills_are_counted():
    assert STAGES[1].energy_evaluations == 3 * 16 * (1 + 8)
    assert STAGES[2].energy_evaluations == 2 * 100


def test_a_stage_comes_back_from_json():
    for stage in STAGES:
        assert codec.decode(Stage, json.loads(json.dumps(codec.encode(stage))), "stage") == stage


def test_buffers_that_cannot_serve_are_refused():
    with pytest.raises(ConfigError, match="multiple of log_every = 10 steps, got 5"):
        Stage(name="a", steps=20, losses=(NLL(),), buffer=Transport(n=10, every=5))
    with pytest.raises(ConfigError, match="AlphaDivergence: needs rows with ln q"):
        make_loss(dataclasses.replace(STAGES[1], buffer=Transport(n=100, every=30)))
    with pytest.raises(ConfigError, match="data of one temperature with their energies"):
        make_loss(dataclasses.replace(STAGES[2], losses=(LogDispersion(),)))
    with pytest.raises(ConfigError, match="make_refill"):
        run_stages(
            STAGES[2:],
            make_loss=make_loss,
            params=START,
            data=jnp.zeros((4, 2)),
            key=jax.random.key(0),
        )
