"""Alarms fire on flows that lost a state, and on none that are good: small real flows and counted arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jbg
from jbg import reweighting
from jbg.analysis import forward_nll_by_state, missing_state_alarms, results_alarms
from jbg.analysis.alarms import difference_alarms, few_effective_alarms, weight_alarms
from jbg.losses import make_kl_loss, make_nll_loss
from jbg.targets import restrict
from tests.losses import affine

SYSTEM = jbg.double_well()
TARGET = jbg.make_target(SYSTEM)
REALNVP = jbg.Generator(base=jbg.normal(2), bijector=jbg.realnvp(2, n_blocks=3, hidden=(32,)))
N = 20_000


@pytest.fixture(scope="module")
def data():
    """Metropolis frames of each well: of four chains, the last is held out."""
    train, held = [], []
    for i, state in enumerate(SYSTEM.states):
        chains = jbg.metropolis(
            jax.random.key(i),
            restrict(TARGET, state.contains),
            np.tile(SYSTEM.start[i], (4, 1)),
            step=0.3,
            n_steps=4000,
            stride=10,
        )
        train.append(np.asarray(chains[:3]).reshape(-1, 2))
        held.append(np.asarray(chains[3]))
    return train, np.concatenate(held)


def trainer(generator):
    """Compiled (params, data, weight of the example, weight of the energy) -> params, 400 steps of Adam."""
    nll = make_nll_loss(generator)
    kl = make_kl_loss(generator, jbg.soften(TARGET, e_high=100.0, e_max=1e20), n_samples=256)
    optimiser = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(5e-3))

    @jax.jit
    def fit(params, data, w_nll, w_kl):
        def loss(params, key):
            batch = data[jax.random.randint(key, (256,), 0, len(data))].T
            return w_nll * nll(params, batch, key)[0] + w_kl * kl(params, batch, key)[0]

        def step(state, key):
            params, memory = state
            update, memory = optimiser.update(jax.grad(loss)(params, key), memory)
            return (optax.apply_updates(params, update), memory), None

        keys = jax.random.split(jax.random.key(1), 400)
        return jax.lax.scan(step, (params, optimiser.init(params)), keys)[0][0]

    return fit


def look(generator, params, held):
    """Held-out likelihoods and effective samples of each state, as a study has them."""
    samples = generator.sample(params, jax.random.key(2), N)
    log_w = reweighting.log_weights(TARGET.reduced_energy(samples.x), samples.log_prob)
    generated = {s.name: np.asarray(s.contains(samples.x)) for s in SYSTEM.states}
    nll = forward_nll_by_state(
        generator.log_prob(params, jnp.asarray(held.T)),
        {s.name: np.asarray(s.contains(held.T)) for s in SYSTEM.states},
        samples.log_prob,
        generated,
    )
    ess = {
        name: {
            "effective_samples": reweighting.ess(log_w[inside]) * inside.sum()
            if inside.any()
            else 0,
            "generated_share": inside.mean(),
        }
        for name, inside in generated.items()
    }
    return nll, ess, reweighting.ess(log_w)


def test_a_flow_that_started_in_one_well_and_was_trained_by_energy_is_found_out(data):
    (left, _), held = data
    flow = affine.generator()
    params = {"a": jnp.full(2, -1.0), "b": jnp.asarray(SYSTEM.start[0], jnp.float32)}
    nll, ess, of_all = look(flow, trainer(flow)(params, left, 0.0, 1.0), held)
    assert of_all > 0.7  # nothing seems wrong
    assert ess["right"]["effective_samples"] < 50
    (warning,) = missing_state_alarms(nll, ess)
    assert warning.startswith("state right is in the data (400 held out) but nearly missing")
    assert nll["right"]["value"] > nll["left"]["value"] + 10
    assert nll["right"]["below_generated"] == 1.0
    assert nll["left"]["below_generated"] < 0.1


def test_good_flows_set_nothing_off(data):
    frames, held = data
    both, fit = np.concatenate(frames), trainer(REALNVP)
    by_example = fit(REALNVP.init(jax.random.key(0)), both, 1.0, 0.0)
    for params in (by_example, fit(by_example, both, 1.0, 1.0)):
        nll, ess, of_all = look(REALNVP, params, held)
        assert of_all > 0.05
        assert min(entry["effective_samples"] for entry in ess.values()) > 100
        assert missing_state_alarms(nll, ess) == []
        assert max(entry["below_generated"] for entry in nll.values()) < 0.05
        # each state's mean -ln q is at least the entropy of its data, about 0.5 nats, plus ln 2 at equal shares
        assert all(0.5 < entry["value"] < 4.0 for entry in nll.values())


def normal_log_q(x, mean):
    return -0.5 * (x - mean) ** 2 - 0.5 * np.log(2 * np.pi)


@pytest.mark.parametrize(("share", "fires"), [(0.0, False), (0.05, False), (0.3, True)])
def test_a_part_of_a_state_is_missing(share, fires):
    """Data with a second basin in the same state, where q never goes."""
    rng = np.random.default_rng(0)
    x = np.where(rng.random(1000) < share, 8.0, 0.0) + rng.normal(size=1000)
    drawn = rng.normal(size=50_000)
    everything = {"only": np.ones(1000, bool)}
    generated = {"only": np.ones(50_000, bool)}
    nll = forward_nll_by_state(
        normal_log_q(x, 0.0), everything, normal_log_q(drawn, 0.0), generated
    )
    # the RARE quantile of the flow is where 0.1 % of data as the flow's own lie, too
    assert abs(nll["only"]["below_generated"] - share - 1e-3) < 4 * np.sqrt(0.25 / 1000)
    found = missing_state_alarms(nll, {"only": {"effective_samples": 4e4, "generated_share": 1.0}})
    assert len(found) == fires
    assert all(line.startswith("part of state only is missing") for line in found)


def test_mean_and_error_of_correlated_data():
    """Frames correlated over 10 steps: the blocks' error is the spread of repeats, the naive one is not."""
    rng, rho, values, errors = np.random.default_rng(1), 0.9, [], []
    for _ in range(200):
        x = rng.normal(size=2000)
        for t in range(1, 2000):
            x[t] = rho * x[t - 1] + np.sqrt(1 - rho**2) * x[t]
        inside = {"a": np.ones(2000, bool)}
        nll = forward_nll_by_state(-x, inside, np.zeros(10), {"a": np.ones(10, bool)})["a"]
        values.append(nll["value"])
        errors.append(nll["stderr"])
    # 5 % from 200 repeats, and blocks of 100 frames see 5 % less
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.25)
    assert np.mean(errors) > 3 / np.sqrt(2000)


