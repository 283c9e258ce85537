"""The dimer from config to report with tiny stages: labels, BAR entries beside reweighted ones, references."""

import numpy as np
import pytest

from jbg import runs
from jbg.interfaces import ConfigError
from jbg.runs.progress import Bar
from jbg.studies import engine
from jbg.studies.dimer import data as preset
from jbg.systems import dimer_distance, lj_dimer
from tests import tiny

pytestmark = pytest.mark.study

UMBRELLA = {"n_replicas": 4, "n_pull": 100, "n_burn_in": 100, "n_steps": 225}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = tiny.shrink(engine.make_config("lj-dimer", taus=(1.0,)), steps=20)
    config["simulation"] |= {
        "umbrella": UMBRELLA,
        "n_chains": 20,
        "n_frames": 10,
        "stride": 5,
        "n_burn_in": 20,
    }
    config["stages"] = config["stages"][1:]  # example and energy; examples alone are the plane's
    config["flow"] |= {
        "n_blocks": 1,
        "conditioner": {"kind": "per_variable", "hidden": [16]},
    }
    run = runs.open_run(tmp_path_factory.mktemp("dimer") / "a", config)
    engine.run_all(run, quiet=True)
    return run


def test_results_keep_the_contract_and_name_the_estimator(run):
    results = run.read_json("results.json")
    tiny.check_results(results)
    (entry,) = results["free_energy_differences"]
    assert (entry["states"], entry["estimator"]) == (["closed", "open"], "bar")
    (plain,) = results["reweighted_differences"]
    assert plain["states"] == entry["states"]
    assert "estimator" not in plain
    assert 0 <= results["outside_cell_share"] <= 1
    # four errors of the short umbrella run, and what is known of the long one
    assert abs(entry["reference"] - 6.8) < 4 * entry["reference_stderr"] + 0.1


def test_frames_are_labelled_and_stay_in_their_state(run):
    data = run.load_arrays(preset.FRAMES)
    for i, inside in enumerate((lambda d: d < 1.5, lambda d: d >= 1.5)):
        frames = data[f"frames_0_{i}"]
        assert frames.shape == (20, 10, 76)
        flat = frames.reshape(-1, 76)
        assert inside(dimer_distance(flat.T)).all()
        assert preset.in_cell(flat).all()


class Killed(BaseException):
    pass


def killed(*_, **__):
    raise Killed


def test_a_simulation_that_is_killed_goes_on_where_it_was(run, tmp_path, monkeypatch):
    """Killed while umbrella sampling, then between the chains of the first state and of the second."""
    again = runs.open_run(tmp_path / "a", run.config)
    monkeypatch.setattr(preset, "CHECKPOINT_SECONDS", 0.0)
    saved, shown = [], []
    save, update = runs.Run.save_arrays, Bar.update

    def save_and_die(self, name, /, **arrays):
        save(self, name, **arrays)
        saved.append(int(arrays["done"]))
        if len(saved) == 4:
            killed()

    def seen(self, step, **values):
        shown.append(step)
        update(self, step, **values)

    monkeypatch.setattr(Bar, "update", seen)
    with monkeypatch.context() as patch:
        patch.setattr(runs.Run, "save_arrays", save_and_die)
        with pytest.raises(Killed):
            engine.simulate(again, quiet=True)
    assert saved == [75, 150, 200, 275]  # 200 before the first value, then in frame strides
    assert not (again.path / preset.REFERENCE).exists()

    rounds, chains = len(shown), iter([preset.hmc_chains, killed])
    with monkeypatch.context() as patch:
        patch.setattr(preset, "hmc_chains", lambda *args, **given: next(chains)(*args, **given))
        with pytest.raises(Killed):
            engine.simulate(again, quiet=True)
    assert shown[rounds] > shown[rounds - 1]  # it went on, and did not begin again
    assert not (again.path / preset.FRAMES).exists()

    monkeypatch.setattr(preset, "umbrella_reference", killed)
    engine.simulate(again, quiet=True)
    for name in (preset.REFERENCE, preset.FRAMES):
        whole, found = run.load_arrays(name), again.load_arrays(name)
        assert whole.keys() == found.keys()
        for array, values in whole.items():
            np.testing.assert_array_equal(found[array], values, err_msg=array)
    assert shown[-1] == whole["evaluations"] == max(shown)
    assert {p.name for p in (again.path / "data").iterdir()} == {"reference.npz", "frames.npz"}


def test_labelling_leaves_the_energy_as_it_is():
    system = lj_dimer()
    rng = np.random.default_rng(0)
    x = np.repeat(system.start, 20, axis=0) + 0.05 * rng.normal(size=(40, 76))
    order = np.concatenate([[1, 0], 2 + rng.permutation(36)])  # the dimer turned, the discs mixed
    mixed = x.reshape(40, 38, 2)[:, order].reshape(40, 76)
    assert not preset.in_cell(mixed).any()
    again = preset.one_labelling(mixed)
    assert preset.in_cell(again).all()
    np.testing.assert_allclose(system.potential(again.T), system.potential(x.T), rtol=1e-4)


def test_density_has_the_symmetries_of_the_box(run):
    problem = engine.load_problem(run)
    params = (engine.load_params(run, problem), ())
    x = problem.coords.forward((), problem.heldout[:5].T)[0]
    first = problem.generator.log_prob(params, x)
    for index, sign in zip(problem.group.index, problem.group.sign, strict=True):
        image = problem.generator.log_prob(params, x[index] * sign[:, None].astype(np.float32))
        np.testing.assert_allclose(image, first, atol=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimer": "tiltd"}, "unknown dimer 'tiltd'"),
        ({"wall": -1.0}, "wall must be > 0"),
        ({"taus": (2.0, 3.0)}, "must be among them"),
        ({"w_rc": -1.0}, "weight must be 0 or more"),
    ],
)
def test_options_that_make_no_sense_are_one_line(options, message):
    with pytest.raises(ConfigError, match=message):
        engine.make_config("lj-dimer", **options)
