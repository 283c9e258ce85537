"""The plane of slow motions: it finds torsions known to be slow, as a function of x with gradients."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.coords import backbone_torsions, torsions_of
from jbg.interfaces import ConfigError, Topology
from jbg.losses import ReactionCoordinate
from jbg.studies.protein import slow_motions
from jbg.studies.protein.slow_motions import (
    SlowPlane,
    fit_slow_plane,
    slow_plane,
    slow_torsions,
)

DATA = Path(__file__).parents[2] / "data" / "peptide_frames.npz"
CHAINS, FRAMES = 6, 2000
DECAYS = (0.99, 0.9)  # of phi and psi after one frame
PHI, PSI = -1.4, 1.2


def dialanine():
    with np.load(DATA) as data:
        kept = [field for field in Topology._fields if f"dialanine_{field}" in data]
        fields = {field: data[f"dialanine_{field}"] for field in kept}
        frame = data["dialanine_frames"][0].astype(np.float64)
    bonds = fields.pop("bonds")
    return Topology(**{k: tuple(v.tolist()) for k, v in fields.items()}, bonds=bonds), frame


def downstream(topology, a, b):
    """Atoms on the side of b of the bond between a and b."""
    found, new = {b}, [b]
    while new:
        i = new.pop()
        for bond in topology.bonds.tolist():
            for j in set(bond) - {i} if i in bond else ():
                if j not in found and (i, j) != (b, a):
                    found.add(j)
                    new.append(j)
    return np.array(sorted(found))


def turned(topology, frames, quad, angles):
    """Frames ``(n, atoms, 3)`` with a torsion set to ``angles``, atoms behind the bond turned as a body."""
    moving = downstream(topology, quad[1], quad[2])
    now = np.asarray(torsions_of(frames.reshape(len(frames), -1).T, quad[None]))[0]
    by = (angles - now)[:, None, None]
    origin = frames[:, quad[2]][:, None]
    axis = frames[:, quad[2]] - frames[:, quad[1]]
    axis = (axis / np.linalg.norm(axis, axis=1, keepdims=True))[:, None]
    r = frames[:, moving] - origin
    along = np.sum(r * axis, -1, keepdims=True) * axis
    out = frames.copy()
    out[:, moving] = origin + along + (r - along) * np.cos(by) + np.cross(axis, r) * np.sin(by)
    return out


@pytest.fixture(scope="module")
def process():
    """Topology, frames ``(n, 3 atoms)`` whose phi and psi jump between two values each, chains, and the jumps.

    Of two values every function is linear: in a continuous process the square of the slowest is slow too.
    """
    topology, frame = dialanine()
    rng, decays = np.random.default_rng(0), np.array(DECAYS)
    s = np.empty((CHAINS, FRAMES, 2))
    s[:, 0] = rng.choice([-1, 1], size=(CHAINS, 2))
    flips = rng.random(s.shape) < (1 - decays) / 2
    s = (s[:, :1] * np.cumprod(np.where(flips, -1, 1), axis=1)).reshape(-1, 2)
    x = np.repeat(frame[None], len(s), 0)
    quads = backbone_torsions(topology)
    x = turned(topology, x, quads["phi"][0], PHI + 0.4 * s[:, 0])
    x = turned(topology, x, quads["psi"][0], PSI + 0.4 * s[:, 1])
    return (
        topology,
        x.reshape(len(x), -1).astype(np.float32),
        np.repeat(np.arange(CHAINS), FRAMES),
        s,
    )


@pytest.fixture(scope="module")
def fit(process):
    topology, x, chain, _ = process
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slow_motions, "LAG", 0.01)
        return fit_slow_plane(topology, x, chain)


def test_its_axes_are_the_slow_torsions_in_their_order(process, fit):
    _, x, _, s = process
    assert fit.lag == 20
    r = np.asarray(slow_plane(fit).of(jnp.asarray(x.T)))
    assert r.shape == (2, len(x))
    for k in (0, 1):
        assert abs(np.corrcoef(r[k], s[:, k])[0, 1]) > 0.98
        np.testing.assert_allclose(fit.values[k], DECAYS[k] ** 20, atol=0.05)
        np.testing.assert_allclose([r[k].mean(), r[k].std()], [0, 1], atol=0.02)


def test_bounds_leave_few_frames_outside(process, fit):
    _, x, _, _ = process
    plane = slow_plane(fit)
    r = np.asarray(plane.of(jnp.asarray(x.T)))
    for values, (low, high) in zip(r, plane.bounds, strict=True):
        inner = np.quantile(values, (0.005, 0.995))
        margin = 0.1 * (inner[1] - inner[0])
        np.testing.assert_allclose([low, high], inner + [-margin, margin], atol=1e-3)
        assert ((values < low) | (values > high)).mean() < 0.005


def test_of_one_configuration_and_its_gradient(process, fit):
    _, x, _, _ = process
    of, few = slow_plane(fit).of, jnp.asarray(x[:3].T)
    assert of(few[:, 0]).shape == (2,)
    np.testing.assert_allclose(of(few)[:, 1], of(few[:, 1]), atol=1e-4)
    with jax.enable_x64(True):
        point = jnp.asarray(x[5], jnp.float64)
        slopes = jax.jacrev(of)(point)
        direction = np.random.default_rng(1).normal(size=len(point))
        h = 1e-6
        numeric = (of(point + h * direction) - of(point - h * direction)) / (2 * h)
        np.testing.assert_allclose(slopes @ direction, numeric, rtol=1e-5)
        assert np.all(np.abs(slopes).max(1) > 1)  # 1/nm


def test_the_loss_acts_through_it(process, fit):
    """Frames are driven apart: a step along the gradient lowers it."""
    _, x, _, _ = process
    spread = ReactionCoordinate(form="kernels").spread_of(slow_plane(fit))
    loss = jax.jit(jax.value_and_grad(lambda x: spread(x, 1)[0]))
    few = jnp.asarray(x[::40].T)
    value, gradient = loss(few)
    step = 1e-4 * gradient / jnp.abs(gradient).max()
    assert np.isfinite(gradient).all()
    assert loss(few - step)[0] < value < loss(few + step)[0]


def test_as_a_file_it_has_the_same_bits(process, fit, tmp_path):
    np.savez(tmp_path / "fit.npz", **fit._asdict())
    with np.load(tmp_path / "fit.npz") as data:
        again = slow_plane(SlowPlane(**data))
    x = jnp.asarray(process[1][:50].T)
    np.testing.assert_array_equal(again.of(x), slow_plane(fit).of(x))
    assert again.bounds == slow_plane(fit).bounds


def test_many_frames_are_thinned_evenly(process, monkeypatch):
    """The lag stays what it was in time, in frames of the data."""
    topology, x, chain, _ = process
    monkeypatch.setattr(slow_motions, "LAG", 0.01)
    monkeypatch.setattr(slow_motions, "MOST", 3000)
    found = fit_slow_plane(topology, x, chain)
    assert found.lag == 20
    np.testing.assert_allclose(found.values[0], DECAYS[0] ** 20, atol=0.05)


def test_the_torsions_of_bridged_cysteines_belong_to_it():
    """Two residues CYS with a disulfide, and none without."""
    names = ("N", "CA", "C", "CB", "SG")
    elements = ("N", "C", "C", "C", "S")
    inside = [(0, 1), (1, 2), (1, 3), (3, 4)]
    bonds = [*inside, *((i + 5, j + 5) for i, j in inside)]
    of = lambda bonds: Topology(
        elements * 2, names * 2, ("CYS",) * 10, (0,) * 5 + (1,) * 5, np.array(bonds)
    )
    np.testing.assert_array_equal(slow_torsions(of([*bonds, (4, 9)])), [[0, 1, 3, 4], [5, 6, 8, 9]])
    assert slow_torsions(of(bonds)).shape == (0, 4)
    with pytest.raises(ConfigError, match="this molecule has none"):
        fit_slow_plane(of(bonds), np.zeros((4, 30)), np.zeros(4))