def test_what_data_do_not_know_is_not_judged():
    log_q, none = np.zeros(20), np.zeros(20, bool)
    nll = forward_nll_by_state(
        log_q, {"a": ~none, "b": none}, np.zeros(9), {"a": np.ones(9, bool), "b": np.zeros(9, bool)}
    )
    assert nll["b"] == {"value": None, "stderr": None, "n": 0, "below_generated": None}
    ess = {name: {"effective_samples": 0.0, "generated_share": 0.0} for name in "ab"}
    (warning,) = missing_state_alarms(nll, ess)
    assert "state a " in warning


def test_data_where_q_is_zero_are_below_and_have_no_mean():
    inside = {"a": np.ones(20, bool)}
    log_q = np.where(np.arange(20) < 5, -np.inf, 0.0)
    nll = forward_nll_by_state(log_q, inside, np.zeros(5000), {"a": np.ones(5000, bool)})
    assert (nll["a"]["value"], nll["a"]["below_generated"]) == (None, 0.25)
    (warning,) = missing_state_alarms(
        nll, {"a": {"effective_samples": 99.0, "generated_share": 1.0}}
    )
    assert "where q is zero" in warning


ENTRY = {
    "states": ["a", "b"],
    "tau": 1.0,
    "value": 1.0,
    "stderr": 0.1,
    "reference": 1.1,
    "reference_stderr": 0.0,
}


