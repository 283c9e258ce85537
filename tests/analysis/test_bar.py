"""BAR through a flow's density: known normalisers, coverage over repeats, and what must be refused."""

import numpy as np
import pytest

from jbg.analysis import StateSamples, bar_free_energy_difference, bar_log_z, kl_loss_difference
from jbg.analysis.bar_equation import _inefficiency
from jbg.interfaces import ConfigError
from jbg.reweighting import log_z_estimate

DIM = 6


class Gaussian:
    """u/tau = |x - mean|^2 / (2 width^2 tau) + offset/tau, features last."""

    def __init__(self, mean, width, offset=0.0):
        self.mean, self.width, self.offset = np.full(DIM, mean), width, offset

    def u(self, x):
        return 0.5 * np.sum(((x - self.mean) / self.width) ** 2, axis=-1) + self.offset

    def log_z(self, tau=1.0):
        return 0.5 * DIM * np.log(2 * np.pi * tau * self.width**2) - self.offset / tau

    def log_prob(self, x):
        return -self.u(x) - self.log_z()

    def draw(self, rng, *shape):
        return self.mean + self.width * rng.normal(size=(*shape, DIM))

    def chains(self, rng, n_chains, n_frames, *, rho=0.8, tau=1.0):
        """Frames correlated by rho from one to the next, started in equilibrium."""
        x = rng.normal(size=(n_chains, n_frames, DIM))
        for t in range(1, n_frames):
            x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * x[:, t]
        return self.mean + np.sqrt(tau) * self.width * x


def whole_space(rng, p, q, *, n=4000, n_chains=8, n_frames=500, tau=1.0):
    """Generated and simulated samples of the state that is all there is."""
    x, y = q.draw(rng, n), p.chains(rng, n_chains, n_frames, tau=tau)
    return StateSamples(q.log_prob(x), p.u(x), n, q.log_prob(y), p.u(y))


TARGET = Gaussian(1.0, 0.7, offset=-3.0)
FLOW = Gaussian(1.25, 0.5)  # shifted and too narrow


def test_log_z_is_unbiased_and_its_interval_covers_where_reweighting_fails():
    bar, plain, covered = [], [], 0
    for seed in range(20):
        samples = whole_space(np.random.default_rng(seed), TARGET, FLOW)
        found = bar_log_z(samples, seed=seed, n_bootstrap=300)
        assert found.reason is None
        covered += found.interval95[0] <= TARGET.log_z() <= found.interval95[1]
        bar.append((found.value - TARGET.log_z(), found.stderr))
        log_w = -np.asarray(samples.generated_u) - samples.generated_log_q
        plain.append(log_z_estimate(log_w).value - TARGET.log_z())
    errors, stderr = np.array(bar).T
    assert covered >= 17
    assert abs(errors.mean()) < 3 * np.sqrt(np.mean(stderr**2) / 20)
    assert np.mean(stderr) == pytest.approx(errors.std(ddof=1), rel=0.5)  # 16 %, at three sigma
    assert np.mean(np.square(plain)) > 4 * np.mean(errors**2)


def test_clashes_among_the_generated_change_nothing():
    """Energies of 1e30 make the bracket of the root as wide; the samples themselves count for nothing."""
    samples = whole_space(np.random.default_rng(0), TARGET, FLOW)
    u = samples.generated_u.copy()
    lightest = np.argsort(-u - samples.generated_log_q)[:5]
    u[lightest] = [1e6, 1e12, 1e20, 1e25, 1e30]
    found = bar_log_z(samples._replace(generated_u=u), seed=0, n_bootstrap=50)
    whole = bar_log_z(samples, seed=0, n_bootstrap=50)
    assert found.reason is None
    assert found.value == pytest.approx(whole.value, abs=1e-3)


def test_at_another_temperature_the_same_numbers_need_the_same_tau():
    rng = np.random.default_rng(3)
    samples = whole_space(rng, TARGET, Gaussian(1.1, 0.8), tau=2.0)
    found = bar_log_z(samples, seed=0, tau=2.0)
    assert abs(found.value - TARGET.log_z(2.0)) < 4 * found.stderr < 0.2
    assert abs(TARGET.log_z(2.0) - TARGET.log_z(1.0)) > 0.5


A, B = Gaussian(-4.0, 0.5), Gaussian(4.0, 0.8, offset=1.5)  # 20 widths apart: nothing ever crosses
EXACT = A.log_z() - B.log_z()


