"""Internal coordinates against autodiff, mdtraj, plain placement and a known partition function."""

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from jbg.coords import build_zmatrix, internal, torsions_of
from tests.coords.conftest import SMALL, placeable, simple_topology


def jitted(zmatrix):
    """forward(y) and inverse(x) of the internal coordinates."""
    bijector = internal(zmatrix)
    return jax.jit(lambda y: bijector.forward((), y)), jax.jit(lambda x: bijector.inverse((), x))


def flat(frames):
    return np.asarray(frames).reshape(len(frames), -1).T


def distances(x):
    return np.stack([pdist(frame) for frame in np.asarray(x).T.reshape(x.shape[1], -1, 3)])


def body_rows(zmatrix):
    """Rows of x that the body frame leaves free."""
    order = zmatrix.order
    free = [3 * order[1], 3 * order[2], 3 * order[2] + 1]
    return np.array(free + [3 * atom + k for atom in order[3:] for k in range(3)])


def check_log_det(zmatrix, y):
    """ln|det| against slogdet of the body-frame Jacobian and what the body frame leaves out."""
    n = zmatrix.n_atoms
    forward = internal(zmatrix).forward
    log_det, jacobian = jax.jit(
        lambda y: (forward((), y)[1], jax.jacfwd(lambda y: forward((), y)[0])(y))
    )(y)
    log_abs = np.linalg.slogdet(np.asarray(jacobian)[body_rows(zmatrix)])[1]
    seeds = 2 * np.log(y[0]) + np.log(y[1]) + np.log(np.sin(y[n - 1]))
    np.testing.assert_allclose(log_det, log_abs + seeds, atol=1e-8, rtol=0)
    return log_det


def test_round_trip_and_log_det_of_peptides(peptide, x64):
    forward, inverse = jitted(peptide.zmatrix)
    x = jnp.asarray(flat(peptide.frames[::30]))
    y, inverse_log_det = inverse(x)
    back, forward_log_det = forward(y)
    np.testing.assert_allclose(distances(back), distances(x), atol=1e-9, rtol=0)
    again, _ = inverse(back)
    turns = np.angle(np.exp(1j * np.asarray(again - y)))
    np.testing.assert_allclose(turns, 0, atol=1e-9)
    np.testing.assert_allclose(forward_log_det, -inverse_log_det, atol=1e-10)
    np.testing.assert_allclose(check_log_det(peptide.zmatrix, y[:, 0]), forward_log_det[0])


@pytest.mark.parametrize("name", SMALL)
def test_small_molecules(name, x64):
    topology, positions = SMALL[name]()
    zmatrix = build_zmatrix(topology, positions)
    rng = np.random.default_rng(0)
    x = jnp.asarray(flat(positions + 0.005 * rng.normal(size=(5, *positions.shape))))
    forward, inverse = jitted(zmatrix)
    y, _ = inverse(x)
    np.testing.assert_allclose(distances(forward(y)[0]), distances(x), atol=1e-12)
    check_log_det(zmatrix, y[:, 0])


def test_inverse_ignores_rigid_motion_but_not_reflection(peptide, x64):
    _, inverse = jitted(peptide.zmatrix)
    frame = peptide.frames[0]
    moved = Rotation.random(random_state=1).apply(frame) + [1.0, -2.0, 3.0]
    mirrored = frame * [1, 1, -1]
    y, log_det = inverse(jnp.asarray(flat([frame, moved, mirrored])))
    np.testing.assert_allclose(y[:, 1], y[:, 0], atol=1e-9)
    np.testing.assert_allclose(log_det, np.full(3, log_det[0]), atol=1e-9)
    start = 2 * peptide.zmatrix.n_atoms - 3
    np.testing.assert_allclose(y[start:, 2], -y[start:, 0], atol=1e-9)


def test_torsions_are_those_of_mdtraj(peptide, x64):
    quads = np.stack(peptide.zmatrix, 1)[3:]
    trajectory = mdtraj.Trajectory(peptide.frames[::20], None)
    expected = mdtraj.compute_dihedrals(trajectory, quads, periodic=False).T
    x = flat(peptide.frames[::20])
    y, _ = jitted(peptide.zmatrix)[1](jnp.asarray(x))
    for found in (torsions_of(x, quads), y[2 * peptide.zmatrix.n_atoms - 3 :]):
        error = np.angle(np.exp(1j * (np.asarray(found) - expected)))
        np.testing.assert_allclose(error, 0, atol=2e-4)  # mdtraj works in float32