def test_weights_and_differences():
    assert weight_alarms(0.5, 0.3, 0.01) == []
    assert len(weight_alarms(0.01, 0.9, 0.2)) == 3
    assert weight_alarms(0.5, np.nan, 0.0) == []
    assert difference_alarms(ENTRY) == []
    (far,) = difference_alarms(ENTRY | {"reference": 2.0})
    assert "1.00 kT from the reference" in far
    missing = {"value": None, "reason": "empty", "reference": None, "reference_reason": "no run"}
    assert [line[-6:] for line in difference_alarms(ENTRY | missing)] == [" empty", "no run"]
    by_choice = {"reference": None, "reference_reason": "none made", "reference_expected": False}
    assert difference_alarms(ENTRY | by_choice) == []
    assert few_effective_alarms(ENTRY, {"a": 51.0, "b": 50.0}) == []
    (few,) = few_effective_alarms(ENTRY, {"a": 51.0, "b": 20.0})
    assert few == "F(b) - F(a) rests on 20.0 effective samples in b, fewer than 50"
    assert few_effective_alarms(ENTRY | missing, {"a": 51.0, "b": 20.0}) == []


HELD = {"effective_samples": 500.0, "generated_share": 0.5, "largest_weight_share": 0.01}


def results(**change):
    nll = {"value": 1.0, "stderr": 0.1, "n": 100, "below_generated": 0.0}
    return {
        "ess_fraction": 0.5,
        "pareto_k": 0.3,
        "largest_weight_share": 0.01,
        "ess_by_state": {"a": HELD, "b": HELD},
        "forward_nll_by_state": {"a": nll, "b": nll},
        "free_energy_differences": [ENTRY],
        "n_invalid": 0,
        "n_samples": 1000,
    } | change


@pytest.mark.parametrize(
    ("change", "metrics", "message"),
    [
        ({"ess_fraction": 0.01}, [], "ESS fraction is 0.01"),
        (
            {"ess_by_state": {"a": HELD, "b": HELD | {"largest_weight_share": 0.087}}},
            [],
            "one sample holds 8.7% of the weight of b: draw more",
        ),
        ({"n_invalid": 20}, [], "20 of 1000 samples have no finite energy"),
        (
            {"forward_nll_reason": "none"},
            [],
            "no equilibrium was simulated, and no number here can show",
        ),
        ({"never_turned": ["C1-C2"]}, [], "conditional on that: C1-C2"),
        ({}, [{"skipped": 2.0}, {"loss": 1.0}], "2 training steps had no finite gradient"),
        ({"free_energy_differences": [ENTRY | {"reference": 5.0}]}, [], "from the reference"),
    ],
)
def test_a_run_is_told_once(change, metrics, message):
    assert results_alarms(results(), [{"loss": 1.0}]) == []
    (warning,) = results_alarms(results(**change), metrics)
    assert message in warning


def test_another_estimator_answers_for_its_own_effective_samples():
    few = {"effective_samples": 30.0, "generated_share": 0.5}
    change = {"ess_by_state": {"a": few, "b": few}, "forward_nll_by_state": {}}
    assert len(results_alarms(results(**change), [])) == 2
    for other in ({"tau": 2.0}, {"estimator": "bar"}):
        found = results_alarms(results(**change, free_energy_differences=[ENTRY | other]), [])
        assert found == []


def test_a_state_that_is_drawn_but_badly_weighted_is_not_called_missing():
    nll = {"a": {"value": 1.0, "stderr": 0.1, "n": 100, "below_generated": 0.0}}
    here = missing_state_alarms(nll, {"a": {"effective_samples": 12.0, "generated_share": 0.7}})
    gone = missing_state_alarms(nll, {"a": {"effective_samples": 12.0, "generated_share": 0.002}})
    assert here == [
        "averages over state a rest on 12.0 effective samples, fewer than 50: draw more"
    ]
    assert "nearly missing from the samples" in gone[0]
