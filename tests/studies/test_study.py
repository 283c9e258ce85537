"""The double well from config to report with tiny stages: the contract, and kills at any moment."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jbg import runs
from jbg.interfaces import ConfigError, RunError
from jbg.runs import environment
from jbg.sampling.generate import FILES
from jbg.simulation.replica_exchange import replica_exchange
from jbg.studies import engine, evaluation
from jbg.studies.molecule import data as molecule_data
from jbg.studies.molecule import molecule
from tests import tiny

pytestmark = pytest.mark.study

ROOT = Path(__file__).parents[2]
STEPS = 200


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    run = runs.open_run(tmp_path_factory.mktemp("unbroken") / "a", tiny.double_well(steps=STEPS))
    engine.run_all(run, quiet=True)
    return run


def params_of(run):
    return engine.load_params(run, engine.load_problem(run))


def assert_same_run(found, expected):
    """Parameters, metrics, samples and results, to the last bit; only times may differ."""
    for a, b in zip(*(jax.tree.leaves(params_of(run)) for run in (found, expected)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert found.metrics() == expected.metrics()
    for name in ("positions", "log_q", "reduced_energy"):
        a, b = (np.load(run.path / "samples" / f"{name}.npy") for run in (found, expected))
        np.testing.assert_array_equal(a, b)
    results = [run.read_json("results.json") for run in (found, expected)]
    for result in results:
        del result["wall_seconds"]
    assert results[0] == results[1]


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
    first, last = (stage["name"] for stage in unbroken.config["stages"])
    records = {r["stage"]: r["heldout_nll"] for r in unbroken.metrics() if "heldout_nll" in r}
    for name in (first, last):  # the last evaluation of a stage is that of its end
        params = engine.load_params(unbroken, problem, name)
        np.testing.assert_allclose(problem.heldout_nll()(params), records[name], rtol=1e-5)
    assert records[first] != records[last]
    with pytest.raises(ConfigError, match="has no stage 'frist'"):
        engine.load_params(unbroken, problem, "frist")


def test_stages_one_by_one_are_the_same_run(unbroken, tmp_path):
    for stage in (engine.simulate, engine.train, engine.sample, engine.evaluate):
        run = runs.open_run(tmp_path / "a", tiny.double_well(steps=STEPS))
        stage(run)
    assert_same_run(run, unbroken)


def test_stages_before_their_turn_are_refused(tmp_path):
    run = runs.open_run(tmp_path / "a", tiny.double_well())
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
def test_a_folder_with_another_config_is_refused(change, unbroken):
    with pytest.raises(ConfigError, match=r"holds a run with .* choose another --out"):
        runs.open_run(unbroken.path, tiny.double_well(**({"steps": STEPS} | change)))


@pytest.fixture
def copy(unbroken, tmp_path):
    shutil.copytree(unbroken.path, tmp_path / "copy")
    return runs.load_run(tmp_path / "copy")


def test_more_samples_are_added(copy, unbroken):
    assert engine.sample(copy, n=3000, quiet=True) == 3000
    assert engine.sample(copy, n=1000, quiet=True) == 3000
    more = engine.load_samples(copy.path / "samples")
    assert len(more.log_q) == 3000
    before = engine.load_samples(unbroken.path / "samples")
    np.testing.assert_array_equal(more.log_q[:2000], before.log_q)
    assert engine.evaluate(copy)["n_samples"] == 3000
    with pytest.raises(ConfigError, match="-n must be at least 1"):
        engine.sample(copy, n=-5)


def test_samples_outside_the_cell_weigh_nothing_and_are_counted(copy, unbroken):
    problem = engine.load_problem(copy)
    in_cell = lambda x: x[:, 1] > 0.3
    results = engine.evaluate(copy, problem=dataclasses.replace(problem, in_cell=in_cell))
    drawn = {name: np.load(copy.path / "samples" / f"{name}.npy") for name in FILES}
    inside = in_cell(drawn["positions"])
    log_w = np.where(inside, -drawn["reduced_energy"].astype(float) - drawn["log_q"], -np.inf)
    assert results["outside_cell_share"] == np.mean(~inside) > 0.4
    np.testing.assert_allclose(results["log_z"]["value"], np.log(np.mean(np.exp(log_w))))
    assert results["n_samples"] == 2000
    assert results["n_invalid"] == unbroken.read_json("results.json")["n_invalid"]
    assert "outside_cell_share" not in unbroken.read_json("results.json")


def test_energies_that_are_all_infinite_are_one_line(copy):
    samples = engine.load_samples(copy.path / "samples")
    broken = samples._replace(reduced_energy=np.full_like(samples.reduced_energy, np.inf))
    with pytest.raises(RunError, match="all 2000 samples have non-finite energies") as caught:
        evaluation.weigh(engine.load_problem(copy), broken, 1.0)
    assert "\n" not in str(caught.value)


def test_a_damaged_checkpoint_is_one_line(copy):
    for file in (copy.path / "checkpoints").rglob("*"):
        if file.is_file() and file.stat().st_size > 200:
            file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ConfigError, match="is damaged .*: delete that folder") as caught:
        engine.sample(copy, n=5000)
    assert "\n" not in str(caught.value)


def test_after_a_lost_checkpoint_training_goes_on_to_the_same_end(copy, unbroken):
    """Following the advice of a damaged one must not leave the parameters of an earlier stage."""
    shutil.rmtree(copy.path / "checkpoints" / str(2 * STEPS))
    for stage in (engine.sample, engine.evaluate):
        with pytest.raises(
            ConfigError, match=rf"no checkpoint of step {2 * STEPS} \(there: {STEPS}\): run `jbg"
        ):
            stage(copy)
    engine.train(copy, quiet=True)
    engine.evaluate(copy)
    assert_same_run(copy, unbroken)


def test_samples_of_other_parameters_are_never_mixed_in(copy, tmp_path):
    other = runs.open_run(tmp_path / "other", tiny.double_well(seed=2))
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
    """Settings that this code does not know are its own fault only where it wrote them."""
    part = copy.config[section]
    (part[0] if section == "stages" else part)["future"] = 1
    copy.note(source={"commit": "0" * 40})
    with pytest.raises(ConfigError, match=r"is of another version of jbg .*future"):
        engine.load_problem(copy)
    copy.note(source=environment.commit())
    with pytest.raises(TypeError, match="future"):
        engine.load_problem(copy)


def test_devices_that_cannot_share_a_batch_are_named_before_the_simulation(tmp_path, monkeypatch):
    run = runs.open_run(tmp_path / "a", tiny.double_well())
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    with pytest.raises(
        ConfigError, match="batch of 32 cannot be shared by 3 devices; .*CUDA_VISIBLE_DEV"
    ):
        engine.simulate(run)
    assert not (run.path / "data").exists()


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="unknown system 'triple-well': choose one of double-w"):
        engine.make_config("triple-well")
    with pytest.raises(ConfigError, match="unknown preset 'slow': choose one of quick, full"):
        engine.make_config("double-well", preset="slow")
    with pytest.raises(ConfigError, match="two minima"):
        engine.make_config("double-well", a1=100.0)


def test_every_system_says_what_it_costs():
    systems = ("double-well", "mueller-brown", "lj-dimer", "lj-dimer-explored", "alanine-dipeptide")
    for name in systems:
        quick, full = (
            engine.cost(engine.make_config(name, preset=preset)) for preset in ("quick", "full")
        )
        assert min(quick.values()) > 0
        assert all(full[what] >= quick[what] for what in quick)
        assert sum(full.values()) > sum(quick.values())


# A run in a process of its own: checkpoints after every chunk, and slow enough to be hit.
RUN = """
import functools, sys, time
from jbg.cli import main as cli
from jbg import runs
from jbg.studies import engine
from jbg.studies.molecule import data as molecule_data
from jbg.sampling import generate
from tests import tiny

