"""The dimer from one closed configuration: an exploration in a run folder, and chains from what it archived."""

from types import SimpleNamespace

import numpy as np
import pytest

from jbg import runs
from jbg.interfaces import ConfigError, RunError
from jbg.sampling.exploration import Exploration
from jbg.sampling.exploration_archive import empty_archive
from jbg.sampling.generate import Ensemble, SampleSet
from jbg.studies import engine
from jbg.studies.dataset import load_dataset
from jbg.studies.dimer import cooling, explored, exploring
from jbg.studies.dimer.cell import in_cell
from jbg.studies.dimer.chains import state_chains
from jbg.studies.evidence import Evidence
from jbg.systems import dimer_distance, double_well
from jbg.targets import make_target
from tests.losses.affine import generator

pytestmark = pytest.mark.study

SYSTEM = double_well()
TARGET, FLOW = make_target(SYSTEM), generator()
SETTINGS = Exploration(
    budget=3000, buffer=100, batch=50, moves=2, first_steps=5, train_steps=2, data_batch=16,
    energy_batch=16, archive=5,
)  # fmt: skip
N_CHAINS = 20


class Killed(Exception):
    pass


def explore(path, on_part=lambda state, history: None):
    run = runs.open_run(path, {"seed": 0})
    state = exploring.explore_in(
        run, FLOW, TARGET, SYSTEM.start[0],
        settings=SETTINGS, states=SYSTEM.states, on_part=on_part,
    )  # fmt: skip
    return run, state


def test_an_interrupted_exploration_ends_as_an_unbroken_one(tmp_path):
    run, state = explore(tmp_path / "whole")
    whole = exploring.load_course(run)
    assert whole.spent[0] == SETTINGS.buffer
    assert whole.spent[-1] == int(state.n_evaluations) == whole.history.n_evaluations[-1]
    assert len(whole.history.step) == SETTINGS.n_iterations
    np.testing.assert_array_equal(whole.buffers[-1], state.buffer)
    assert len(whole.buffers) == len(whole.spent)

    def stop(state, history):
        if int(state.iteration) >= SETTINGS.n_iterations // 2:
            raise Killed

    with pytest.raises(Killed):
        explore(tmp_path / "broken", stop)
    run, again = explore(tmp_path / "broken")
    np.testing.assert_array_equal(again.buffer, state.buffer)
    np.testing.assert_array_equal(again.archive.u, state.archive.u)
    broken = exploring.load_course(run)
    np.testing.assert_array_equal(broken.spent, whole.spent)
    np.testing.assert_array_equal(broken.buffers, whole.buffers)
    for name in ("step", "shares", "archived", "n_evaluations", "tau"):
        np.testing.assert_array_equal(
            getattr(broken.history, name), getattr(whole.history, name), err_msg=name
        )


def test_the_plan_says_all_and_asks_for_no_umbrella_sampling():
    plan = engine.make_plan("lj-dimer-explored", seed=3, wall=100.0)
    assert not hasattr(plan.data, "umbrella")
    assert plan.data.exploration.budget == 300_000
    assert plan.sampling.taus == (1.0,)
    # states, chains, trajectories of cooling, burn-in and data, leapfrog steps and one
    chains = 2 * 400 * (5 * (200 + 20) + 2000 + 800 * 20) * 9
    assert engine.cost(plan)["energy_evaluations_simulate"] == 300_000 + chains
    with pytest.raises(ConfigError, match="must be among them"):
        engine.make_plan("lj-dimer-explored", taus=(2.0,))


