"""Mixed coordinates: volume against autodiff and quadrature, inverse, superposition, and what is refused."""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from jbg.coords import (
    MixedCoordinates,
    build_zmatrix,
    fit_mixed,
    internal,
    mixed_atoms,
    mixed_from_fit,
    rotor_candidates,
)
from jbg.coords.eckart import log_superposition_volume, superposed, superposition_matrix
from jbg.coords.mixed_fit import MixedFit
from jbg.interfaces import ConfigError, Topology
from tests.coords.conftest import load, simple_topology
from tests.coords.test_reduced_set import ALA, CYS, chain

BRIDGED = chain(ALA, CYS, ALA, ALA, CYS, ALA, bridge=(1, 4))


def around(topology, n=300, spread=0.01):
    """Frames ``(n, atoms, 3)`` near one on a sphere, no three atoms of which lie on a line."""
    rng = np.random.default_rng(1)
    base = rng.normal(size=(topology.n_atoms, 3))
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    return base + spread * rng.normal(size=(n, topology.n_atoms, 3))


class Known(NamedTuple):
    """Coordinates with the frames they were fitted to, and both directions compiled."""

    topology: Topology
    frames: np.ndarray
    coordinates: MixedCoordinates
    forward: Callable
    inverse: Callable


@functools.cache
def known(name):
    if name == "bridged":
        topology, frames, rotors = BRIDGED, around(BRIDGED), ()
    else:
        sample = load(name)
        topology, frames, rotors = sample.topology, sample.frames, sample.rotors
    fit = fit_mixed(topology, frames, rotors=rotors)
    c = mixed_from_fit(topology, fit)
    forward, inverse = (
        jax.jit(lambda a, f=f: f((), a)) for f in (c.bijector.forward, c.bijector.inverse)
    )
    return Known(topology, frames, c, forward, inverse)


def flat_of(frames):
    return jnp.asarray(frames.reshape(len(frames), -1).T)


CASES = ("bridged", pytest.param("chignolin", marks=pytest.mark.slow))


@pytest.mark.parametrize("name", CASES)
def test_volume_is_that_of_autodiff_with_position_and_orientation_left_out(name, x64):
    topology, frames, c, forward, inverse = known(name)
    inner = internal(c.fit.zmatrix)
    v, _ = inverse(flat_of(frames[:20]))
    measured = jax.jit(jax.jacfwd(lambda v: inner.inverse((), c.bijector.forward((), v)[0])[0]))
    x, log_dets = forward(v)
    measures, log_volumes = inner.inverse((), x)
    for one, y, log_det, log_volume in zip(
        v.T[:3], measures.T, log_dets, log_volumes, strict=False
    ):
        sign, expected = np.linalg.slogdet(measured(one))
        assert sign != 0
        assert len(y) == len(one) == 3 * topology.n_atoms - 6
        np.testing.assert_allclose(log_det, expected - log_volume, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_frames_come_back_wherever_they_are_and_however_they_are_turned(name, x64):
    topology, frames, c, forward, inverse = known(name)
    frames = frames[c.in_domain(frames)][:20]
    assert len(frames) == 20
    v, log_det = inverse(flat_of(frames))
    x, back = forward(v)
    np.testing.assert_allclose(log_det, -back, atol=1e-9)
    np.testing.assert_allclose(inverse(x)[0], v, atol=1e-9)
    rotors = {i for group in c.fit.rotor_groups for i in group}
    fixed = np.setdiff1d(np.arange(topology.n_atoms), list(rotors))
    rebuilt = np.asarray(x).T.reshape(len(frames), -1, 3)
    for there, here in zip(rebuilt, frames, strict=True):
        np.testing.assert_allclose(pdist(there[fixed]), pdist(here[fixed]), atol=1e-9)
        # atoms of rotors may have changed places, none is lost
        np.testing.assert_allclose(np.sort(pdist(there)), np.sort(pdist(here)), atol=1e-9)
    turned = frames @ Rotation.random(random_state=3).as_matrix().T + 5.0
    np.testing.assert_allclose(inverse(flat_of(turned))[0], v, atol=1e-8)


def test_dimensions_and_atoms_are_those_of_the_paper():
    """Noe et al. 2019: N, CA, C, and CB and SG of bridged cysteines; 3m - 6 components."""
    topology, _, c, *_ = known("bridged")
    names = [(topology.atom_names[i], topology.residue_ids[i]) for i in mixed_atoms(topology)]
    assert len(names) == 3 * 6 + 2 * 2
    assert {residue for name, residue in names if name in ("CB", "SG")} == {1, 4}
    assert c.n_components == 3 * len(names) - 6
    assert c.n_circular + c.n_linear == 3 * topology.n_atoms - 6
    assert len(set(c.labels)) == len(c.labels)
    assert c.labels[c.n_circular] == "component 1"


def test_data_are_white_in_their_components(x64):
    _, frames, c, _, inverse = known("bridged")
    v, _ = inverse(flat_of(frames))
    w = np.asarray(v[c.n_circular : c.n_circular + c.n_components])
    np.testing.assert_allclose(np.cov(w, bias=True), np.eye(len(w)), atol=1e-6)
    np.testing.assert_allclose(w.mean(1), 0, atol=1e-6)
    assert np.all(np.diff(c.fit.scale) <= 0)


def test_exchanged_hydrogens_are_the_same_configuration(x64):
    _, frames, c, _, inverse = known("dialanine")
    (group, *_) = c.fit.rotor_groups
    other = frames[:20].copy()
    other[:, list(group)] = frames[:20][:, [*group[1:], group[0]]]
    v, w = (inverse(flat_of(f))[0] for f in (frames[:20], other))
    np.testing.assert_allclose(w, v, atol=1e-9)


def test_superposition_is_that_of_scipy(x64):
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(7, 3))
    reference -= reference.mean(0)
    x = reference + 0.4 * rng.normal(size=(50, 7, 3))
    x = np.einsum("nij,nmj->nmi", Rotation.random(50, random_state=1).as_matrix(), x) + 3.0
    y = np.asarray(superposed(reference, flat_of(x))).T.reshape(x.shape)
    for ours, theirs in zip(y, x, strict=True):
        theirs = theirs - theirs.mean(0)
        rotation, _ = Rotation.align_vectors(reference, theirs)
        np.testing.assert_allclose(ours, rotation.apply(theirs), atol=1e-9)
    matrix = np.asarray(superposition_matrix(reference, flat_of(y)))
    np.testing.assert_allclose(matrix, matrix.swapaxes(0, 1), atol=1e-9)


