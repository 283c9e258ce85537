"""Stages in a row: resumed bit for bit, compiled once, stopped when they diverge."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.interfaces import ConfigError, RunError, Target
from jbg.losses import NLL, ReverseKL
from jbg.training import Checkpoints, Hooks, Stage, run_stages
from tests.losses.affine import MEAN, WIDTH, gaussian
from tests.training.toy import (
    DATA,
    ONE,
    START,
    TWO,
    TWO_STAGES,
    assert_identical,
    leaves,
    make_loss,
)


class StopHere(Exception):
    """Stands for a kill."""


def train(stages=TWO_STAGES, *, loss=make_loss, mesh=ONE, **options):
    return run_stages(
        stages,
        make_loss=loss,
        **({"params": START, "data": DATA, "key": jax.random.key(5), "mesh": mesh} | options),
    )


@pytest.fixture(scope="module")
def unbroken():
    return train()


@pytest.fixture
def checkpoints(tmp_path):
    made = []

    def make():
        made.append(Checkpoints(tmp_path / "checkpoints"))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_training_finds_the_target():
    stages = [dataclasses.replace(stage, steps=400, batch_size=64) for stage in TWO_STAGES]
    found = train(stages, mesh=TWO)
    np.testing.assert_allclose(found["b"], MEAN, atol=0.1)
    np.testing.assert_allclose(np.exp(found["a"]), WIDTH, atol=0.1)


def test_the_end_of_each_stage_is_told_with_the_parameters_that_the_next_begins_with():
    told = []
    keep = lambda stage, params: told.append((stage.name, jax.tree.map(np.array, params)))
    last = train(hooks=Hooks(on_end=keep))
    assert [name for name, _ in told] == ["example", "energy"]
    assert_identical(told[1][1], last)
    alone = train(TWO_STAGES[:1])
    assert_identical(told[0][1], alone)


@pytest.mark.parametrize("stops", [[(0, 20)], [(1, 10)], [(1, 60)], [(0, 30), (1, 10), (1, 30)]])
def test_stopped_anywhere_and_resumed_it_ends_the_same(stops, unbroken, checkpoints):
    steps = []
    for stop in [*stops, None]:

        def on_log(stage, step, values, stop=stop):
            at = (TWO_STAGES.index(stage), step)
            steps.append(at)
            if at == stop:
                raise StopHere

        try:
            found = train(
                checkpoints=checkpoints(), checkpoint_seconds=0.0, hooks=Hooks(on_log=on_log)
            )
        except StopHere:
            continue
    assert_identical(found, unbroken)
    # only the chunk that a stop caught is done again
    assert len(steps) == 10 + len(stops)


def test_stopped_between_two_stages(unbroken, checkpoints):
    def on_begin(stage, step):
        if stage.name == "energy":
            raise StopHere

    with pytest.raises(StopHere):
        train(checkpoints=checkpoints(), hooks=Hooks(on_begin=on_begin))
    begun = []
    hooks = Hooks(on_begin=lambda stage, step: begun.append((stage.name, step)))
    assert_identical(train(checkpoints=checkpoints(), hooks=hooks), unbroken)
    assert begun == [("energy", 0)]
    assert_identical(train(checkpoints=checkpoints(), hooks=hooks), unbroken)
    assert begun == [("energy", 0)]


@pytest.mark.parametrize("mesh", [ONE, TWO], ids=["one device", "two devices"])
def test_every_stage_compiles_once_and_traces_the_energy_once(mesh, caplog):
    traces = itertools.count()

    def reduced_energy(x):
        next(traces)
        return gaussian().reduced_energy(x)

    target = Target(dim=2, reduced_energy=reduced_energy)
    stages = (dataclasses.replace(TWO_STAGES[0], eval_every=10, keep_best=True), TWO_STAGES[1])
    scores = iter([3.0, 2.0, 1.0, 2.0, 1.0])
    hooks = Hooks(on_eval=lambda *_: {"heldout_nll": next(scores)})
    with jax.log_compiles(True):
        train(
            stages,
            loss=lambda stage, mesh: make_loss(stage, mesh, target),
            mesh=mesh,
            hooks=hooks,
        )
    compiled = [r for r in caplog.messages if "Finished XLA compilation of jit(chunk)" in r]
    assert len(compiled) == len(TWO_STAGES)
    assert next(traces) == 1  # of the second stage; the first has no energy


def test_divergence_names_stage_and_step_and_keeps_the_checkpoint(checkpoints):
    def loss(stage, mesh):
        good = make_loss(TWO_STAGES[0], mesh)
        if stage.name == "example":
            return good
        return lambda params, batch, key: (
            lambda value, aux: (value * jnp.nan, aux | {"loss": value * jnp.nan})
        )(*good(params, batch, key))

    stages = (TWO_STAGES[0], dataclasses.replace(TWO_STAGES[1], steps=200))
    seen = []
    hooks = Hooks(on_log=lambda stage, step, values: seen.append(values["skipped"]))
    with pytest.raises(RunError, match=r"diverged in stage 'energy' before step 100: 100 steps"):
        train(stages, loss=loss, checkpoints=checkpoints(), hooks=hooks)
    assert seen == [0] * 4 + [10] * 9
    kept = checkpoints()
    assert kept.latest() == 40
    assert_identical(train(checkpoints=kept), train())


def test_the_best_average_is_kept():
    stage = dataclasses.replace(TWO_STAGES[0], eval_every=10, keep_best=True)
    scores, averages = iter([3.0, 1.0, 2.0, 1.5]), []

    def on_eval(stage, step, params):
        averages.append(leaves(params))
        return {"heldout_nll": next(scores)}

    found = train([stage], hooks=Hooks(on_eval=on_eval))
    for a, b in zip(leaves(found), averages[1], strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(averages[1][0] != averages[3][0])


def test_what_keeps_the_best_needs_its_likelihood():
    stage = dataclasses.replace(TWO_STAGES[0], eval_every=10, keep_best=True)
    with pytest.raises(ConfigError, match="keep_best needs an on_eval that gives 'heldout_nll'"):
        train([stage])


def test_evaluations_come_when_asked_and_at_the_end():
    evaluated = []

    def on_eval(stage, step, params):
        evaluated.append((stage.name, step))
        return {"eval_ess": 0.5}

    logged = []
    hooks = Hooks(on_eval=on_eval, on_log=lambda stage, step, values: logged.append(values))
    train((TWO_STAGES[0], dataclasses.replace(TWO_STAGES[1], eval_every=40)), hooks=hooks)
    assert evaluated == [("example", 40), ("energy", 40), ("energy", 60)]
    assert [("eval_ess" in values) for values in logged] == [False] * 3 + [True] + (
        [False] * 3 + [True, False, True]
    )
    assert all(isinstance(v, float) for values in logged for v in values.values())


def test_checkpoints_of_another_training_are_refused(checkpoints):
    data = np.asarray(DATA)
    train(checkpoints=checkpoints())
    first = TWO_STAGES[0]
    for change, match in (
        ({"stages": TWO_STAGES[:1]}, "holds 100 steps of a longer training than the 40"),
        ({"stages": (dataclasses.replace(first, name="other"), TWO_STAGES[1])}, "other stages"),
        ({"data": data[:-1]}, "other data"),
        ({"key": jax.random.key(6)}, "another random key"),
        ({"params": {"a": START["a"] + 1, "b": START["b"]}}, "other initial parameters"),
    ):
        with pytest.raises(ConfigError, match=match) as caught:
            train(checkpoints=checkpoints(), **change)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (np.zeros((0, 2), np.float32), r"must be \(n, dim\) with n >= 1, got \(0, 2\)"),
        (np.zeros(7, np.float32), r"must be \(n, dim\) .* got \(7,\)"),
        (np.zeros((7, 2, 1), np.float32), r"must be \(n, dim\)"),
        (np.zeros((7, 2), int), "floating-point numbers, got int64"),
        (np.full((7, 2), np.nan, np.float32), "7 of 7 rows are not finite, the first is row 0"),
        ([[0.0, 1.0]], r"must be \(n, dim\) .* got list"),
    ],
)
def test_data_are_checked_before_anything_runs(data, match):
    with pytest.raises(ConfigError, match=match):
        train(data=data)


def test_a_stage_that_did_nothing_is_an_error():
    def loss(stage, mesh):
        good = make_loss(stage, mesh)
        return lambda *args: (jnp.nan * good(*args)[0], good(*args)[1])

    with pytest.raises(RunError, match="'example' before step 40: 40 steps in a row had no finite"):
        train(TWO_STAGES[:1], loss=loss)


def test_devices_share_any_batch():
    odd = Stage(name="odd", steps=20, batch_size=7, data_batch=3, losses=(NLL(), ReverseKL()))
    one, two = (leaves(train([odd], mesh=mesh)) for mesh in (ONE, TWO))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_names_are_checked_before_anything_runs():
    with pytest.raises(ConfigError, match="at least one stage"):
        train([])
    with pytest.raises(ConfigError, match="'../x': a name is letters"):
        train([dataclasses.replace(TWO_STAGES[0], name="../x")])
    with pytest.raises(ConfigError, match="different names"):
        train([TWO_STAGES[0], TWO_STAGES[0]])