def one_flow_for_both(rng, *, share_b, n, n_chains=6, n_frames=300):
    """A mixture of two Gaussians that are off, with a share of B that is not the target's."""
    flow_a, flow_b = Gaussian(-3.9, 0.6), Gaussian(4.1, 0.7)
    n_b = rng.binomial(n, share_b)
    found = []
    for p, q, m, share in ((A, flow_a, n - n_b, 1 - share_b), (B, flow_b, n_b, share_b)):
        x, y = q.draw(rng, m), p.chains(rng, n_chains, n_frames, rho=0.5)
        found.append(
            StateSamples(
                q.log_prob(x) + np.log(share), p.u(x), n, q.log_prob(y) + np.log(share), p.u(y)
            )
        )
    return found


def test_states_that_never_cross_are_bridged_by_one_flow():
    covered, errors, stderr = 0, [], []
    for seed in range(20):
        a, b = one_flow_for_both(np.random.default_rng(seed), share_b=0.3, n=4000)
        found = bar_free_energy_difference(a, b, same_generator=True, seed=seed, n_bootstrap=300)
        covered += found.interval95[0] <= EXACT <= found.interval95[1]
        errors.append(found.value - EXACT)
        stderr.append(found.stderr)
    assert covered >= 17
    assert abs(np.mean(errors)) < 3 * np.sqrt(np.mean(np.square(stderr)) / 20)
    a, b = one_flow_for_both(np.random.default_rng(0), share_b=0.3, n=4000)
    back = bar_free_energy_difference(b, a, same_generator=True, seed=0)
    assert back.value == pytest.approx(-errors[0] - EXACT)


def test_two_generators_one_for_each_state():
    rng = np.random.default_rng(7)
    a = whole_space(rng, A, Gaussian(-3.9, 0.6))
    b = whole_space(rng, B, Gaussian(4.1, 0.7), n=6000)
    found = bar_free_energy_difference(a, b, same_generator=False, seed=0)
    assert abs(found.value - EXACT) < 4 * found.stderr < 0.2
    # the exact densities leave no other error than none: weights are constant
    exact = [whole_space(rng, p, Gaussian(p.mean[0], p.width)) for p in (A, B)]
    perfect = bar_free_energy_difference(*exact, same_generator=False, seed=0)
    assert perfect.value == pytest.approx(EXACT, abs=1e-9)
    assert perfect.stderr < 1e-8


@pytest.mark.parametrize("same_generator", [True, False])
def test_the_error_of_the_share_counts(same_generator):
    """With exact densities within the states, ln Z is off by ln(share found / share) and by nothing else."""
    n, n_b, share = 2000, 790, 0.4
    rng, states = np.random.default_rng(11), []
    for p, m, of_q in ((A, n - n_b, 1 - share), (B, n_b, share)):
        x, y = p.draw(rng, m), p.draw(rng, 8, 500)
        log_q = [p.log_prob(values) + np.log(of_q) for values in (x, y)]
        states.append(StateSamples(log_q[0], p.u(x), n, log_q[1], p.u(y)))
    found = bar_free_energy_difference(*states, same_generator=same_generator, seed=0)
    odds = np.log((n_b / share) / ((n - n_b) / (1 - share)))
    assert found.value == pytest.approx(EXACT - odds, abs=1e-9)
    # binomial, or the two shares of one set that exclude each other
    variance = {False: (n - n_b) / n_b + n_b / (n - n_b), True: n / n_b + n / (n - n_b)}
    assert found.stderr == pytest.approx(np.sqrt(variance[same_generator] / n), rel=0.1)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (lambda rng: whole_space(rng, A, B), "BAR rests on"),
        (lambda rng: whole_space(rng, TARGET, FLOW, n=40), "effective generated samples, need 50"),
        (
            lambda rng: whole_space(rng, TARGET, FLOW, n_frames=20, n_chains=2),
            "effective simulated",
        ),
        (lambda rng: whole_space(rng, TARGET, FLOW, n_chains=1), "a single chain gives no error"),
        # weights that are constant on each side have Kish's numbers of perfect overlap
        (
            lambda rng: StateSamples(
                np.zeros(5000), np.zeros(5000), 5000, np.full((4, 1000), -6.0), np.zeros((4, 1000))
            ),
            "do not overlap",
        ),
        (
            lambda rng: StateSamples(
                np.zeros(0), np.zeros(0), 5000, np.zeros((4, 1000)), np.zeros((4, 1000))
            ),
            "no samples with finite weight",
        ),
    ],
)
def test_without_overlap_there_is_no_value(samples, reason):
    refused = samples(np.random.default_rng(0))
    found = bar_log_z(refused, seed=0)
    assert (found.value, found.stderr, found.interval95) == (None, None, None)
    assert reason in found.reason
    good = whole_space(np.random.default_rng(1), TARGET, FLOW)
    difference = bar_free_energy_difference(good, refused, same_generator=False, seed=0)
    assert difference.value is None
    assert difference.reason.endswith("in the second state")


