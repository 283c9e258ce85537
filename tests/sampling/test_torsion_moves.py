"""Torsion moves against exact densities by quadrature: wherever values come from, the answer is the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import Bijector, ConfigError, Target
from jbg.sampling import torsion_moves
from jbg.sampling.corrected import flow_moves
from jbg.sampling.flow_moves import FlowMoves
from jbg.sampling.torsion_moves import TorsionMoves, make_turn
from tests.sampling.test_latent_mcmc import wrong_sign

N_CHAINS, N_ROUNDS = 400, 300
BINS = 6  # along each torsion
PAIRS = {"together": [[0, 1]], "one by one": [[0, 0], [1, 1]], "all": [[0, 1], [0, 0], [1, 1]]}


def energy(x):
    """Two basins with a wall of 12 kT between them, in angles that x = T(v) stretches."""
    first = 6.0 * jnp.cos(2 * x[0] / 1.5 - 1)
    return first + jnp.cos(x[1]) * (1.0 + jnp.sin(x[0] / 1.5)) + 0.5 * x[2] ** 2


def stretched() -> Bijector:
    """v (theta1, theta2, w) -> x with a determinant that depends on theta1, and w that follows theta2."""

    def forward(params, v):
        x = jnp.stack([1.5 * v[0] + 1.0 * jnp.sin(v[0]), v[1], v[2] + 0.5 * jnp.sin(v[1])])
        return x, jnp.log(1.5 + 1.0 * jnp.cos(v[0]))

    def inverse(params, x):
        theta = x[0] / 1.5
        for _ in range(30):
            theta = theta - (1.5 * theta + 1.0 * jnp.sin(theta) - x[0]) / (
                1.5 + 1.0 * jnp.cos(theta)
            )
        v = jnp.stack([theta, x[1], x[2] - 0.5 * jnp.sin(x[1])])
        return v, -jnp.log(1.5 + 1.0 * jnp.cos(theta))

    return Bijector(dim_in=3, dim_out=3, init=lambda key: (), forward=forward, inverse=inverse)


def moves_of(pairs, coords=None) -> TorsionMoves:
    """Values known from one basin alone, far from the density that is wanted."""
    known = np.random.default_rng(0).normal([1.0, 0.5, 0.0], [0.4, 0.9, 1.0], (50, 3))
    links = [[1, 2]] if len(pairs) == 3 else []
    return TorsionMoves(coords or stretched(), np.array(pairs), np.array(links), known)


def shares(theta) -> np.ndarray:
    """Shares of the cells of (theta1, theta2), ``(n_chains, cells)`` of ``(n_chains, n, 2)``."""
    cell = np.floor((theta + np.pi) / (2 * np.pi) * BINS).astype(int).clip(0, BINS - 1)
    number = BINS * cell[..., 0] + cell[..., 1]
    return np.stack([(number == b).mean(1) for b in range(BINS**2)], 1)


def exact_shares() -> np.ndarray:
    """By quadrature over theta; w is Gaussian at every theta."""
    edges = np.linspace(-np.pi, np.pi, 60 * BINS + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    v = np.stack([*np.meshgrid(middle, middle, indexing="ij"), np.zeros((60 * BINS,) * 2)])
    x, log_det = stretched().forward((), jnp.asarray(v))
    of_theta = energy(x) - 0.5 * x[2] ** 2
    p = np.exp(-np.asarray(of_theta, np.float64) + np.asarray(log_det, np.float64))
    p = p.reshape(BINS, 60, BINS, 60).sum((1, 3))
    return (p / p.sum()).ravel()


def chains_of(key, moves: TorsionMoves):
    """Angles ``(n_chains, n, 2)`` of chains that move their torsions and w, and the accepted share."""
    turn = make_turn(moves, energy, 3)

    @jax.jit
    def run(key, x):
        def round_(x, key):
            key_turn, key_w = jax.random.split(key)
            x, u, accepted = turn(key_turn, x, energy(x))
            w = jax.random.normal(
                key_w, x[2].shape
            )  # a Gibbs step: x2 is independent of the others
            x = x.at[2].set(w)
            return x, (stretched().inverse((), x)[0][:2], accepted.mean())

        return jax.lax.scan(round_, x, jax.random.split(key, N_ROUNDS))

    start = jnp.asarray(np.random.default_rng(1).uniform(-2, 2, (3, N_CHAINS)), jnp.float32)
    _, (theta, accepted) = run(key, start)
    return np.asarray(theta[50:]).transpose(2, 0, 1), float(accepted.mean())


def worst(theta) -> tuple[float, float]:
    """The largest Student's t of a cell's share over independent chains, and its 1e-5 quantile."""
    found, exact = shares(theta), exact_shares()
    kept = exact > 3e-3
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    t = np.abs(found.mean(0) - exact)[kept] / np.maximum(error[kept], 1e-9)
    return t.max(), stats.t.ppf(1 - 1e-5 / (2 * kept.sum()), len(found) - 1)


@pytest.mark.parametrize("name", PAIRS)
def test_chains_have_the_exact_density(name, key):
    theta, accepted = chains_of(key, moves_of(PAIRS[name]))
    found, bound = worst(theta)
    assert found < bound
    assert accepted > 0.02


@pytest.mark.parametrize("wrong", ["determinant", "density"])
def test_what_is_wrong_shows(wrong, key, monkeypatch):
    coords = stretched()
    if wrong == "determinant":
        coords = wrong_sign(coords)
    else:  # as if proposals were uniform
        nothing = lambda theta, kind, linked: jnp.zeros(theta.shape[-1])
        monkeypatch.setattr(torsion_moves, "_log_density", nothing)
    theta, _ = chains_of(key, moves_of(PAIRS["together"], coords))
    found, bound = worst(theta)
    assert found > bound


@pytest.mark.parametrize("number", range(4))
def test_the_density_of_proposals_is_normalised_and_is_that_of_its_draws(number, key):
    """Of one pair, of one torsion alone, and of both at once, each row counted once."""
    moves = moves_of(PAIRS["all"])
    at_once = torsion_moves._at_once(moves)
    assert at_once.tolist() == [[0, 0], [1, 1], [2, 2], [1, 2]]
    kind = jax.tree.map(lambda table: table[at_once[number]], torsion_moves._tables(moves))
    linked = jnp.asarray(number == 3)
    n = 5 * torsion_moves.CELLS
    grid = (np.arange(n) + 0.5) / n * 2 * np.pi - np.pi
    a, b = np.stack(np.meshgrid(grid, grid, indexing="ij")).reshape(2, -1)
    theta = np.stack([a, b, a, b])
    if number in (1, 2):
        theta = np.stack([grid] * 4)
    if number == 3:
        theta = np.stack([a, a, b, b])
    shaped = jnp.asarray(theta.reshape(2, 2, -1))
    p = np.exp(torsion_moves._log_density(shaped, kind, linked))
    cell = (2 * np.pi / n) ** (1 if number in (1, 2) else 2)
    assert p.sum() * cell == pytest.approx(1.0, abs=1e-4)
    drawn = np.asarray(torsion_moves._proposed(key, kind, linked, 100_000))
    share = np.histogram(drawn[0, 0], 8, (-np.pi, np.pi))[0] / 1e5
    expected = (p.reshape(n, -1).sum(1) * cell).reshape(8, -1).sum(1)
    np.testing.assert_allclose(share, expected, atol=0.008)


def test_chains_stay_where_the_energy_is_no_number(key):
    nowhere = lambda x: jnp.full(x.shape[1:], jnp.nan)
    turn = make_turn(moves_of([[0, 1]]), nowhere, 4)
    x = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (3, 9)), jnp.float32)
    moved, u, accepted = turn(key, x, jnp.zeros(9))
    np.testing.assert_array_equal(moved, x)
    assert not np.asarray(accepted).any()


@pytest.mark.parametrize("wrong", [{"pairs": np.zeros((0, 2), int)}, {"known": np.zeros((0, 3))}])
def test_nothing_to_move_is_refused(wrong):
    moves = moves_of([[0, 1]])._replace(**wrong)
    with pytest.raises(ConfigError, match="no torsion to move, or no known conformation"):
        make_turn(moves, energy, 1)


def test_beside_trajectories_and_fresh_samples_the_density_is_exact_too(key):
    """A generator on the circles, uniform: with the moves of torsions chains are where quadrature says."""
    coords = stretched()
    generator = Generator(base=flows.product(flows.uniform(2), flows.normal(1)), bijector=coords)
    target = Target(dim=3, reduced_energy=energy)
    settings = FlowMoves(
        n_rounds=300,
        n_burn_in=100,
        block=100,
        n_chains=300,
        n_leapfrog=3,
        n_fresh=2,
        n_turns=3,
        timestep=0.2,
    )
    start = generator.sample(key, (), settings.n_chains).frames
    moves = moves_of(PAIRS["all"])
    found = flow_moves(key, generator, (), target, start, settings=settings, torsions=moves)
    theta = np.asarray(coords.inverse((), jnp.asarray(found.frames).T)[0][:2])
    turned = (theta + np.pi) % (2 * np.pi) - np.pi  # trajectories go on beyond pi
    apart, bound = worst(turned.transpose(2, 1, 0))
    assert apart < bound
    assert 0.02 < found.turned < 0.9
    without = flow_moves(key, generator, (), target, start, settings=settings)
    assert without.turned == 0.0