def place_plainly(zmatrix, y):
    """One atom after the other in plain JAX, as the formulas are usually written."""
    n = zmatrix.n_atoms
    bonds, angles, torsions = y[: n - 1], y[n - 1 : 2 * n - 3], y[2 * n - 3 :]
    a, b, c = zmatrix.order[:3]
    x = {a: jnp.zeros(3), b: jnp.array([1.0, 0, 0]) * bonds[0]}
    towards = jnp.stack([-jnp.cos(angles[0]), jnp.sin(angles[0]), jnp.zeros(())])
    x[c] = x[b] + bonds[1] * towards
    for k in range(3, n):
        atom, i, j, m = (column[k] for column in zmatrix)
        d, theta, phi = bonds[k - 1], angles[k - 2], torsions[k - 3]
        axis = x[i] - x[j]
        axis = axis / jnp.linalg.norm(axis)
        normal = jnp.cross(axis, x[m] - x[j])
        normal = normal / jnp.linalg.norm(normal)
        cos_part, sin_part = jnp.cos(phi) * jnp.cross(normal, axis), jnp.sin(phi) * normal
        x[atom] = x[i] - d * jnp.cos(theta) * axis + d * jnp.sin(theta) * (cos_part + sin_part)
    return jnp.concatenate([x[atom] for atom in range(n)])


def test_derivatives_agree_with_autodiff_through_a_plain_placement(x64):
    rng = np.random.default_rng(0)
    bonds = [(0, 1), (1, 2), (1, 3), (2, 4), (4, 5), (5, 6), (5, 7), (0, 8), (7, 9)]
    positions = rng.normal(size=(10, 3))
    zmatrix = build_zmatrix(simple_topology("CCCCCCCCHH", bonds), positions)
    forward, inverse = jitted(zmatrix)
    y, _ = inverse(jnp.asarray(flat(positions + 0.1 * rng.normal(size=(3, 10, 3)))))
    np.testing.assert_allclose(forward(y)[0][:, 1], place_plainly(zmatrix, y[:, 1]), atol=1e-12)
    weights = jnp.asarray(rng.normal(size=30))

    def energy(x):
        return jnp.tensordot(weights, x + x**3, 1)

    ours = jax.jit(jax.grad(lambda y: energy(forward(y)[0]).sum()))(y)
    one = jax.grad(lambda y: energy(place_plainly(zmatrix, y)))
    plain = jax.jit(jax.vmap(one, 1, 1))(y)
    np.testing.assert_allclose(ours, plain, atol=1e-10)
    forward_mode = jax.jit(jax.jacfwd(lambda y: energy(forward(y)[0])))(y[:, 0])
    np.testing.assert_allclose(forward_mode, plain[:, 0], atol=1e-10)


def test_batches_vmap_and_float32(peptides):
    peptide = peptides["dialanine"]
    forward, inverse = jitted(peptide.zmatrix)
    x = jnp.asarray(flat(peptide.frames[:6]), jnp.float32)
    y, log_det = inverse(x)
    assert y.dtype == log_det.dtype == jnp.float32
    back, forward_log_det = forward(y)
    np.testing.assert_allclose(distances(back), distances(x), atol=2e-6)
    np.testing.assert_allclose(forward_log_det, -log_det, atol=1e-3)
    for direction, value in ((forward, y), (inverse, x)):
        expected, expected_log_det = direction(value)
        folded, folded_log_det = direction(value.reshape(-1, 2, 3))
        np.testing.assert_allclose(folded.reshape(expected.shape), expected, atol=1e-6)
        np.testing.assert_allclose(folded_log_det.reshape(6), expected_log_det, rtol=1e-6)
        mapped, _ = jax.jit(jax.vmap(direction, 1, (1, 0)))(value)
        np.testing.assert_allclose(mapped, expected, atol=1e-5)