def short_plan():
    return explored.shorten(engine.make_plan("lj-dimer-explored"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = engine.open_run(tmp_path_factory.mktemp("explored") / "a", short_plan())
    engine.simulate(run, quiet=True)
    return run


def by_state(run):
    """Frames ``(n_chains, n_frames, 76)`` of each state."""
    data = load_dataset(run)
    return np.split(data.x[data.by_chain()], 2)


def test_chains_start_from_the_archive_and_stay_in_their_state(run):
    archive = run.load_arrays(explored.ARCHIVE)
    insides = (lambda d: d < 1.5, lambda d: d >= 1.5)
    for i, (inside, frames) in enumerate(zip(insides, by_state(run), strict=True)):
        assert inside(dimer_distance(archive[f"frames_{i}"].T)).all()
        assert frames.shape == (N_CHAINS, 10, 76)
        assert inside(dimer_distance(frames.reshape(-1, 76).T)).all()
        assert in_cell(frames.reshape(-1, 76)).all()
    settings, spent = short_plan().data.exploration, exploring.load_course(run).spent
    chains = 2 * N_CHAINS * (5 * (100 + 20) + 300 + 10 * 20) * 9
    assert load_dataset(run).evaluations == spent[-1] + chains
    assert spent[-1] <= settings.budget


def test_chains_forget_where_they_started(run):
    """Archived energies lie far above equilibrium; those of the chains agree with chains from relaxed lattices.

    Means of independent chains, within 4.5 standard errors of the difference.
    """
    plan = short_plan()
    system = plan.options.system()
    archive, found = run.load_arrays(explored.ARCHIVE), by_state(run)
    for i, state in enumerate(system.states):
        other = state_chains(
            runs.Run(path=run.path, config=run.config | {"seed": 1}),
            plan.options, plan.data.chains, state,
            np.repeat(system.start[i : i + 1], N_CHAINS, axis=0), 1.0,
        )  # fmt: skip
        means = [
            system.potential(x.reshape(-1, 76).T).reshape(x.shape[:2]).mean(1)
            for x in (found[i], other)
        ]
        error = np.hypot(*(m.std(ddof=1) / np.sqrt(len(m)) for m in means))
        assert abs(means[0].mean() - means[1].mean()) < 4.5 * error
        assert system.potential(archive[f"frames_{i}"].T).mean() > means[0].mean() + 9 * error


def test_nothing_claims_a_reference(run):
    problem = engine.load_problem(run)
    x = np.tile(by_state(run)[1].reshape(-1, 76), (3, 1))
    drawn = {Ensemble(): SampleSet(x, np.zeros(len(x)), np.zeros(len(x)))}
    evidence = Evidence(run, engine.plan_of(run), problem, (), drawn)
    known = explored.STUDY.reference(evidence, *problem.system.states, 1.0)
    assert known.value is None
    assert "jbg run lj-dimer" in known.reason
    assert not known.expected
    (profile,) = explored.STUDY.observables
    found, arrays = profile(evidence)
    assert "profile_d_reference" not in arrays
    lowest = arrays["profile_d_centers"][np.nanargmin(arrays["profile_d_reweighted"])]
    assert 1.8 < lowest < 2.3  # the open minimum of the dimer's own term is at 2.05
    assert found["profiles"]["d"]["label"] == "dimer distance d"


def test_a_state_that_was_never_seen_is_named():
    last = SimpleNamespace(archive=empty_archive(2, 3, 76), n_evaluations=17)
    plan = short_plan()
    with pytest.raises(RunError, match="17 energies .* never saw the state closed"):
        explored.archive_frames(last, plan.options.system().states, plan.data.exploration)


@pytest.mark.parametrize("share", [0.75, 0.4])
def test_chains_that_stand_still_are_replaced_or_refused(share, tmp_path, monkeypatch):
    plan = short_plan()
    run = engine.open_run(tmp_path / "a", plan)
    system, n = plan.options.system(), plan.data.chains.n_chains
    standing = np.arange(n) >= share * n

    def chains(key, target, x, **settings):
        second = np.where(standing[:, None], x, x + 0.01)
        return np.stack([x, second], axis=1), 0.5

    monkeypatch.setattr(cooling, "hmc_chains", chains)
    frames = np.repeat(system.start[:1], 3, axis=0) + np.arange(3)[:, None]
    go = lambda: cooling.cooled(
        run,
        plan.options,
        plan.data.chains,
        plan.data.cooling,
        system.states[0],
        frames,
        (30.0, 1.0),
    )
    if share < 0.5:
        with pytest.raises(RunError, match="8 of 20 chains of the state closed move"):
            go()
        return
    x = go()
    shifted = frames + 0.01 * cooling.N_RUNGS
    apart = np.abs(x[:, None] - shifted[None]).max(axis=-1).min(axis=1)
    assert x.shape == (n, 76)
    assert apart.max() < 1e-6  # all of them are copies of chains that moved
    assert len({round(float(row[0]), 3) for row in x}) == 3  # of every start