CONFIG = tiny.CONFIGS[sys.argv[2]]()
molecule_data.CHECKPOINT_SECONDS = 0.0
generate.BLOCKS_PER_FLUSH = 1
engine.make_config = lambda name, **options: CONFIG
engine.run_stages = functools.partial(engine.run_stages, checkpoint_seconds=0.1)
log_metrics = runs.Run.log_metrics

def slow(self, *args, **kwargs):
    log_metrics(self, *args, **kwargs)
    time.sleep(0.05)

runs.Run.log_metrics = slow
sys.exit(cli.main(["run", CONFIG["system"], "--quiet", "--out", sys.argv[1]]))
"""


def begin(folder, name="double-well"):
    """The run in a process of its own; what one compiled the next reads, from beside the folder.

    One that is killed while it writes a program must not spoil the folder of all tests.
    """
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled")}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), name],
        cwd=ROOT,
        env=os.environ | cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(process, ready, seconds=600):
    end = time.monotonic() + seconds
    while not ready() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.005)


def lines(folder):
    path = folder / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


@pytest.mark.parametrize("n_kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_the_same(n_kills, unbroken, tmp_path):
    folder, rng = tmp_path / "a", random.Random(n_kills)
    total = 2 * STEPS // 10
    for moment in sorted(rng.sample(range(1, total), n_kills)):
        process = begin(folder)
        wait_until(process, lambda moment=moment: lines(folder) >= moment)
        time.sleep(rng.uniform(0, 0.06))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        json.loads((folder / "config.json").read_text())
    process = begin(folder)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert_same_run(runs.load_run(folder), unbroken)


def rounds(folder):
    try:
        with np.load(folder / molecule_data.EXCHANGE) as data:
            return int(data["round"])
    except FileNotFoundError:
        return tiny.ROUNDS if (folder / molecule_data.FRAMES).exists() else 0


def sampled(folder):
    path = folder / "samples" / "progress.json"
    return json.loads(path.read_text())["done"] if path.exists() else 0


@pytest.mark.slow
@pytest.mark.openmm
def test_a_molecule_killed_in_every_stage_ends_the_same(tmp_path):
    expected = runs.open_run(tmp_path / "whole", tiny.CONFIGS["alanine-dipeptide"]())
    choice = {"platform": "Reference", "n_workers": 2}  # a timing may choose another
    expected.note(openmm=choice)
    engine.run_all(expected, quiet=True)
    folder, rng = tmp_path / "a", random.Random(5)
    runs.open_run(folder, tiny.CONFIGS["alanine-dipeptide"]()).note(openmm=choice)
    moments = [(rounds, n) for n in sorted(rng.sample(range(1, tiny.ROUNDS), 4))]
    moments += [(lines, n) for n in sorted(rng.sample(range(1, 2 * STEPS // 10), 3))]
    moments += [(sampled, n) for n in (500, 2500, 4500)]
    for count, moment in moments:
        process = begin(folder, "alanine-dipeptide")
        wait_until(process, lambda count=count, n=moment: count(folder) >= n)
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    process = begin(folder, "alanine-dipeptide")
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    for name in (molecule_data.FRAMES, molecule.COORDINATES):
        for a, b in zip(
            *(run.load_arrays(name).values() for run in (expected, runs.load_run(folder))),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
    assert_same_run(runs.load_run(folder), expected)


@pytest.mark.openmm
def test_replica_exchange_goes_on_from_a_round_bit_for_bit(tmp_path, monkeypatch):
    config = tiny.molecule("alanine-dipeptide")
    found = []
    for name, stops in (("whole", ()), ("broken", (3, 55))):
        run = runs.open_run(tmp_path / name, config)
        run.note(openmm={"platform": "Reference", "n_workers": 2})  # a timing may choose another
        for stop in (*stops, None):

            def stopping(*args, on_round, stop=stop, **kwargs):
                def watched(state):
                    on_round(state)
                    if state.round == stop:
                        raise KeyboardInterrupt

                return replica_exchange(*args, on_round=watched, **kwargs)

            monkeypatch.setattr(molecule_data, "replica_exchange", stopping)
            monkeypatch.setattr(molecule_data, "CHECKPOINT_SECONDS", 0.0)
            if stop is None:
                engine.simulate(run, quiet=True)
            else:
                with pytest.raises(KeyboardInterrupt):
                    engine.simulate(run, quiet=True)
                assert int(run.load_arrays(molecule_data.EXCHANGE)["round"]) == stop
        found.append((run.load_arrays(molecule_data.FRAMES), run.load_arrays(molecule.COORDINATES)))
        assert run.stage_done("simulate")
        assert not (run.path / molecule_data.EXCHANGE).exists()
    for whole, broken in zip(*found, strict=True):
        assert whole.keys() == broken.keys()
        for name in whole:
            np.testing.assert_array_equal(whole[name], broken[name])