def test_measure_gives_a_known_partition_function(x64):
    """4 atoms, u = 1/2 sum of squared distances: Z = (2 pi)^(9/2) det(L)^(-3/2), det(L) = 4^2.

    Importance sampling with y drawn freely; 8 pi^2 is the volume of orientations.
    """
    zmatrix = build_zmatrix(
        simple_topology("CCCC", [(0, 1), (1, 2), (1, 3)]),
        np.random.default_rng(0).normal(size=(4, 3)),
    )
    rng = np.random.default_rng(1)
    m = 400_000
    bonds = rng.gamma(4, 0.3, size=(3, m))
    angles, torsions = rng.uniform(0, np.pi, (2, m)), rng.uniform(-np.pi, np.pi, (1, m))
    log_q = np.sum(3 * np.log(bonds) - bonds / 0.3 - np.log(6) - 4 * np.log(0.3), 0)
    log_q = log_q - 2 * np.log(np.pi) - np.log(2 * np.pi)
    x, log_det = jitted(zmatrix)[0](jnp.asarray(np.concatenate([bonds, angles, torsions])))
    positions = np.asarray(x).reshape(4, 3, m)
    u = sum(np.sum((positions[i] - positions[j]) ** 2, 0) / 2 for i in range(4) for j in range(i))
    weights = 8 * np.pi**2 * np.exp(np.asarray(log_det) - u - log_q)
    expected = (2 * np.pi) ** 4.5 / 4**3
    error = weights.std() / np.sqrt(m)
    assert error < 0.02 * expected
    assert abs(weights.mean() - expected) < 4 * error


@settings(max_examples=8, deadline=None)
@given(st.integers(4, 12), st.integers(0, 2**31))
def test_any_tree(n, seed):
    rng = np.random.default_rng(seed)
    bonds = [(i, int(rng.integers(max(0, i - 3), i))) for i in range(1, n)]
    positions = rng.normal(size=(n, 3))
    with jax.enable_x64(True):
        zmatrix = placeable(simple_topology("C" * n, bonds), positions)
        forward, inverse = jitted(zmatrix)
        y, _ = inverse(jnp.asarray(positions.reshape(-1)))
        x, _ = forward(y)
        np.testing.assert_allclose(pdist(np.reshape(x, (n, 3))), pdist(positions), atol=1e-9)
        check_log_det(zmatrix, y)


CHAIN = build_zmatrix(
    simple_topology("CCCCC", [(0, 1), (1, 2), (2, 3), (3, 4)]),
    np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 1.0]]),
)

FORWARD, INVERSE = jitted(CHAIN)
GRADIENTS = (
    jax.jit(jax.grad(lambda y: FORWARD(y)[0].sum())),
    jax.jit(jax.grad(lambda y: FORWARD(y)[1])),
    jax.jit(jax.grad(lambda x: INVERSE(x)[0].sum())),
)


@settings(max_examples=30, deadline=None)
@given(st.floats(-12, -1), st.booleans(), st.integers(0, 2))
def test_near_linear_angles(exponent, straight, which):
    gap = 10**exponent
    angles = np.full(3, 2.0)
    angles[which] = np.pi - gap if straight else gap
    with jax.enable_x64(True):
        y = jnp.asarray(np.concatenate([np.full(4, 0.15), angles, [1.0, -2.0]]))
        x, log_det = FORWARD(y)
        expected = 4 * 2 * np.log(0.15) + 2 * np.log(np.sin(2.0)) + np.log(np.sin(gap))
        np.testing.assert_allclose(log_det, expected, rtol=1e-3)
        found = INVERSE(x)[0][4:7]
        np.testing.assert_allclose(found, angles, atol=1e-10)
        assert np.all(np.isfinite(GRADIENTS[0](y)))
        assert np.all(np.isfinite(GRADIENTS[2](x)))


def test_gradient_of_the_inverse_is_finite_for_a_straight_line():
    x = jnp.asarray(np.array([[k, 0, 0] for k in range(5)], np.float32).reshape(-1))
    assert np.all(np.isfinite(GRADIENTS[2](x)))


@pytest.mark.parametrize(
    ("index", "value"),
    [(0, 0.0), (2, -0.1), (4, 0.0), (5, -0.3), (6, np.pi + 0.1), (4, 2 * np.pi + 1), (0, np.nan)],
)
def test_what_is_no_configuration_has_no_density(index, value):
    y = np.array([0.15] * 4 + [2.0] * 3 + [1.0, -2.0], np.float32)
    assert np.isfinite(FORWARD(jnp.asarray(y))[1])
    y[index] = value
    assert FORWARD(jnp.asarray(y))[1] == -np.inf
    if np.isfinite(value):
        assert np.all(np.isfinite(GRADIENTS[1](jnp.asarray(y))))