def test_derivative_of_the_superposition_is_that_of_differences(x64):
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(5, 3))
    reference -= reference.mean(0)
    x = jnp.asarray((reference + 0.3 * rng.normal(size=(5, 3))).ravel())
    jacobian, h = jax.jacrev(lambda x: superposed(reference, x))(x), 1e-6
    for i in range(len(x)):
        moved = [superposed(reference, x.at[i].add(step)) for step in (h, -h)]
        np.testing.assert_allclose(jacobian[:, i], (moved[0] - moved[1]) / (2 * h), atol=1e-8)


def test_a_position_that_superposition_would_turn_is_outside(x64):
    """Half a turn about an axis is stationary too, and the wrong one."""
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(5, 3))
    reference -= reference.mean(0)
    assert np.isfinite(log_superposition_volume(reference, flat_of(reference[None])))
    _, axes = np.linalg.eigh(reference.T @ reference)
    half = Rotation.from_rotvec(np.pi * axes[:, 0]).apply(reference)
    assert np.linalg.norm(np.cross(reference, half).sum(0)) < 1e-12
    assert log_superposition_volume(reference, flat_of(half[None])) == -np.inf


def test_density_of_four_atoms_is_that_of_quadrature(x64):
    """The partition function of springs on three bonds, two angles and a torsion, from an integral over v; without
    the factor of the superposition it is off by far more than the error of the quadrature."""
    topology = simple_topology("HOOH", [(0, 1), (1, 2), (2, 3)])
    bonds, angles, k_bond, k_angle = (0.10, 0.145, 0.10), (1.8, 1.8), 3e4, 60.0
    rng = np.random.default_rng(0)
    n = 4000
    y = np.concatenate(
        [
            np.array(bonds)[:, None] + rng.normal(size=(3, n)) / np.sqrt(k_bond),
            np.array(angles)[:, None] + rng.normal(size=(2, n)) / np.sqrt(k_angle),
            rng.uniform(-np.pi, np.pi, (1, n)),
        ]
    )
    order = internal(load_chain(topology))
    fit = fit_mixed(
        topology, np.asarray(order.forward((), y)[0]).T.reshape(n, 4, 3), cartesian=(0, 1, 2)
    )
    c = mixed_from_fit(topology, fit)
    assert (c.n_circular, c.n_components) == (1, 3)

    def log_density(v):
        x, log_det = c.bijector.forward((), v)
        z, _ = order.inverse((), x)
        d, theta, phi = jnp.split(z, [3, 5])
        springs = (k_bond * (d - jnp.asarray(bonds)[:, None]) ** 2).sum(0)
        springs += (k_angle * (theta - jnp.asarray(angles)[:, None]) ** 2).sum(0)
        return log_det - springs / 2 - jnp.cos(phi[0])

    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    circle = np.linspace(-np.pi, np.pi, 12, endpoint=False)
    grid = np.array(list(itertools.product(nodes, repeat=5))).T
    log_w = (
        sum(np.log(np.array(list(itertools.product(weights, repeat=5))).T)) + (grid**2).sum(0) / 2
    )
    value = jax.jit(lambda a: log_density(jnp.concatenate([jnp.full((1, grid.shape[1]), a), grid])))
    total = np.mean([np.exp(np.asarray(value(a)) + log_w).sum() for a in circle]) * 2 * np.pi

    line = np.linspace(-8, 8, 4001)
    gauss = lambda mean, k, of: np.trapezoid(
        of(mean + line / np.sqrt(k)) * np.exp(-(line**2) / 2), line / np.sqrt(k)
    )
    exact = np.prod([gauss(d, k_bond, lambda d: d**2) for d in bonds])
    exact *= np.prod(
        [
            gauss(a, k_angle, lambda a: np.sin(a) * (np.abs(a - np.pi / 2) < np.pi / 2))
            for a in angles
        ]
    )
    exact *= 2 * np.pi * np.i0(1.0)
    np.testing.assert_allclose(total, exact, rtol=2e-4)
    factor = log_superposition_volume(
        fit.reference, jnp.asarray(fit.mean[:, None] + fit.axes @ (fit.scale[:, None] * grid[:3]))
    )
    without = np.exp(np.asarray(value(0.0)) + log_w - np.asarray(factor))
    whole = np.exp(np.asarray(value(0.0)) + log_w)
    change = without.sum() / whole.sum() * np.exp(np.asarray(factor))[np.argmax(whole)]
    assert abs(change - 1) > 1e-3