def test_invalid_samples_weigh_nothing_but_count():
    rng = np.random.default_rng(5)
    good = whole_space(rng, TARGET, FLOW)
    padded = StateSamples(
        np.append(good.generated_log_q, [0.0, np.nan]),
        np.append(good.generated_u, [np.inf, 0.0]),
        good.n_generated + 2,
        *good[3:],
    )
    expected = bar_log_z(good._replace(n_generated=good.n_generated + 2), seed=0)
    assert bar_log_z(padded, seed=0).value == pytest.approx(expected.value, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generated_u": np.zeros(3)}, "must be"),
        ({"simulated_u": np.zeros(3)}, "must be"),
        ({"n_generated": 5}, "no more samples inside than generated"),
        ({"simulated_u": np.full((8, 500), np.inf)}, "without finite energy"),
    ],
)
def test_bad_input_is_one_line(change, message):
    samples = whole_space(np.random.default_rng(0), TARGET, FLOW)._replace(**change)
    with pytest.raises(ConfigError, match=message) as caught:
        bar_log_z(samples, seed=0)
    assert "\n" not in str(caught.value)
    whole = whole_space(np.random.default_rng(0), TARGET, FLOW)
    with pytest.raises(ConfigError, match="disjoint parts of one set"):
        bar_free_energy_difference(whole, whole, same_generator=True, seed=0)


def test_correlated_frames_count_for_less():
    rng = np.random.default_rng(1)
    rho, found = 0.9, []
    for _ in range(40):
        x = Gaussian(0.0, 1.0).chains(rng, 10, 1000, rho=rho)[..., 0]
        found.append(_inefficiency(x.ravel(), np.ones_like(x, bool)))
    # (1 + rho) / (1 - rho) = 19, and batches of 100 frames see 10 % less
    assert np.mean(found) == pytest.approx((1 + rho) / (1 - rho), rel=0.25)


def test_chains_that_come_and_go():
    """Chains hold their own numbers of frames in each state, and their frames count in both: intervals cover."""
    flow, share, errors = Gaussian(0.3, 0.8), 0.1, []
    a, b = Gaussian(0.0, 0.7), Gaussian(0.4, 0.6, offset=-1.0)
    exact = a.log_z() - b.log_z()
    covered, n, n_chains, n_frames = 0, 4000, 12, 600
    for seed in range(40):
        rng = np.random.default_rng(seed)
        stays = rng.random((n_chains, n_frames)) > 0.05
        drawn = rng.random((n_chains, n_frames)) < share
        last = np.maximum.accumulate(np.where(stays, 0, np.arange(n_frames)), axis=1)
        in_b = np.take_along_axis(drawn, last, axis=1)
        frames = [p.chains(rng, n_chains, n_frames) for p in (a, b)]
        x = [flow.draw(rng, k) for k in rng.multinomial(2 * n, [0.5, 0.25, 0.25])[:2]]
        sides = [
            StateSamples(flow.log_prob(y), p.u(y), 2 * n, flow.log_prob(f), p.u(f), inside)
            for y, f, p, inside in zip(x, frames, (a, b), (~in_b, in_b), strict=True)
        ]
        found = bar_free_energy_difference(
            *sides, same_generator=True, same_chains=True, seed=seed, n_bootstrap=200
        )
        # q in A holds half of the samples, q in B a quarter
        truth = exact + np.log(2)
        covered += found.interval95[0] <= truth <= found.interval95[1]
        errors.append((found.value - truth, found.stderr))
    errors, stderr = np.array(errors).T
    assert covered >= 34
    assert abs(errors.mean()) < 3 * np.sqrt(np.mean(stderr**2) / 40)
    assert np.mean(stderr) == pytest.approx(errors.std(ddof=1), rel=0.4)
    with pytest.raises(ConfigError, match="the same frames"):
        bar_free_energy_difference(
            sides[0],
            whole_space(np.random.default_rng(0), b, flow, n=10),
            same_generator=False,
            same_chains=True,
            seed=0,
        )


def test_loss_difference_is_off_by_the_difference_of_divergences():
    rng = np.random.default_rng(2)
    flow_a, flow_b, n = Gaussian(-3.9, 0.5), Gaussian(4.0, 0.8), 50_000
    log_w = [
        -p.u(x) - q.log_prob(x) for p, q in ((A, flow_a), (B, flow_b)) for x in [q.draw(rng, n)]
    ]
    found = kl_loss_difference(*log_w)
    divergence_a = (
        0.5 * DIM * (0.1 / 0.5) ** 2
    )  # KL of two Gaussians of one width; that of B is zero
    assert abs(found.value - (EXACT - divergence_a)) < 4 * found.stderr
    assert found.stderr == pytest.approx(np.sqrt(2 * divergence_a / n), rel=0.05)
    assert abs(found.value - EXACT) > 10 * found.stderr
    assert "no finite loss" in kl_loss_difference(log_w[0], [0.0, -np.inf, 1.0]).reason
