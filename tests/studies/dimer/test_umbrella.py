"""The dimer from plan to report with tiny stages: labels, BAR entries beside reweighted ones, references."""

import dataclasses

import numpy as np
import pytest

from jbg import runs
from jbg.flows import PerVariable
from jbg.interfaces import ConfigError
from jbg.runs.progress import Bar
from jbg.studies import engine
from jbg.studies.dataset import FRAMES, LEARN, WATCH, load_dataset
from jbg.studies.dimer import chains, umbrella
from jbg.studies.dimer.cell import in_cell
from jbg.systems import dimer_distance
from tests import tiny
from tests.studies.same_run import assert_same_arrays

pytestmark = pytest.mark.study

UMBRELLA = {"n_replicas": 4, "n_pull": 100, "n_burn_in": 100, "n_steps": 225}
CHAINS = {"n_chains": 20, "n_frames": 10, "stride": 5, "n_burn_in": 20}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    plan = tiny.shrink(engine.make_plan("lj-dimer", taus=(1.0,)), steps=20)
    data = umbrella.UmbrellaPlan(
        umbrella=dataclasses.replace(plan.data.umbrella, **UMBRELLA),
        chains=dataclasses.replace(plan.data.chains, **CHAINS),
    )
    flow = dataclasses.replace(plan.flow, n_blocks=1, conditioner=PerVariable(hidden=(16,)))
    plan = dataclasses.replace(
        plan,
        data=data,
        stages=plan.stages[1:],  # example and energy; examples alone are the plane's
        flow=flow,
    )
    run = engine.open_run(tmp_path_factory.mktemp("dimer") / "a", plan)
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
    data = load_dataset(run)
    frames = data.x[data.by_chain()]
    assert frames.shape == (2 * 20, 10, 76)
    open_ = dimer_distance(data.x.T) >= 1.5
    np.testing.assert_array_equal(open_, data.chain >= 20)
    np.testing.assert_array_equal(engine.plan_of(run).data.chains.state_of(data.chain), open_)
    assert in_cell(data.x).all()


def test_some_chains_of_each_state_are_held_out_whole(run):
    data, problem = load_dataset(run), engine.load_problem(run)
    held = [0, 1, 20, 21]
    assert set(data.chain[data.role == WATCH]) == set(held)
    assert set(data.role) == {LEARN, WATCH}
    np.testing.assert_array_equal(problem.simulated.x, data.x[data.by_chain()[held]])
    n_images = len(problem.symmetry.group.index)
    assert len(problem.examples.train) == n_images * 36 * 10


class Killed(BaseException):
    pass


def killed(*_, **__):
    raise Killed


def test_a_simulation_that_is_killed_goes_on_where_it_was(run, tmp_path, monkeypatch):
    """Killed while umbrella sampling, then between the chains of the first state and of the second."""
    again = engine.open_run(tmp_path / "a", engine.plan_of(run))
    monkeypatch.setattr(umbrella, "CHECKPOINT_SECONDS", 0.0)
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
    assert not (again.path / umbrella.REFERENCE).exists()

    rounds, moves = len(shown), iter([chains.hmc_chains, killed])
    with monkeypatch.context() as patch:
        patch.setattr(chains, "hmc_chains", lambda *args, **given: next(moves)(*args, **given))
        with pytest.raises(Killed):
            engine.simulate(again, quiet=True)
    assert shown[rounds] > shown[rounds - 1]  # it went on, and did not begin again
    assert not (again.path / FRAMES).exists()

    monkeypatch.setattr(umbrella, "umbrella_reference", killed)
    engine.simulate(again, quiet=True)
    for name in (umbrella.REFERENCE, FRAMES):
        assert_same_arrays(again, run, name)
    assert shown[-1] == load_dataset(run).evaluations == max(shown)
    assert {p.name for p in (again.path / "data").iterdir()} == {"reference.npz", "frames.npz"}


def test_density_has_the_symmetries_of_the_box(run):
    problem = engine.load_problem(run)
    params = (engine.load_params(run, problem), ())
    x = problem.coords.forward((), problem.examples.heldout[:5].T)[0]
    first, group = problem.generator.log_prob(params, x), problem.symmetry.group
    for index, sign in zip(group.index, group.sign, strict=True):
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
        engine.make_plan("lj-dimer", **options)
