"""Plans as plain JSON and back, and one line for every value that cannot be read."""

import copy
import dataclasses
import json
import math
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from jbg.interfaces import ConfigError
from jbg.losses import NLL
from jbg.studies import codec, engine, registry
from jbg.studies.study import Plan
from jbg.training import Bootstrap, Stage, Transport

PEPTIDE = {"sequence": "ACE-ALA-NME"}
OPTIONS = {"molecule": PEPTIDE, "protein": PEPTIDE}  # the others need none
NAMES = [
    pytest.param(name, marks=pytest.mark.openmm)
    if name in ("alanine-dipeptide", "molecule", "protein")
    else name
    for name in registry.names()
]


def hints(plan):
    study = registry.study(plan.study)
    return {"options": study.options, "data": study.data}


def write(plan):
    return codec.encode(plan, **hints(plan))


def read(config, plan):
    return codec.decode(Plan, config, "a", **hints(plan))


@pytest.mark.parametrize("preset", registry.PRESETS)
@pytest.mark.parametrize("name", NAMES)
def test_every_plan_comes_back_from_json(name, preset):
    plan = engine.make_plan(name, preset=preset, seed=7, **OPTIONS.get(name, {}))
    config = json.loads(json.dumps(write(plan), allow_nan=False))
    assert config.keys() == {field.name for field in dataclasses.fields(Plan)}
    assert (config["study"], config["preset"], config["seed"]) == (name, preset, 7)
    again = read(config, plan)
    assert again == plan
    assert write(again) == config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Low:
    n: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class HTTPWave:
    n: int = 1
    x: float = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box:
    n: int
    x: float
    on: bool
    text: str
    word: Literal["left", "right"]
    path: Path | None
    rows: tuple[float, ...]
    pair: tuple[int, str]
    one: Low | None
    any_of: Low | HTTPWave

    def __post_init__(self):
        if self.n > 100:
            raise ConfigError(f"box: n must be 100 or less, got {self.n}")
        if self.n == 77:
            raise ValueError("box: n must not be 77")


BOX = Box(
    n=3, x=1.0, on=True, text="a", word="left", path=Path("a/b"), rows=(1.0, 2.0), pair=(1, "b"),
    one=None, any_of=HTTPWave(),
)  # fmt: skip


def test_values_are_plain_and_only_a_choice_says_its_kind():
    assert codec.encode(dataclasses.replace(BOX, one=Low())) == {
        "n": 3,
        "x": 1.0,
        "on": True,
        "text": "a",
        "word": "left",
        "path": "a/b",
        "rows": [1.0, 2.0],
        "pair": [1, "b"],
        "one": {"n": 1},
        "any_of": {"kind": "http_wave", "n": 1, "x": 0.5},
    }


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"one": Low(n=4), "any_of": Low()},
        {"path": None, "rows": ()},
        {"n": np.int64(3), "x": np.float32(0.5), "on": np.bool_(False)},
    ],
)
def test_a_dataclass_comes_back(change):
    box = dataclasses.replace(BOX, **change)
    again = codec.decode(Box, json.loads(json.dumps(codec.encode(box))), "a")
    assert again == box
    assert [type(value) for value in again.pair] == [int, str]


def test_a_whole_number_is_a_number():
    assert type(codec.decode(Box, codec.encode(BOX) | {"x": 2}, "a").x) is float


@pytest.mark.parametrize("buffer", [None, Bootstrap(n=32, capacity=64), Transport(n=16)])
def test_a_stage_says_which_buffer_it_has(buffer):
    stage = Stage(name="a", steps=400, losses=(NLL(),), buffer=buffer)
    encoded = codec.encode(stage)
    kind = None if buffer is None else encoded["buffer"]["kind"]
    assert kind == (None if buffer is None else type(buffer).__name__.lower())
    assert codec.decode(Stage, encoded, "a") == stage


