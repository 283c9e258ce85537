"""The double well from plan to report with tiny stages: the contract, and what a run refuses."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from jbg import runs
from jbg.interfaces import ConfigError, RunError, SignedPermutations
from jbg.sampling.generate import FILES, Ensemble
from jbg.studies import engine, registry
from jbg.studies.evidence import weigh
from jbg.studies.problem import Symmetry
from tests import tiny
from tests.studies.same_run import assert_same_run, params_of

pytestmark = pytest.mark.study

STEPS = 200
OWN = Ensemble().folder


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    run = engine.open_run(tmp_path_factory.mktemp("unbroken") / "a", tiny.double_well(steps=STEPS))
    engine.run_all(run, quiet=True)
    return run


def test_results_keep_the_contract(unbroken):
    results = unbroken.read_json("results.json")
    tiny.check_results(results)
    assert (results["system"], results["seed"], results["n_samples"]) == ("double-well", 1, 2000)
    assert results["temperature"] is None
    assert set(results["log_z"]) == {"value", "stderr", "reference"}
    assert abs(results["log_z"]["value"] - results["log_z"]["reference"]) < 2
    (entry,) = results["free_energy_differences"]
    assert entry["states"] == ["left", "right"]
    np.testing.assert_allclose(entry["reference"], 3.39, atol=0.02)
    by_state = results["forward_nll_by_state"]  # of 20 held-out frames in each well
    assert [by_state[name]["n"] for name in ("left", "right")] == [20, 20]
    mean = np.mean([by_state[name]["value"] for name in ("left", "right")])
    np.testing.assert_allclose(mean, results["forward_nll"], rtol=1e-6)
    # reverse KL and the loss on own samples draw a batch of 32 each, in the second stage
    counted = {"simulate": 2 * 401, "train": 2 * 32 * STEPS + 20 * 500, "evaluate": 2040}
    assert results["energy_evaluations"] == counted
    assert results["parameters"] == sum(x.size for x in jax.tree.leaves(params_of(unbroken)))
    assert (unbroken.path / "report.html").stat().st_size > 10_000


def test_metrics_hold_losses_and_evaluations(unbroken):
    records = unbroken.metrics()
    assert len(records) == 2 * STEPS / 10
    assert [r["step"] for r in records[:3]] == [10, 20, 30]
    assert {"loss", "nll", "kl", "heldout_nll", "eval_ess"} <= records[-1].keys()
    assert records[STEPS // 10 - 1]["nll"] < records[0]["nll"]


def test_the_parameters_of_each_stage_are_kept(unbroken):
    problem = engine.load_problem(unbroken)
    first, last = (stage.name for stage in engine.plan_of(unbroken).stages)
    records = {r["stage"]: r["heldout_nll"] for r in unbroken.metrics() if "heldout_nll" in r}
    for name in (first, last):  # the last evaluation of a stage is that of its end
        params = engine.load_params(unbroken, problem, name)
        np.testing.assert_allclose(problem.heldout_nll()(params), records[name], rtol=1e-5)
    assert records[first] != records[last]
    with pytest.raises(ConfigError, match="has no stage 'frist'"):
        engine.load_params(unbroken, problem, "frist")


def test_stages_one_by_one_are_the_same_run(unbroken, tmp_path):
    for stage in (engine.simulate, engine.train, engine.sample, engine.evaluate):
        run = engine.open_run(tmp_path / "a", tiny.double_well(steps=STEPS))
        stage(run)
    assert_same_run(run, unbroken)


def test_stages_before_their_turn_are_refused(tmp_path):
    run = engine.open_run(tmp_path / "a", tiny.double_well())
    for stage, message in (
        (engine.train, "has no data yet: run `jbg simulate`"),
        (engine.sample, "has no data yet"),
        (engine.evaluate, "has no data yet"),
    ):
        with pytest.raises(ConfigError, match=message):
            stage(run)
    engine.simulate(run, quiet=True)
    for stage in (engine.sample, engine.evaluate):
        with pytest.raises(ConfigError, match="is not trained yet: run `jbg train"):
            stage(run)


@pytest.mark.parametrize("change", [{"seed": 2}, {"steps": 80}, {"a1": 0.5}])
def test_a_folder_with_another_plan_is_refused(change, unbroken):
    with pytest.raises(ConfigError, match=r"holds a run with .* choose another --out"):
        engine.open_run(unbroken.path, tiny.double_well(**({"steps": STEPS} | change)))


@pytest.fixture
def copy(unbroken, tmp_path):
    shutil.copytree(unbroken.path, tmp_path / "copy")
    return runs.load_run(tmp_path / "copy")


def test_more_samples_are_added(copy, unbroken):
    assert engine.sample(copy, n=3000, quiet=True) == 3000
    assert engine.sample(copy, n=1000, quiet=True) == 3000
    more = engine.load_ensemble(copy)
    assert len(more.log_q) == 3000
    before = engine.load_ensemble(unbroken)
    np.testing.assert_array_equal(more.log_q[:2000], before.log_q)
    assert engine.evaluate(copy)["n_samples"] == 3000
    with pytest.raises(ConfigError, match="-n must be at least 1"):
        engine.sample(copy, n=-5)


def test_samples_outside_the_cell_weigh_nothing_and_are_counted(copy, unbroken):
    problem = engine.load_problem(copy)
    in_cell = lambda x: x[:, 1] > 0.3
    alone = SignedPermutations(np.array([[0, 1]]), np.ones((1, 2)))
    cut = dataclasses.replace(problem, symmetry=Symmetry(alone, in_cell))
    results = engine.evaluate(copy, problem=cut)
    drawn = {name: np.load(copy.path / OWN / f"{name}.npy") for name in FILES}
    inside = in_cell(drawn["positions"])
    log_w = np.where(inside, -drawn["reduced_energy"].astype(float) - drawn["log_q"], -np.inf)
    assert results["outside_cell_share"] == np.mean(~inside) > 0.4
    np.testing.assert_allclose(results["log_z"]["value"], np.log(np.mean(np.exp(log_w))))
    assert results["n_samples"] == 2000
    assert results["n_invalid"] == unbroken.read_json("results.json")["n_invalid"]
    assert "outside_cell_share" not in unbroken.read_json("results.json")


def test_energies_that_are_all_infinite_are_one_line(copy):
    samples = engine.load_ensemble(copy)
    broken = samples._replace(reduced_energy=np.full_like(samples.reduced_energy, np.inf))
    with pytest.raises(RunError, match="all 2000 samples have non-finite energies") as caught:
        weigh(engine.load_problem(copy), broken, 1.0)
    assert "\n" not in str(caught.value)


def test_a_damaged_checkpoint_is_one_line(copy):
    for file in (copy.path / "checkpoints").rglob("*"):
        if file.is_file() and file.stat().st_size > 200:
            file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ConfigError, match="is damaged .*: delete that folder") as caught:
        engine.sample(copy, n=5000)
    assert "\n" not in str(caught.value)


def test_after_a_lost_checkpoint_training_resumes_to_the_same_end(copy, unbroken):
    """Following the advice of a damaged one must not leave the parameters of an earlier stage."""
    shutil.rmtree(copy.path / "checkpoints" / str(2 * STEPS))
    for stage in (engine.sample, engine.evaluate):
        with pytest.raises(
            ConfigError, match=rf"no checkpoint of step {2 * STEPS} \(there: \d+\): run `jbg"
        ):
            stage(copy)
    engine.train(copy, quiet=True)
    engine.evaluate(copy)
    assert_same_run(copy, unbroken)


def test_samples_of_other_parameters_are_never_mixed_in(copy, tmp_path):
    other = engine.open_run(tmp_path / "other", tiny.double_well(seed=2))
    engine.run_all(other, quiet=True)
    for name in ("samples", "checkpoints"):
        shutil.rmtree(copy.path / name)
        shutil.copytree(other.path / name, copy.path / name)
        for stage in (engine.evaluate, lambda run: engine.sample(run, n=3000)):
            with pytest.raises(
                ConfigError, match="were drawn with other|has no checkpoint|a training with"
            ):
                stage(copy)


def test_lost_data_are_simulated_again(copy, unbroken):
    (copy.path / "data" / "frames.npz").unlink()
    with pytest.raises(ConfigError, match="has no data yet: run `jbg simulate`"):
        engine.evaluate(copy)
    engine.run_all(copy, quiet=True)
    assert_same_run(copy, unbroken)


@pytest.mark.parametrize("section", ["flow", "stages"])
def test_a_folder_of_another_version_is_one_line(copy, section):
    part = copy.config[section]
    (part[0] if section == "stages" else part)["future"] = 1
    with pytest.raises(ConfigError, match=r"future is not known: edited, .* another ver") as caught:
        engine.load_problem(copy)
    version = copy.manifest()["versions"]["jbg"]
    assert f"(jbg {version}); restore the file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_before_there_were_plans_is_one_line(copy):
    """Such a config named its system, and had other settings."""
    del copy.config["study"], copy.config["data"]
    copy.config.update(system="double-well", simulation={"step": 0.1})
    with pytest.raises(ConfigError, match=r"config\.json\.simulation is not known: edited, or wri"):
        engine.plan_of(copy)
    for name in ("triple-well", ["double-well"], None):
        copy.config["system"] = name
        with pytest.raises(
            ConfigError, match="holds a run of .*, which has no stages: expected one of dou"
        ):
            engine.plan_of(copy)


def test_the_plan_comes_back_from_its_folder(unbroken):
    assert engine.plan_of(unbroken) == tiny.double_well(steps=STEPS)


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="unknown system 'triple-well': choose one of double-w"):
        engine.make_plan("triple-well")
    with pytest.raises(ConfigError, match="unknown preset 'slow': choose one of quick, full"):
        engine.make_plan("double-well", preset="slow")
    with pytest.raises(ConfigError, match="two minima"):
        engine.make_plan("double-well", a1=100.0)
    with pytest.raises(ConfigError, match="double-well: .*unexpected keyword argument 'a7'"):
        engine.make_plan("double-well", a7=1.0)


@pytest.mark.parametrize(
    "name", [name for name in registry.names() if name not in ("molecule", "protein")]
)
def test_every_system_says_what_it_costs(name):
    quick, full = (engine.cost(engine.make_plan(name, preset=p)) for p in registry.PRESETS)
    assert min(quick.values()) > 0
    assert all(full[what] >= quick[what] for what in quick)
    assert sum(full.values()) > sum(quick.values())
