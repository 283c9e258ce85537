"""Settings by their place in config.json: what they change, what they leave, and what is refused in one line."""

import dataclasses
import json

import pytest

from jbg.flows import MLP
from jbg.interfaces import ConfigError
from jbg.losses import NLL
from jbg.studies import engine
from jbg.studies.settings import changed, differences, encoded, read_settings
from jbg.training import Stage


@pytest.fixture(scope="module")
def plan():
    return engine.make_plan("double-well", seed=3)


def test_a_setting_is_the_same_as_in_python(plan):
    first, second = plan.stages
    found = changed(
        plan,
        settings={
            "stages.1.steps": 10_000,
            "stages.by-example.batch_size": 128,
            "stages.-1.losses.nll.weight": 0.2,
            "flow.conditioner.hidden": [8, 8],
            "sampling.n": 5000,
        },
    )
    losses = (dataclasses.replace(second.losses[0], weight=0.2), *second.losses[1:])
    expected = dataclasses.replace(
        plan,
        flow=dataclasses.replace(plan.flow, conditioner=MLP(hidden=(8, 8))),
        stages=(
            dataclasses.replace(first, batch_size=128),
            dataclasses.replace(second, steps=10_000, losses=losses),
        ),
        sampling=dataclasses.replace(plan.sampling, n=5000),
    )
    assert found == expected
    assert engine.make_plan("double-well", seed=3, settings={"sampling.n": 5000}) == (
        dataclasses.replace(plan, sampling=expected.sampling)
    )


def test_what_is_added_has_the_defaults_of_its_class(plan):
    more = {"name": "more", "steps": 200, "losses": [{"kind": "nll", "weight": 0.5}]}
    found = changed(plan, settings={"stages.+": more})
    assert found.stages == (*plan.stages, Stage(name="more", steps=200, losses=(NLL(0.5),)))
    changes = differences(encoded(plan), encoded(found))
    assert list(changes) == ["stages.2"]
    assert changes["stages.2"][0] is None


def test_differences_are_said_by_place():
    before = {"a": [], "b": [1, 2], "c": {"d": 1}, "e": [1]}
    after = {"a": [], "b": [1], "c": {"d": 2}, "e": [1, 3]}
    assert differences(before, after) == {"b.1": (2, None), "c.d": (1, 2), "e.1": (None, 3)}
    assert differences({"a": {"b": 1}}, {"a": {"c": 1}}) == {"a": ({"b": 1}, {"c": 1})}


def test_a_whole_config_gives_its_plan_back(plan, tmp_path):
    other = changed(plan, settings={"stages.0.steps": 60, "options.a1": 9.0})
    assert other.options == plan.options  # an option makes a plan, and is an argument of make_plan
    other = engine.make_plan("double-well", settings={"stages.0.steps": 60, "options.a1": 0.5})
    assert (other.stages[0].steps, other.options.a1) == (60, 0.5)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(encoded(other)))
    assert engine.make_plan("double-well", config=path) == other
    assert engine.make_plan("double-well", config=encoded(other)) == other
    again = engine.make_plan("double-well", config=path, seed=8, a1=0.25)
    assert again == dataclasses.replace(
        other, seed=8, options=dataclasses.replace(other.options, a1=0.25)
    )
    part = {"seed": 5, "options": {"k": 2}, "stages": {"by-example": {"steps": 40}}}
    found = engine.make_plan("double-well", config=part, settings={"seed": 6})
    assert (found.seed, found.options.k, found.stages[0].steps) == (6, 2.0, 40)


def test_texts_are_json_or_words():
    texts = ["a.b=3", "c=1e4", "d=0.5", "e=[1, 2]", "f=cosine", "g=null", "h=10000.0", "i=a=b"]
    assert read_settings(texts) == {
        "a.b": 3, "c": 10_000, "d": 0.5, "e": [1, 2], "f": "cosine", "g": None, "h": 1e4, "i": "a=b",
    }  # fmt: skip
    assert isinstance(read_settings(["c=1e4"])["c"], int)
    assert read_settings(["s.+=1", "s.+=2"]) == {"s.+": [1, 2]}
    for wrong in (["noequals"], ["=3"], ["a=1", "a=2"]):
        with pytest.raises(ConfigError, match=r"expected KEY=VALUE|given twice"):
            read_settings(wrong)