def load_chain(topology):
    return build_zmatrix(topology, np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [2, 1, 1.0]]) / 10)


def test_a_fit_comes_back_from_a_file(tmp_path, x64):
    topology, _, c, *_ = known("dialanine")
    np.savez(tmp_path / "fit.npz", **c.fit._asdict())
    with np.load(tmp_path / "fit.npz") as kept:
        fit = MixedFit(**kept)
    for there, here in zip(fit, c.fit, strict=True):
        np.testing.assert_array_equal(there, here)
    again = mixed_from_fit(topology, fit)
    assert (again.labels, again.n_circular) == (c.labels, c.n_circular)


def test_float32_is_as_good_as_its_positions():
    """Fitted under x64 and used without, as runs do."""
    _, frames, c, forward, inverse = known("bridged")
    with jax.enable_x64(True):
        v, _ = inverse(flat_of(frames[:20]))
        x, log_det = forward(v)
    single, v = jax.jit(lambda v: c.bijector.forward((), v)), np.array(v, np.float32)
    y, log_det_32 = single(v)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, x, atol=1e-5)
    np.testing.assert_allclose(log_det_32, log_det, atol=2e-3)
    assert c.in_domain(frames[:3]).all()  # float64 within float32
    v[c.n_circular] = 1e25
    assert np.all(np.asarray(single(v)[1]) == -np.inf)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cartesian": (0, 1)}, "three Cartesian atoms or more"),
        ({"cartesian": (0, 1, 2, 99)}, "among them 99"),
        ({"cartesian": ()}, "three Cartesian atoms or more"),
        ({"cartesian": (0, 1, 2, 2)}, "each once"),
        ({"cartesian": (0, 1, 2, 8)}, "must be joined by bonds"),
        ({"frames": 20}, "20 frames cannot give"),
        ({"frames": 0}, "need frames"),
        ({"line": True}, "collinear"),
        ({"rigid": True}, "constant in all frames"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(change, message):
    frames = around(BRIDGED)[: change.pop("frames", 300)]
    if change.pop("line", False):
        frames = frames.copy()
        frames[:, :3] = np.arange(3)[:, None] * np.array([0.1, 0, 0])
        frames[:, :3] += 1e-9 * np.random.default_rng(0).normal(size=(len(frames), 3, 3))
        change["cartesian"] = (0, 1, 2)
    if change.pop("rigid", False):  # CA at a fixed distance from N
        arm = frames[:, 1] - frames[:, 0]
        frames[:, 1] = frames[:, 0] + 0.15 * arm / np.linalg.norm(arm, axis=1, keepdims=True)
    with pytest.raises(ConfigError, match=message) as caught:
        fit_mixed(BRIDGED, frames, **change)
    assert "\n" not in str(caught.value)


def test_rotors_are_not_cartesian():
    sample = load("dialanine")
    rotors = rotor_candidates(sample.topology, sample.zmatrix)
    extra = (*mixed_atoms(sample.topology), rotors[0][0])
    with pytest.raises(ConfigError, match="of a rotor"):
        fit_mixed(sample.topology, sample.frames, cartesian=extra, rotors=rotors)
