"""Latent chains against exact densities by quadrature: the flow is random, the answer must not depend on it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import Bijector, ConfigError, Target
from jbg.sampling.latent_mcmc import LatentChains, LatentMoves, encode, latent_metropolis
from jbg.systems import double_well, mueller_brown
from jbg.targets import make_target, restrict
from tests.losses.affine import MEAN, OPTIMUM, WIDTH, affine_flow, gaussian, generator

N_CHAINS, N_STEPS = 200, 1600


def random_flow(seed: int, centre, width) -> tuple[Generator, object]:
    """A RealNVP with random weights, moved over the region of interest: a poor fit to everything."""
    net = flows.realnvp(2, n_blocks=2, hidden=(8,))
    params = net.init(jax.random.key(seed))
    keys = iter(jax.random.split(jax.random.key(seed + 1), len(jax.tree.leaves(params))))
    params = jax.tree.map(lambda p: p + 0.15 * jax.random.normal(next(keys), p.shape), params)
    place = {"a": jnp.log(jnp.asarray(width)), "b": jnp.asarray(centre)}
    bijector = flows.chain(net, affine_flow())
    return Generator(base=flows.normal(2), bijector=bijector), (params, place)


def wrong_sign(bijector: Bijector) -> Bijector:
    """The same map with the determinant of its forward direction upside down."""

    def forward(params, z):
        x, log_det = bijector.forward(params, z)
        return x, -log_det

    def inverse(params, x):
        z, log_det = bijector.inverse(params, x)
        return z, -log_det

    return dataclasses.replace(bijector, forward=forward, inverse=inverse)


LOW_WELLS = double_well(a2=3.0, a1=0.3)  # a barrier of 2 to 3 kT, that chains cross
CASES = {
    "double well": (
        LOW_WELLS,
        np.linspace(-3, 3, 1201),
        np.linspace(-6, 6, 601),
        (0.0, 0.0),
        (1.0, 1.0),
    ),
    "mueller-brown": (
        mueller_brown(scale=0.04),
        np.linspace(-3.5, 3.0, 1201),
        np.linspace(-2.0, 4.0, 1201),
        (-0.2, 0.8),
        (0.7, 0.7),
    ),
}


def bins_of(name: str, x, y):
    """Bin numbers along both axes at once: 8 by 4 quantile-like cells."""
    _, xs, ys, centre, width = CASES[name]
    i = np.clip(np.floor((x - centre[0]) / width[0] / 0.5 + 4), 0, 7).astype(int)
    j = np.clip(np.floor((y - centre[1]) / width[1] + 2), 0, 3).astype(int)
    return 4 * i + j


def exact_shares(name: str, tau: float) -> np.ndarray:
    system, xs, ys, *_ = CASES[name]
    grid = np.stack(np.meshgrid(xs, ys, indexing="ij")).reshape(2, -1)
    u = np.asarray(system.potential(grid), np.float64)
    p = np.exp(-(u - u.min()) / tau)
    return np.bincount(bins_of(name, *grid), p, minlength=32) / p.sum()


def deviation(name: str, frames, tau: float) -> tuple[float, float]:
    """Hotelling-like chi square per bin of the chains' histogram against the exact one, and its 1e-5 quantile.

    Every chain is independent and gives a histogram of its own; bins are tested one by one with Student's t, and
    the largest |t| is compared with the quantile that 32 of them exceed together once in 1e5 times.
    """
    frames = np.asarray(frames, np.float64)
    which = bins_of(name, frames[..., 0], frames[..., 1])
    shares = np.stack([(which == b).mean(axis=1) for b in range(32)], axis=1)
    exact = exact_shares(name, tau)
    kept = exact > 3e-3  # rarer bins are far from normal
    error = shares.std(axis=0, ddof=1) / np.sqrt(len(frames))
    t = np.abs(shares.mean(axis=0) - exact)[kept] / np.maximum(error[kept], 1e-9)
    return t.max(), stats.t.ppf(1 - 1e-5 / (2 * kept.sum()), len(frames) - 1)


def start_of(name: str, key) -> np.ndarray:
    *_, centre, width = CASES[name]
    noise = np.asarray(jax.random.normal(key, (N_CHAINS, 2)))
    return np.float32(np.asarray(centre) + 0.5 * np.asarray(width) * noise)


SETTINGS = {
    "local": {"step": 1.5},
    "long and short": {"step": 1.0, "reach": 5.0},
    "global": {"step": 1.0, "global_moves": 1.0},
    "both": {"step": 1.0, "global_moves": 0.5},
}


def run(key, name, flow, *, tau=1.0, **settings):
    generator, params = flow
    made = latent_metropolis(
        key,
        generator,
        params,
        TARGETS[name],
        start_of(name, key),
        moves=LatentMoves(tau=tau, **settings),
        n_steps=N_STEPS,
        stride=5,
    )
    return made._replace(frames=made.frames[:, N_STEPS // 20 :])  # a quarter is left out


TARGETS = {name: make_target(case[0]) for name, case in CASES.items()}
FLOWS = {
    name: random_flow(12, case[3], 1.4 * np.asarray(case[4], np.float32))
    for name, case in CASES.items()
}


@pytest.mark.parametrize(
    ("name", "kind", "tau"),
    [
        ("double well", "local", 1.0),
        ("double well", "long and short", 1.0),
        ("double well", "global", 1.0),
        ("double well", "both", 2.0),
        ("mueller-brown", "local", 2.0),
        ("mueller-brown", "global", 2.0),
        ("mueller-brown", "both", 1.0),
    ],
)
def test_histogram_is_exact_with_a_random_flow(name, kind, tau, key):
    made = run(key, name, FLOWS[name], tau=tau, **SETTINGS[kind])
    t, bound = deviation(name, made.frames, tau)
    assert t < bound
    share = SETTINGS[kind].get("global_moves", 0.0)
    assert np.isnan(made.accepted_local) == (share == 1)
    assert np.isnan(made.accepted_global) == (share == 0)
    assert 0.02 < np.nanmin([made.accepted_local, made.accepted_global]) < 0.9


def test_the_wrong_sign_of_the_determinant_is_seen(key):
    generator, params = FLOWS["double well"]
    upside_down = dataclasses.replace(generator, bijector=wrong_sign(generator.bijector))
    made = run(key, "double well", (upside_down, params), **SETTINGS["local"])
    t, bound = deviation("double well", made.frames, 1.0)
    assert t > 2 * bound


def test_one_temperature_is_not_another(key):
    made = run(key, "double well", FLOWS["double well"], tau=2.0, **SETTINGS["both"])
    t, bound = deviation("double well", made.frames, 1.0)
    assert t > 2 * bound


def test_a_perfect_flow_accepts_every_global_move(key):
    made = latent_metropolis(
        key,
        generator(),
        OPTIMUM,
        gaussian(),
        np.tile(MEAN, (50, 1)),
        moves=LatentMoves(step=1.0, global_moves=1.0),
        n_steps=50,
        stride=1,
    )
    assert made.accepted_global > 0.999
    # each frame is a fresh sample: no correlation from one to the next
    z = (np.asarray(made.frames, np.float64) - MEAN) / WIDTH
    lag = np.mean(z[:, 1:] * z[:, :-1])
    assert abs(lag) < 5 / np.sqrt(z[:, 1:].size)


def test_local_moves_of_a_perfect_flow_follow_the_closed_form(key):
    """In one dimension and a normal of z, moves of width s are accepted with probability (2/pi) arctan(2/s)."""
    one = Generator(base=flows.normal(1), bijector=affine_flow(1))
    target = Target(dim=1, reduced_energy=lambda x: 0.5 * ((x[0] - 3.0) / 0.2) ** 2)
    params = {"a": jnp.log(jnp.array([0.2])), "b": jnp.array([3.0])}
    start = 3.0 + 0.2 * jax.random.normal(key, (2000, 1))
    made = latent_metropolis(
        key, one, params, target, start, moves=LatentMoves(2.0), n_steps=100, stride=100
    )
    assert abs(made.accepted_local - 2 / np.pi * np.arctan(1.0)) < 0.01  # se about 1e-3


def test_rejected_moves_are_repeated_and_undefined_energies_rejected(key):
    target = Target(dim=2, reduced_energy=lambda x: jnp.log(x[0]) ** 2 + 0.5 * x[1] ** 2)
    made = latent_metropolis(
        key,
        generator(),
        OPTIMUM,
        target,
        np.ones((50, 2)),
        moves=LatentMoves(2.0),
        n_steps=400,
        stride=1,
    )
    x = np.asarray(made.frames)
    assert np.all(x[..., 0] > 0)
    stayed = np.mean(np.all(np.diff(x, axis=1) == 0, axis=-1))
    np.testing.assert_allclose(1 - stayed, made.accepted_local, atol=0.01)


def test_a_restricted_target_keeps_chains_in_its_region(key):
    """Half a Gaussian: its mean is sqrt(2/pi) widths from the edge."""
    right = restrict(gaussian(), lambda x: x[0] >= float(MEAN[0]))
    made = latent_metropolis(
        key,
        generator(),
        OPTIMUM,
        right,
        np.tile(MEAN + 0.1, (300, 1)),
        moves=LatentMoves(step=1.5, global_moves=0.3),
        n_steps=1000,
        stride=5,
    )
    x = np.asarray(made.frames, np.float64)[:, 20:, 0]
    assert np.all(x >= MEAN[0])
    by_chain = x.mean(axis=1)
    exact = MEAN[0] + WIDTH[0] * np.sqrt(2 / np.pi)
    assert abs(by_chain.mean() - exact) < 4 * by_chain.std(ddof=1) / np.sqrt(len(by_chain))
    with pytest.raises(ConfigError, match="50 of 50 starting"):
        latent_metropolis(
            key,
            generator(),
            OPTIMUM,
            right,
            np.tile(MEAN - 0.1, (50, 1)),
            moves=LatentMoves(1.0),
            n_steps=1,
            stride=1,
        )


def test_chains_go_on_and_are_encoded_anew_for_another_network(key):
    flow, params = generator(), OPTIMUM
    go = lambda start, p: latent_metropolis(
        key, flow, p, gaussian(), start, moves=LatentMoves(1.0), n_steps=10, stride=1
    )
    first = go(np.tile(MEAN, (8, 1)), params)
    np.testing.assert_array_equal(first.frames[:, -1].T, first.chains.x)
    x, log_det = flow.bijector.forward(params, first.chains.z)
    np.testing.assert_allclose(x, first.chains.x, atol=1e-5)
    np.testing.assert_allclose(log_det, first.chains.log_det, atol=1e-5)
    np.testing.assert_allclose(gaussian().reduced_energy(x), first.chains.u, atol=1e-4)
    other = {"a": params["a"] + 0.5, "b": params["b"] - 1.0}
    anew = encode(flow, other, first.chains.x, first.chains.u)
    assert isinstance(anew, LatentChains)
    np.testing.assert_allclose(flow.bijector.forward(other, anew.z)[0], anew.x, atol=1e-5)
    again, same = go(first.chains.x.T, other), go(anew, other)
    np.testing.assert_allclose(again.frames, same.frames, atol=1e-5)


def test_another_call_does_not_compile_again(key):
    traced = []

    def reduced_energy(x):
        traced.append(x.shape)
        return gaussian().reduced_energy(x)

    target = Target(dim=2, reduced_energy=reduced_energy)
    go = lambda p, step, tau: latent_metropolis(
        key,
        FLOW,
        p,
        target,
        np.tile(MEAN, (4, 1)),
        moves=LatentMoves(step, tau),
        n_steps=4,
        stride=2,
    )
    go(OPTIMUM, 1.0, 1.0)
    n = len(traced)
    go({k: v + 0.1 for k, v in OPTIMUM.items()}, 0.5, 2.0)
    assert len(traced) == n


FLOW = generator()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"step": 0.0}, "step and tau must be > 0"),
        ({"tau": -1.0}, "step and tau must be > 0"),
        ({"n_steps": 25}, "multiple of stride"),
        ({"stride": 0}, "multiple of stride"),
        ({"global_moves": 1.5}, "global_moves must lie in"),
        ({"reach": 0.5}, "reach be at least 1"),
        ({"start": np.zeros((2, 3))}, r"start must be \(n_chains, 2\)"),
        ({"start": np.full((2, 2), np.nan)}, "2 of 2 starting"),
    ],
)
def test_bad_settings_are_named(key, change, what):
    settings = {"start": np.zeros((2, 2)), "step": 1.0, "n_steps": 20, "stride": 10} | change
    start, moves = settings.pop("start"), LatentMoves(1.0)
    moves = moves._replace(**{k: settings.pop(k) for k in moves._fields if k in settings})
    with pytest.raises(ConfigError, match=what):
        latent_metropolis(key, FLOW, OPTIMUM, gaussian(), start, moves=moves, **settings)
