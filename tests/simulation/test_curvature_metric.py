"""The metric of trajectories: inverse square root of the mean curvature, and what it does for stiff directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.interfaces import Target
from jbg.simulation.curvature_metric import BOUND, curvature, metric_of
from jbg.simulation.hmc_ladder import HmcLadder, initial_ladders, make_block

DIM = 12


def stiff(lowest=1.0, highest=100.0):
    """Curvature ``(DIM, DIM)`` of a Gaussian, correlated in every pair of coordinates."""
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(DIM, DIM)))
    return (q * np.geomspace(lowest, highest, DIM)) @ q.T


def inverse_root(f):
    w, q = np.linalg.eigh(f)
    return (q / np.sqrt(w)) @ q.T


def gradients(f, taus, n, rng):
    """du/dv ``(DIM, T, n)`` of exp(-v.f.v / 2 tau) in equilibrium."""
    root = np.linalg.cholesky(f)
    g = np.einsum("ij,jtn->itn", root, rng.normal(size=(DIM, len(taus), n)))
    return (g * np.sqrt(taus)[:, None]).astype(np.float32)


@pytest.mark.parametrize("taus", [(1.0,), (1.0, 2.0, 5.0)])
def test_of_a_gaussian_it_is_the_inverse_root_of_the_curvature(taus):
    n, f = 30_000, stiff()
    summed = curvature(gradients(f, taus, n, np.random.default_rng(1)), jnp.asarray(taus))
    metric = metric_of(np.asarray(summed, np.float64), n * len(taus))
    turned = metric @ f @ metric
    # clashes are bounded, which takes a little off the longest gradients
    np.testing.assert_allclose(turned, np.eye(DIM), atol=0.05)
    np.testing.assert_allclose(metric, inverse_root(f), atol=0.02)
    np.testing.assert_allclose(metric, metric.T)


def test_soft_directions_move_by_momenta_alone():
    f = stiff(0.01, 100.0)
    metric = metric_of(f * 1e9, 1e9)
    eigenvalues = np.sort(1 / np.linalg.eigvalsh(metric) ** 2)
    np.testing.assert_allclose(eigenvalues, np.maximum(np.geomspace(0.01, 100, DIM), 1), rtol=1e-6)


def test_of_few_gradients_only_the_diagonal_counts():
    f = stiff(4.0, 400.0)
    few, many = metric_of(f, 1.0), metric_of(f * 1e6, 1e6)
    np.testing.assert_allclose(many, inverse_root(f), rtol=1e-3, atol=1e-4)
    share = DIM / (1 + DIM)
    np.testing.assert_allclose(
        few, inverse_root((1 - share) * f + share * np.diag(np.diag(f))), rtol=1e-9, atol=1e-12
    )
    off = lambda a: np.abs(a - np.diag(np.diag(a))).max() / np.diag(a).max()
    assert off(few) < 0.3 * off(many)


def test_clashes_and_what_is_no_number_do_not_decide():
    rng, taus = np.random.default_rng(2), (1.0, 2.0)
    g = gradients(stiff(), taus, 500, rng)
    plain = np.asarray(curvature(g, jnp.asarray(taus)))
    g[:, 0, 0] *= 1e6
    g[:, 1, :5] = np.nan
    g[3, 0, 7] = np.inf
    bounded = np.asarray(curvature(g, jnp.asarray(taus)))
    assert np.isfinite(bounded).all()
    length = np.nanmedian(np.linalg.norm(g / np.sqrt(taus)[:, None], axis=0))
    assert np.abs(bounded - plain).max() < 1.5 * (BOUND * length) ** 2
    assert np.abs(bounded - plain).max() < 0.05 * np.abs(plain).max()
    assert not np.asarray(curvature(np.zeros((DIM, 2, 3), np.float32), jnp.asarray(taus))).any()


@pytest.mark.parametrize("measured", [True, False])
def test_with_it_a_correlated_gaussian_mixes(measured):
    """Two decades of stiffness: from one frame to the next the softest direction forgets, or it does not."""
    f = stiff(2.0, 2e4)
    target = Target(dim=DIM, reduced_energy=lambda v: 0.5 * (v * jnp.tensordot(f, v, 1)).sum(0))
    # with all of burn-in in one block no block ends before it does, and nothing is measured
    n_burn_in, block_size = (400, 100) if measured else (400, 400)
    settings = HmcLadder(
        taus=(1.0,),
        n_ladders=64,
        n_rounds=400,
        n_burn_in=n_burn_in,
        block=block_size,
        stride=4,
        n_jumps=0,
        step=0.01,
    )
    root = inverse_root(f)
    start = np.random.default_rng(3).normal(size=(64, DIM)) @ root  # in equilibrium
    state, block = initial_ladders(target, settings, start), make_block(target, settings)
    kept = []
    while int(state.round) < settings.total_rounds:
        state, frames = block(state, jax.random.key(4))
        kept.append(np.asarray(frames.v, np.float64))
    v = np.concatenate(kept[n_burn_in // block_size :])
    w, q = np.linalg.eigh(f)
    soft = np.einsum("i,nil->nl", q[:, 0], v) * np.sqrt(w[0])
    memory = (soft[1:] * soft[:-1]).mean() / (soft**2).mean()
    if not measured:
        np.testing.assert_array_equal(state.metric, np.eye(DIM))
        assert memory > 0.9
        return
    assert memory < 0.3
    np.testing.assert_allclose(state.metric @ f @ state.metric, np.eye(DIM), atol=0.35)
    white = np.einsum("ij,njl->inl", np.linalg.inv(root), v)
    by_ladder = np.einsum("inl,jnl->ijl", white, white) / len(v)
    error = by_ladder.std(2, ddof=1) / np.sqrt(64)
    assert np.abs((by_ladder.mean(2) - np.eye(DIM)) / error).max() < 4.5
