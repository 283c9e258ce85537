"""Which ladders are for what, frames that do not fit their domain, and a simulation that resumes bit for bit."""

import dataclasses

import numpy as np
import pytest

from jbg.interfaces import ConfigError
from jbg.simulation.replica_exchange import replica_exchange
from jbg.simulation.replica_exchange_config import ReplicaExchangeConfig
from jbg.studies import engine
from jbg.studies.dataset import ASIDE, FRAMES, LEARN, WATCH, Dataset
from jbg.studies.molecule import problem, source
from jbg.studies.molecule.data_plan import ExchangePlan
from jbg.studies.molecule.files import COORDINATES, EXCHANGE
from tests import tiny


def plan(heldout, aside):
    settings = ReplicaExchangeConfig(temperatures=(300.0, 500.0))
    return ExchangePlan(
        exchange=settings,
        heldout=heldout,
        aside=aside,
        balance=0.1,
        hydrogen_mass=6.0,
        atoms=22,
        sha256=None,
    )


@pytest.mark.parametrize(
    ("n", "learn", "watch", "aside"), [(32, 14, 2, 16), (16, 6, 2, 8), (4, 2, 1, 1), (2, 1, 1, 0)]
)
def test_every_ladder_has_one_part(n, learn, watch, aside):
    shares = (2 / n, 0.5) if n >= 16 else (0.25, 0.25)
    found = source.roles(n, plan(*shares))
    assert found.tolist() == [LEARN] * learn + [WATCH] * watch + [ASIDE] * aside
    assert ASIDE not in source.roles(n, plan(0.125, 0.0))


@pytest.mark.parametrize(("heldout", "aside"), [(0.0, 0.5), (1.0, 0.0), (0.1, 1.0)])
def test_shares_that_are_none_are_refused(heldout, aside):
    with pytest.raises(ConfigError, match=r"heldout must lie in \(0, 1\) and aside in \[0, 1\)"):
        plan(heldout, aside)


def test_frames_set_aside_are_ladder_by_ladder_without_what_remembers_the_start():
    """Four ladders in turn, x counts the rows: the last two are set aside, of three frames one remembers."""
    x, chain = np.arange(12.0)[:, None], np.tile(np.arange(4), 3)
    data = Dataset.of_chains(x[None])._replace(
        chain=chain, role=np.array([LEARN, WATCH, ASIDE, ASIDE])[chain]
    )
    inside = np.ones(12, bool)
    inside[7] = False
    found = problem._set_aside(data, inside, 1)
    assert found.x[..., 0].tolist() == [[6, 10], [7, 11]]
    assert found.usable.tolist() == [[True, True], [False, True]]
    assert problem._set_aside(data._replace(role=np.full(12, LEARN)), inside, 1) is None


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A run with data, and its arrays."""
    run = engine.open_run(tmp_path_factory.mktemp("run") / "a", tiny.molecule("alanine-dipeptide"))
    engine.simulate(run, quiet=True)
    return run


@pytest.mark.study
@pytest.mark.openmm
def test_rows_are_of_one_schema(simulated):
    data, plan = simulated.load_arrays(FRAMES), engine.plan_of(simulated).data
    n = plan.exchange.n_rounds * plan.exchange.n_ladders
    assert data["x"].shape == (n, 66)
    np.testing.assert_array_equal(data["chain"], np.tile(np.arange(4), n // 4))
    np.testing.assert_array_equal(
        data["role"], np.array([LEARN, LEARN, WATCH, ASIDE])[data["chain"]]
    )
    assert set(data["tau"]) == {1.0}
    assert set(data["walker"].tolist()) == {0, 1}
    problem = engine.load_problem(simulated)
    u = problem.reduced_energies(data["x"])
    np.testing.assert_allclose(data["u"], u, atol=1e-2)


@pytest.mark.study
@pytest.mark.openmm
def test_a_domain_of_other_frames_is_refused_by_name(simulated):
    domain = simulated.load_arrays("data/domain.npz")
    cut = domain | {"inside": domain["inside"][:-1]}
    simulated.save_arrays("data/domain.npz", **cut)
    try:
        with pytest.raises(ConfigError, match=r"frames.npz is damaged \(239 of 240 frames"):
            engine.load_problem(simulated)
    finally:
        simulated.save_arrays("data/domain.npz", **domain)


@pytest.mark.study
@pytest.mark.openmm
def test_replica_exchange_resumes_from_a_round_bit_for_bit(simulated, tmp_path, monkeypatch):
    run = engine.open_run(tmp_path / "broken", engine.plan_of(simulated))
    monkeypatch.setattr(source, "CHECKPOINT_SECONDS", 0.0)
    for stop in (3, 55):

        def stopping(*args, on_round, stop=stop, **kwargs):
            def watched(state):
                on_round(state)
                if state.round == stop:
                    raise KeyboardInterrupt

            return replica_exchange(*args, on_round=watched, **kwargs)

        monkeypatch.setattr(source, "replica_exchange", stopping)
        with pytest.raises(KeyboardInterrupt):
            engine.simulate(run, quiet=True)
        assert int(run.load_arrays(EXCHANGE)["round"]) == stop
    monkeypatch.setattr(source, "replica_exchange", replica_exchange)
    engine.simulate(run, quiet=True)
    assert run.stage_done("simulate")
    assert not (run.path / EXCHANGE).exists()
    for file in (FRAMES, COORDINATES):
        whole, broken = (r.load_arrays(file) for r in (simulated, run))
        assert whole.keys() == broken.keys()
        for name in whole:
            np.testing.assert_array_equal(whole[name], broken[name])


@pytest.mark.study
@pytest.mark.openmm
def test_a_checkpoint_of_other_sizes_is_refused(simulated, tmp_path):
    whole = engine.plan_of(simulated)
    longer = dataclasses.replace(whole.data.exchange, n_rounds=61)
    run = engine.open_run(
        tmp_path / "a",
        dataclasses.replace(whole, data=dataclasses.replace(whole.data, exchange=longer)),
    )
    fields = source.ExchangeState._fields
    run.save_arrays(EXCHANGE, **dict.fromkeys(fields, 0) | {"frames": np.zeros((60, 4, 22, 3))})
    with pytest.raises(ConfigError, match=r"holds \(60, 4\) .* asks for \(61, 4\)"):
        engine.simulate(run, quiet=True)
    run.save_arrays(EXCHANGE, frames=np.zeros((61, 4, 22, 3)))
    with pytest.raises(ConfigError, match="another version of jbg began"):
        engine.simulate(run, quiet=True)
