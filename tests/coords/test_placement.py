"""Placement and its derivatives on a molecule of the size of a small protein, 892 atoms in a random
tree, against autodiff through one atom after the other in float64.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.coords import ZMatrix, internal
from jbg.coords.sweep import chain_sums, make_sweep

N = 892
WEIGHTS = np.random.default_rng(5).normal(size=3 * N)


def random_tree(n: int, seed: int) -> ZMatrix:
    """Each atom hangs on one of the eight rows before it; atoms are numbered at random."""
    rng = np.random.default_rng(seed)
    rows, behind = [(0, -1, -1, -1), (1, 0, -1, -1), (2, 1, 0, -1)], [(1, 2), (0, 2), (1, 0)]
    for k in range(3, n):
        parent = int(rng.integers(max(0, k - 8), k))
        rows.append((k, parent, *behind[parent]))
        behind.append((parent, behind[parent][0]))
    numbers = np.append(rng.permutation(n), -1)
    return ZMatrix(*numbers[np.array(rows)].T)


def random_y(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parts = rng.normal(0.15, 0.01, n - 1), rng.normal(1.9, 0.1, n - 2), rng.uniform(-3, 3, n - 3)
    return np.concatenate(parts)


def place_in_sequence(zmatrix, y):
    """One atom after the other, as the formulas are usually written; a loop keeps compiling short."""
    n = zmatrix.n_atoms
    bonds, angles, torsions = y[: n - 1], y[n - 1 : 2 * n - 3], y[2 * n - 3 :]
    a, b, c = zmatrix.order[:3]
    towards = jnp.stack([-jnp.cos(angles[0]), jnp.sin(angles[0]), jnp.zeros(())])
    x = jnp.zeros((n, 3)).at[b, 0].set(bonds[0])
    x = x.at[c].set(x[b] + bonds[1] * towards)

    def place(x, row):
        (atom, i, j, m), d, theta, phi = row
        axis = x[i] - x[j]
        axis = axis / jnp.linalg.norm(axis)
        normal = jnp.cross(axis, x[m] - x[j])
        normal = normal / jnp.linalg.norm(normal)
        turned = jnp.cos(phi) * jnp.cross(normal, axis) + jnp.sin(phi) * normal
        new = x[i] - d * jnp.cos(theta) * axis + d * jnp.sin(theta) * turned
        return x.at[atom].set(new), None

    atoms = jnp.asarray(np.stack(zmatrix, 1)[3:].astype(np.int32))
    return jax.lax.scan(place, x, (atoms, bonds[2:], angles[1:], torsions))[0].reshape(-1)


def energy(x):
    return jnp.tensordot(jnp.asarray(WEIGHTS[: len(x)], x.dtype), x + x**3, 1)


@pytest.fixture(scope="module")
def tree():
    return random_tree(N, seed=0)


def test_round_trip_in_float64(tree, x64):
    y = jnp.asarray(random_y(N, 1))
    bijector = internal(tree)
    x, log_det = jax.jit(bijector.forward)((), y)
    np.testing.assert_allclose(x, jax.jit(lambda y: place_in_sequence(tree, y))(y), atol=1e-10)
    back, inverse_log_det = jax.jit(bijector.inverse)((), x)
    np.testing.assert_allclose(back, y, atol=1e-9)
    np.testing.assert_allclose(inverse_log_det, -log_det, rtol=1e-12)


def test_float32_stays_near_float64(tree):
    bijector = internal(tree)
    both = jax.value_and_grad(lambda y: energy(bijector.forward((), y)[0]))
    with jax.enable_x64(True):
        y = jnp.asarray(random_y(N, 1))
        exact, exact_log_det = jax.jit(bijector.forward)((), y)
        exact_gradient = jax.jit(both)(y)[1]
    y = jnp.asarray(random_y(N, 1).astype(np.float32))
    x, log_det = jax.jit(bijector.forward)((), y)
    back, _ = jax.jit(bijector.inverse)((), x)
    assert x.dtype == log_det.dtype == back.dtype == jnp.float32
    np.testing.assert_allclose(x, exact, atol=1e-4)
    np.testing.assert_allclose(log_det, exact_log_det, rtol=1e-5)
    np.testing.assert_allclose(back, y, atol=3e-4)
    gradient = jax.jit(both)(y)[1]
    assert np.linalg.norm(gradient - exact_gradient) < 1e-4 * np.linalg.norm(exact_gradient)


def test_derivatives_in_both_modes_and_under_vmap(tree, x64):
    y, dy = jnp.asarray(random_y(N, 1)), jnp.asarray(random_y(N, 2))
    ours = lambda y: energy(internal(tree).forward((), y)[0])
    plain = lambda y: energy(place_in_sequence(tree, y))
    expected = np.asarray(jax.jit(jax.grad(plain))(y))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(jax.jit(jax.grad(ours))(y), expected, rtol=1e-9, atol=1e-9 * scale)
    mapped = jax.jit(jax.vmap(jax.grad(ours)))(jnp.stack([y, y + 0.01 * dy]))
    np.testing.assert_allclose(mapped[0], expected, rtol=1e-9, atol=1e-9 * scale)
    tangent = jax.jit(lambda y: jax.jvp(ours, (y,), (dy,))[1])(y)
    np.testing.assert_allclose(tangent, expected @ dy, rtol=1e-9)


def test_second_derivatives(x64):
    tree, y = random_tree(12, seed=1), jnp.asarray(random_y(12, 1))
    found = jax.jit(jax.hessian(lambda y: energy(internal(tree).forward((), y)[0])))(y)
    expected = jax.jit(jax.hessian(lambda y: energy(place_in_sequence(tree, y))))(y)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_chain_sums_are_those_of_the_matrix_of_subtrees(x64):
    tree = random_tree(40, seed=2)
    moves = np.zeros((40, 40))  # atom, row
    for row, atom in enumerate(tree.order):
        if row:
            moves[atom] = moves[tree.bond[row]]
        moves[atom, row] = 1
    own = jnp.asarray(np.random.default_rng(0).normal(size=(40, 6, 2)))
    sums = chain_sums(tree)
    np.testing.assert_allclose(sums(own), np.tensordot(moves, own, 1), atol=1e-12)
    back = jax.linear_transpose(sums, own)(own)[0]
    np.testing.assert_allclose(back, np.tensordot(moves.T, own, 1), atol=1e-12)


def test_sweeps_take_every_item_once_after_its_sources(tree):
    row_of = np.argsort(tree.order)
    parents = [[], *([int(row)] for row in row_of[tree.bond[1:]])]
    sweep = make_sweep(parents)
    ends = sweep.starts + np.diff(np.append(sweep.starts, N))
    step_of = np.searchsorted(ends, sweep.places, side="right")
    assert sorted(sweep.places) == list(range(N))
    assert all(step_of[i] > step_of[needs[0]] for i, needs in enumerate(parents) if needs)
    depth = np.zeros(N, int)
    for row, needs in enumerate(parents):
        depth[row] = depth[needs[0]] + 1 if needs else 1
    assert len(sweep.starts) <= 1.2 * depth.max()