BAD = [
    ({"stages.1.stepz": 3}, "no setting stages.1.stepz: did you mean stages.1.steps?"),
    ({"stages.by-exampl.steps": 3}, "no setting stages.by-exampl: did you mean stages.by-example?"),
    ({"stages.2.steps": 3}, "no setting stages.2: known: by-example, by-example-and-energy"),
    ({"stagse": []}, "no setting stagse: did you mean stages?"),
    ({"stages.1.steps": "many"}, "stages[1].steps must be a whole number, got 'many'"),
    ({"stages.1.steps": 7}, "steps must be a positive multiple of log_every = 20, got 7"),
    ({"stages.1.steps.more": 7}, "stages[1].steps must be a whole number, got {'more': 7}"),
    ({"stages.+": {"name": "by-example", "steps": 40}}, "stages must have different names"),
    ({"stages.+": {"name": "more"}}, "stages[2].steps is missing"),
    ({"stages.+": {"name": "more", "step": 4}}, "stages[2].step is not known: did you mean steps?"),
    ({"stages.+": 5}, "stages[2] must hold settings, got 5"),
    ({"stages": []}, "training needs at least one stage"),
    ({"sampling.n": 0}, "n and batch must be at least 1, got 0"),
    ({"sampling.taus": [2.0]}, "1 must be among taus"),
    ({"flow.kind": "real_nvp_config"}, "flow must be a spline_flow_config"),
    ({"flow": 3}, "flow.kind must be one of"),
    ({"study": "lj-dimer"}, "the system is an argument of the command"),
    ({"data.n_steps": 0}, "metropolis: needs n_steps"),
    ({"flow.bound": -1.0}, "spline_flow: bound must be positive, got -1.0"),
]


@pytest.mark.parametrize(("settings", "message"), BAD, ids=lambda v: str(v)[:40])
def test_a_wrong_setting_is_one_line(plan, settings, message):
    with pytest.raises(ConfigError) as caught:
        changed(plan, settings=settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"study": "lj-dimer"}, "study is 'lj-dimer' there and 'double-well' here"),
        ({"preset": "full", "stages": {}}, "config: preset is 'full' there and 'quick' here"),
        ({"options": {"a7": 1}}, "options.a7 is not known: did you mean a"),
        ({"options": 3}, "options must hold settings, got 3"),
        ({"seed": "x"}, "seed must be an integer"),
        ("missing.json", "missing.json: cannot be read: No such file"),
        ("text.json", "text.json: not JSON"),
        ("list.json", "list.json: expected settings"),
    ],
)
def test_a_wrong_config_is_one_line(config, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.json").write_text("steps: 3")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ConfigError) as caught:
        engine.make_plan("double-well", preset="quick", config=config)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.openmm
def test_settings_of_a_molecule_must_fit_its_options():
    plan = engine.make_plan("alanine-dipeptide")
    assert changed(plan, settings={"stages.0.steps": 400}).stages[0].steps == 400
    for settings, message in (
        ({"data.exchange.temperatures.0": 310.0}, "must begin at the target's 300 K, got 310 K"),
        ({"data.atoms": 23}, "data.atoms follows from the molecule"),
        ({"data.sha256": "abc"}, "data.sha256 follows from the molecule"),
    ):
        with pytest.raises(ConfigError, match=message):
            changed(plan, settings=settings)
    alone = encoded(engine.make_plan("alanine-dipeptide", data="none"))
    with pytest.raises(ConfigError, match="not of the kind that --data simulated makes"):
        changed(plan, config={"data": alone["data"]})
