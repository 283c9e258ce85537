"""Alarms fire on flows that lost a state, and on none that are good: small real flows and counted arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import jbg
from jbg import reweighting
from jbg.analysis import forward_nll_by_state, missing_state_alarms, results_alarms, weight_gap
from jbg.analysis.alarms import part_missing
from jbg.analysis.estimate_alarms import (
    difference_alarms,
    estimator_alarms,
    few_effective_alarms,
    weight_alarms,
)
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
    samples = generator.sample(jax.random.key(2), params, N)
    log_w = reweighting.log_weights(TARGET.reduced_energy(samples.x), samples.log_prob)
    generated = {s.name: np.asarray(s.contains(samples.x)) for s in SYSTEM.states}
    log_q = np.asarray(generator.log_prob(params, jnp.asarray(held.T)), np.float64)
    inside = {s.name: np.asarray(s.contains(held.T)) for s in SYSTEM.states}
    nll = forward_nll_by_state(log_q, inside, samples.log_prob, generated)
    log_w_held = -np.asarray(TARGET.reduced_energy(jnp.asarray(held.T)), np.float64) - log_q
    for name, here in inside.items():
        drawn = log_w[generated[name]]
        nll[name] |= weight_gap(
            log_w_held[here], np.arange(here.sum()) // 40, drawn, seed=0
        ).as_results()
    ess = {
        name: {
            "effective_samples": reweighting.ess_fraction(log_w[inside]) * inside.sum()
            if inside.any()
            else 0,
            "generated_share": inside.mean(),
        }
        for name, inside in generated.items()
    }
    return nll, ess, reweighting.ess_fraction(log_w)


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


def exact_but_for_a_basin(rng, dim, lost, n, m=20_000):
    """State entries of a flow that is exact but for a basin, ``lost`` of the state, where q is e^14 too small.

    The basin is where the first coordinate is beyond a wall; the others are Gaussian. Weights are computed from u
    and ln q, each of which scatters by sqrt(dim / 2).
    """
    wall = stats.norm.ppf(1 - lost)

    def log_q(x):
        inside = x[:, 0] < wall
        return -0.5 * np.sum(x**2, axis=1) - np.where(inside, np.log(1 - lost), 14.0)

    drawn = rng.normal(size=(m, dim))
    drawn[:, 0] = stats.norm.ppf(rng.random(m) * (1 - lost))
    frames = rng.normal(size=(n, dim))
    u = lambda x: 0.5 * np.sum(x**2, axis=1)
    gap = weight_gap(
        -u(frames) - log_q(frames), np.arange(n) // 10, -u(drawn) - log_q(drawn), seed=0
    )
    everything, generated = {"only": np.ones(n, bool)}, {"only": np.ones(m, bool)}
    nll = forward_nll_by_state(log_q(frames), everything, log_q(drawn), generated)
    nll["only"] |= gap.as_results()
    return nll


@pytest.mark.parametrize("dim", [60, 400])
@pytest.mark.parametrize(("lost", "n"), [(0.08, 100), (0.08, 1000), (0.3, 100)])
def test_a_lost_basin_is_seen_in_many_dimensions(dim, lost, n):
    """ln q of the lost frames is no less than that of others: only weights tell."""
    fine = {"only": {"effective_samples": 2e4, "generated_share": 1.0}}
    fired = 0
    for seed in range(4):
        nll = exact_but_for_a_basin(np.random.default_rng(seed), dim, lost, n)
        found = missing_state_alarms(nll, fine)
        fired += bool(found)
        assert all("of its" in line and "ESS fraction of the state is" in line for line in found)
        assert abs(nll["only"]["unseen_share"] - lost) < 4.5 * np.sqrt(lost / n)
        assert nll["only"]["forward_ess"] < 1e-4 < 0.9 < nll["only"]["reverse_ess"]
    assert fired == 4
    whole = exact_but_for_a_basin(np.random.default_rng(0), dim, 1e-12, n)
    assert missing_state_alarms(whole, fine) == []
    assert whole["only"]["forward_ess"] == pytest.approx(1.0, abs=1e-3)


def test_flows_that_are_right_set_off_the_alarm_in_less_than_a_hundredth_of_runs():
    fired = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        sigma, n, m = 0.8 * rng.random() + 0.1, (100, 1000)[seed % 2], (2000, 20_000)[seed // 2 % 2]
        # ln w of q is N(-s^2/2, s), that of p is N(s^2/2, s); frames are correlated over about 8
        x = rng.normal(size=(10, n // 10))
        for t in range(1, n // 10):
            x[:, t] = 0.78 * x[:, t - 1] + np.sqrt(1 - 0.78**2) * x[:, t]
        frames, drawn = sigma**2 / 2 + sigma * x, -(sigma**2) / 2 + sigma * rng.normal(size=m)
        chain = np.repeat(np.arange(10), n // 10)
        fired += part_missing(weight_gap(frames.ravel(), chain, drawn, seed=seed).as_results())
    assert fired <= 3


def test_the_forward_ess_is_that_of_the_weights_and_its_error_that_of_repeats():
    values, errors = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        frames, drawn = 0.32 + 0.8 * rng.normal(size=1000), -0.32 + 0.8 * rng.normal(size=20_000)
        gap = weight_gap(frames, np.repeat(np.arange(20), 50), drawn, seed=seed)
        values.append(gap.forward_ess)
        errors.append(gap.forward_ess_stderr)
        assert abs(gap.reverse_ess - np.exp(-0.64)) < 0.05
    assert abs(np.mean(values) - np.exp(-0.64)) < 4 * np.std(values) / np.sqrt(60) + 0.003
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.35)


def test_frames_in_a_row_are_one_visit_and_where_q_is_zero_is_beyond():
    drawn = np.random.default_rng(0).normal(size=5000) * 0.1
    frames = np.zeros(200)
    frames[100:140] = np.inf
    one = weight_gap(frames, np.zeros(200, int), drawn, seed=0)
    assert one.unseen_share == pytest.approx(0.2, abs=0.01)
    assert one.forward_ess < 1e-200
    two = weight_gap(frames, np.arange(200) // 20, drawn, seed=0)  # two chains, each a visit
    assert two.chance < one.chance
    assert weight_gap(frames, np.zeros(200, int), drawn[:1], seed=0) == (200, *[None] * 6)


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
        nll, {"a": {"effective_samples": 9.0, "generated_share": 0.001}}
    )
    assert "where q is zero" in warning


ENTRY = {
    "states": ["a", "b"],
    "tau": 1.0,
    "value": 1.0,
    "stderr": 0.1,
    "interval95": (0.804, 1.196),
    "reference": 1.1,
    "reference_stderr": 0.0,
}


def test_weights_and_differences():
    good = {"ess_fraction": 0.5, "pareto_k": 0.3, "tail_kt": 0.01, "largest_weight_share": 0.01}
    bad = {"ess_fraction": 0.01, "pareto_k": 0.9, "tail_kt": 0.3, "largest_weight_share": 0.2}
    assert weight_alarms(good) == []
    assert len(weight_alarms(bad)) == 3
    assert "may raise ln Z by up to 0.30 kT" in weight_alarms(bad)[1]
    assert weight_alarms(good | {"pareto_k": 0.8}) == []  # nearly equal weights: it changes nothing
    assert weight_alarms(good | {"pareto_k": None, "tail_kt": None}) == []
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


HELD = {
    "effective_samples": 500.0,
    "generated_share": 0.5,
    "largest_weight_share": 0.01,
    "pareto_k": 0.3,
    "tail_kt": 0.01,
}
PLAIN = ENTRY | {"interval95": (0.5, 1.2)}


def results(**change):
    nll = {"value": 1.0, "stderr": 0.1, "n": 100, "below_generated": 0.0}
    return {
        "ess_fraction": 0.5,
        "pareto_k": 0.3,
        "tail_kt": 0.01,
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
        (
            {"ess_by_state": {"a": HELD, "b": HELD | {"pareto_k": 0.8, "tail_kt": 0.2}}},
            [],
            "Pareto k of the weights in b is 0.80 (> 0.7): larger weights that were not drawn may lower F(b) by",
        ),
        ({"n_invalid": 20}, [], "20 of 1000 samples have no finite energy"),
        (
            {"forward_nll_reason": "none", "forward_nll_by_state": {}},
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


def test_reweighting_apart_from_bar_is_told():
    """In units of the half of the interval that looks towards the other, and of the other's error."""

    def bar(value, **change):
        ends = {"interval95": (value - 0.098, value + 0.098), "stderr": 0.05}
        return ENTRY | {"estimator": "bar", "value": value} | ends | change

    assert estimator_alarms(bar(0.3), PLAIN) == []  # 0.26 and 0.05: 2.6 errors
    (below,) = estimator_alarms(bar(0.15), PLAIN)
    assert "by plain reweighting, 1.00 kT, is 0.85 kT from that with simulated frames" in below
    assert len(estimator_alarms(bar(1.4), PLAIN)) == 1
    # few ladders: an interval of Student's is wider than the standard error says
    assert estimator_alarms(bar(1.4, interval95=(1.0, 1.5)), PLAIN) == []
    assert estimator_alarms(bar(0.0) | {"value": None}, PLAIN) == []
    assert estimator_alarms(bar(0.0) | {"estimator": "pooled reweighting"}, PLAIN) == []
    found = results_alarms(
        results(free_energy_differences=[bar(0.1, reference=0.1)], reweighted_differences=[PLAIN]),
        [],
    )
    assert len(found) == 1


def test_what_bar_lacked_is_told():
    (fallback,) = difference_alarms(ENTRY | {"estimator_reason": "200 frames of b, need 300"})
    assert "by reweighting alone" in fallback
    assert fallback.endswith("BAR was not possible: 200 frames of b, need 300")
    slow = "BAR takes the frames as in equilibrium within a state, but psi is slow"
    (biased,) = difference_alarms(ENTRY | {"equilibrium_reason": slow})
    assert biased == f"F(b) - F(a) may be biased: {slow}"


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
        "averages over state a rest on 12.0 effective samples, fewer than 50: draw more, or train longer"
    ]
    assert "nearly missing from the samples" in gone[0]