ABSENT = object()
BAD = [
    ("n", ABSENT, "a.n is missing"),
    ("any_of.x", ABSENT, "a.any_of.x is missing"),
    ("future", 1, "a.future is not known"),
    ("one", {"n": 1, "kind": "low"}, "a.one.kind is not known"),
    ("any_of.future", 1, "a.any_of.future is not known"),
    ("n", "3", "a.n must be a whole number, got '3'"),
    ("n", 3.0, "a.n must be a whole number, got 3.0"),
    ("n", True, "a.n must be a whole number, got True"),
    ("n", None, "a.n must be a whole number, got None"),
    ("x", True, "a.x must be a finite number, got True"),
    ("x", "1", "a.x must be a finite number, got '1'"),
    ("x", math.nan, "a.x must be a finite number, got nan"),
    ("x", -math.inf, "a.x must be a finite number, got -inf"),
    ("x", 10**400, "a.x must be a finite number, got 1000"),
    ("on", 1, "a.on must be true or false, got 1"),
    ("text", 1, "a.text must be text, got 1"),
    ("path", 1, "a.path must be text, got 1"),
    ("word", "top", "a.word must be one of left, right, got 'top'"),
    ("word", [], "a.word must be one of left, right, got []"),
    ("rows", 1.0, "a.rows must be a list, got 1.0"),
    ("rows", "12", "a.rows must be a list, got '12'"),
    ("rows", [1.0, "b"], "a.rows[1] must be a finite number, got 'b'"),
    ("pair", [1], "a.pair must have 2 entries, got 1"),
    ("pair", [1, "b", 2], "a.pair must have 2 entries, got 3"),
    ("pair", ["b", 1], "a.pair[0] must be a whole number, got 'b'"),
    ("one", [1], "a.one must hold settings, got [1]"),
    ("one", {"n": 1.5}, "a.one.n must be a whole number, got 1.5"),
    ("any_of", 3, "a.any_of.kind must be one of low, http_wave, got None"),
    ("any_of.kind", "middle", "a.any_of.kind must be one of low, http_wave, got 'middle'"),
    ("any_of.kind", ABSENT, "a.any_of.kind must be one of low, http_wave, got None"),
    ("any_of.kind", ["low"], "a.any_of.kind must be one of low, http_wave, got ['low']"),
    ("any_of.kind", "low", "a.any_of.x is not known"),
    ("n", 101, "a: box: n must be 100 or less, got 101"),
    ("n", 77, "a: box: n must not be 77"),
]


@pytest.mark.parametrize(("place", "value", "message"), BAD)
def test_a_bad_value_is_one_line_with_its_place(place, value, message):
    config = copy.deepcopy(codec.encode(BOX))
    *outer, name = place.split(".")
    inside = config[outer[0]] if outer else config
    if value is ABSENT:
        del inside[name]
    else:
        inside[name] = value
    with pytest.raises(ConfigError) as caught:
        codec.decode(Box, config, "a")
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("value", [None, 3, [1], "text"])
def test_what_holds_no_settings_is_named(value):
    with pytest.raises(ConfigError, match="a must hold settings, got"):
        codec.decode(Box, value, "a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["stages"][1].update(steps="many"), r"a.stages\[1\].steps must be a whole num"),
        (
            lambda c: c["stages"][0].update(steps=7),
            r"a.stages\[0\]: stage 'by-example': steps must",
        ),
        (
            lambda c: c["flow"]["conditioner"].update(hidden=[8, True]),
            r"a.flow.conditioner.hidden\[1\] must be a whole number",
        ),
        (lambda c: c["flow"].update(n_bins=0), "a.flow: spline_flow: n_bins"),
        (lambda c: c["flow"].update(floor=0.5), "a.flow: spline_flow: floor must lie"),
        (lambda c: c["options"].update(k=-1.0), "a.options: double well: k must be > 0"),
        (lambda c: c["options"].update(taus=[2.0]), "a.options: taus: 1, the system's own"),
        (
            lambda c: c["data"].update(heldout=2),
            r"a.data: metropolis: needs .* heldout in \(0, 1\)",
        ),
        (lambda c: c["sampling"].pop("taus"), "a.sampling.taus is missing"),
        (lambda c: c.pop("options"), "a.options is missing"),
        (lambda c: c.update(seed=1.0), "a.seed must be a whole number"),
    ],
)
def test_a_damaged_plan_is_one_line_with_its_place(change, message):
    plan = engine.make_plan("double-well")
    config = json.loads(json.dumps(write(plan)))
    change(config)
    with pytest.raises(ConfigError, match=message) as caught:
        read(config, plan)
    assert "\n" not in str(caught.value)


def test_settings_that_json_has_no_value_for_are_refused():
    with pytest.raises(TypeError, match="plain values, got object"):
        codec.encode(dataclasses.replace(BOX, text=object()))
