"""The map from reduced coordinates to positions: inverse, volume, labels, where its domain ends."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jbg.coords import (
    HEAVY,
    KIM,
    backbone_torsions,
    fit_reduced,
    internal,
    reduced_from_fit,
    ring_flips,
)
from jbg.coords.reduced_fit import ReducedFit
from jbg.coords.rings import swapped
from jbg.coords.torsions import TorsionCells, torsion_variables
from jbg.coords.whitening import whitening
from jbg.interfaces import Bijector
from tests.coords.conftest import load
from tests.coords.test_internal import body_rows

CASES = {
    "chignolin": {"which": KIM},
    "dialanine, heavy": {"which": HEAVY, "whiten": False},
}


@dataclasses.dataclass(frozen=True)
class Reduced:
    """Reduced coordinates with the frames they were fitted to; the two directions compiled."""

    coordinates: object
    frames: np.ndarray

    @functools.cached_property
    def forward(self):
        return jax.jit(lambda v: self.coordinates.bijector.forward((), v))

    @functools.cached_property
    def inverse(self):
        return jax.jit(lambda x: self.coordinates.bijector.inverse((), x))

    def draw(self, n, seed=0):
        """Angles over the whole circle, normal numbers inside the domain."""
        rng, c = np.random.default_rng(seed), self.coordinates
        circular = rng.uniform(-np.pi, np.pi, (c.n_circular, n))
        return jnp.asarray(np.concatenate([circular, rng.normal(size=(c.n_linear, n))]))


@functools.cache
def reduced(case: str) -> Reduced:
    peptide = load(case.split(",")[0])
    topology, zmatrix = peptide.topology, peptide.zmatrix
    flips = ring_flips(topology, zmatrix)
    options = {"rotors": peptide.rotors, "flips": flips} | CASES.get(case, {"which": HEAVY})
    fit = fit_reduced(topology, zmatrix, peptide.frames, **options)
    return Reduced(reduced_from_fit(topology, fit), peptide.frames)


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return reduced(request.param)


@pytest.fixture(scope="module")
def chignolin():
    return reduced("chignolin")


def flat(frames):
    return jnp.asarray(np.asarray(frames).reshape(len(frames), -1).T)


def frames_of(x):
    return np.asarray(x).T.reshape(x.shape[1], -1, 3)


def distances(frames):
    return np.sort([pdist(frame) for frame in frames], axis=1)


def all_variables(fit: ReducedFit) -> Bijector:
    """All 3N-6 cell variables, kept and fixed, -> positions; rings of two equal sides count half a turn as one."""
    zmatrix = fit.zmatrix
    n = zmatrix.n_atoms
    cells = TorsionCells(fit.centre, np.full(n - 3, np.pi))
    to_internal, atoms = torsion_variables(zmatrix, fit.rotor_groups, cells), internal(zmatrix)
    scale = np.ones(3 * n - 6)
    scale[2 * n - 3 + fit.flip_lead] = 2

    def forward(params, s):
        y = to_internal.forward((), s / scale)[0]
        return atoms.forward((), y)[0], y

    return dataclasses.replace(atoms, forward=forward)


def test_round_trips(case, x64):
    """Of any v, and of frames: what is rebuilt is on the slice, and stays as it is when rebuilt again."""
    c = case.coordinates
    for v in (case.draw(20), case.inverse(flat(case.frames[::30]))[0]):
        x, log_det = case.forward(v)
        back, inverse_log_det = case.inverse(x)
        np.testing.assert_allclose(back, v, atol=1e-9, rtol=0)
        np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-9, rtol=0)
        assert np.all(np.isfinite(log_det))
    frames = case.frames[::30]
    once = c.rebuild(frames)
    np.testing.assert_allclose(once, frames_of(x), atol=1e-9)
    np.testing.assert_allclose(c.rebuild(once), once, atol=1e-9)
    assert np.abs(distances(once) - distances(frames)).max() > 0.01


def test_log_det_is_that_of_all_coordinates_on_the_slice(chignolin, x64):
    """ln|det| of the square Jacobian of the whole internal map there, and of v -> kept values, by autodiff."""
    fit, white = chignolin.coordinates.fit, whitening(chignolin.coordinates.fit.whitening)
    n, everything, rows = fit.zmatrix.n_atoms, all_variables(fit), body_rows(fit.zmatrix)
    v = chignolin.draw(20, seed=1)  # as many as elsewhere: one program
    x, log_det = chignolin.forward(v)
    whole = jax.jit(jax.jacfwd(lambda s: (everything.forward((), s)[0],) * 2, has_aux=True))
    values_of = jax.jit(jax.jacfwd(lambda v: (white.forward((), v)[0],) * 2, has_aux=True))
    for k in range(2):
        of_values, values = values_of(v[:, k])
        s = jnp.asarray(fit.fixed).at[fit.kept].set(values)
        jacobian, positions = whole(s)
        np.testing.assert_allclose(positions, x[:, k], atol=1e-9)
        y = everything.forward((), s)[1]
        seeds = 2 * np.log(y[0]) + np.log(y[1]) + np.log(np.sin(y[n - 1]))
        parts = [np.linalg.slogdet(a)[1] for a in (np.asarray(jacobian)[rows], of_values)]
        np.testing.assert_allclose(log_det[k], sum(parts) + seeds, atol=1e-8, rtol=0)
    assert abs(float(log_det[0] - log_det[1])) > 1e-3


def test_what_is_not_kept_stands_at_its_mean(chignolin, x64):
    """Bond lengths are those of the mean; of a tree's torsions only the kept ones and those that follow move."""
    fit = chignolin.coordinates.fit
    n = fit.zmatrix.n_atoms
    measure = jax.jit(lambda x: internal(fit.zmatrix).inverse((), x)[0])
    y = measure(chignolin.forward(chignolin.draw(20, seed=2))[0])
    folded = measure(flat(chignolin.coordinates.fold(chignolin.frames)))
    kept = set(fit.kept.tolist())
    fixed = [i for i in range(2 * n - 3) if i not in kept]
    np.testing.assert_allclose(y[np.array(fixed)] - y[np.array(fixed), :1], 0, atol=1e-9)
    np.testing.assert_allclose(y[np.array(fixed), 0], folded[np.array(fixed)].mean(1), atol=1e-9)
    assert set(range(n - 1)) <= set(fixed)
    moving = np.asarray(y).std(1) > 1e-9
    assert moving[fit.kept].all()


def relabelled(frames, fit: ReducedFit):
    """Each symmetric rotor shifted by one, every second ring exchanged: other labels, the same molecules."""
    frames = np.array(frames)
    for group in map(np.array, fit.rotor_groups):
        frames[:, group] = frames[:, np.roll(group, 1)]
    for pairs in fit.flip_pairs:
        frames[::2] = swapped(frames[::2], pairs)
    return frames


@pytest.mark.parametrize("name", ["chignolin", "chignolin, heavy"])
def test_labels_of_exchangeable_atoms_do_not_matter(name, x64):
    """Those of methyls, NH3+, carboxylates (whose offsets the heavy set keeps) and of the ring of Tyr."""
    case = reduced(name)
    fit, frames = case.coordinates.fit, case.frames[::30]
    other = relabelled(frames, fit)
    assert np.abs(other - frames).max() > 0.1
    v, log_det = case.inverse(flat(frames))
    again, again_log_det = case.inverse(flat(other + 1.0))
    difference = np.array(again - v)
    n_circular = case.coordinates.n_circular
    difference[:n_circular] = np.angle(np.exp(1j * difference[:n_circular]))
    np.testing.assert_allclose(difference, 0, atol=1e-7)
    np.testing.assert_allclose(again_log_det, log_det, atol=1e-7)


def test_folding_relabels_and_does_nothing_else(case):
    c, frames = case.coordinates, case.frames[::30]
    folded = c.fold(frames)
    np.testing.assert_allclose(distances(folded), distances(frames), atol=1e-7)
    others = np.setdiff1d(
        np.arange(frames.shape[1]),
        [*np.concatenate([*c.fit.rotor_groups]), *c.fit.flip_pairs.ravel()],
    )
    for before, after in zip(frames, folded, strict=True):
        np.testing.assert_allclose(pdist(after[others]), pdist(before[others]), atol=1e-7)
    np.testing.assert_allclose(c.fold(relabelled(frames, c.fit)), folded, atol=1e-7)
    np.testing.assert_allclose(c.fold(folded), folded, atol=1e-7)


def test_circular_variables_have_no_end(chignolin, x64):
    """With any number of turns more it is the same point, so that trajectories pass the cut."""
    v, n = chignolin.draw(3), chignolin.coordinates.n_circular
    turned = v.at[:n].add(2 * np.pi * np.arange(-1, 2)[None] * np.ones((n, 1)))
    for found, expected in zip(chignolin.forward(turned), chignolin.forward(v), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)
    near = jnp.stack([v[:, 0].at[:n].set(np.pi - 1e-9), v[:, 0].at[:n].set(1e-9 - np.pi)], 1)
    first, second = frames_of(chignolin.forward(near)[0])
    np.testing.assert_allclose(np.sort(pdist(first)), np.sort(pdist(second)), atol=1e-2)


@pytest.mark.parametrize(("kind", "size"), [("torsion", np.pi), ("angle", np.pi / 2)])
def test_outside_of_its_cell_a_variable_has_no_density(kind, size, chignolin):
    """A torsion on the line beyond its cut, a backbone angle beyond pi."""
    c = chignolin.coordinates
    white, n = whitening(c.fit.whitening), c.fit.zmatrix.n_atoms
    start = 2 * n - 3
    on_line = np.arange(c.n_circular, len(c.fit.kept))
    chosen = [i for i in on_line if (c.fit.kept[i] >= start) == (kind == "torsion")]
    values = np.asarray(white.forward((), jnp.zeros((len(c.fit.kept), 1)))[0])
    for row in chosen[::7]:
        sides = np.repeat(values, 4, 1)
        middle = 0 if kind == "torsion" else np.pi / 2
        sides[row] = middle + size * np.array([-1.01, -0.99, 0.99, 1.01])
        v, _ = white.inverse((), jnp.asarray(sides, jnp.float32))
        inside = np.isfinite(chignolin.forward(v)[1])
        np.testing.assert_array_equal(inside, [False, True, True, False])


def test_gradients_of_the_volume_are_finite_outside_too(chignolin):
    volume = lambda v: chignolin.coordinates.bijector.forward((), v)[1]
    v = jnp.asarray(chignolin.draw(4), jnp.float32).at[:, 0].multiply(50)
    value, pull = jax.vjp(jax.jit(volume), v)
    np.testing.assert_array_equal(np.isfinite(value), [False, True, True, True])
    assert np.all(np.isfinite(pull(jnp.ones_like(value))[0]))


def test_backbone_comes_first_and_labels_are_named(chignolin):
    c = chignolin.coordinates
    circular, linear = c.backbone
    flags = np.asarray(c.fit.backbone)
    first = [*range(circular), *range(c.n_circular, c.n_circular + linear)]
    np.testing.assert_array_equal(np.flatnonzero(flags), first)
    assert (circular + linear, c.n_circular + c.n_linear) == (56, 73)
    assert len(set(c.labels)) == 73
    topology = load("chignolin").topology
    for name, quads in backbone_torsions(topology).items():
        assert sum(label.startswith(f"{name} ") for label in c.labels) == len(quads)
    chi = {label for label in c.labels if label.startswith(("chi", "hydroxyl"))}
    assert chi == {
        *(f"chi1 {name}" for name in ("TYR2", "ASP3", "GLU5", "THR6", "THR8", "TRP9")),
        *(f"chi2 {name}" for name in ("TYR2", "GLU5", "TRP9")),
        *(f"hydroxyl {name}" for name in ("TYR2:OH", "THR6:OG1", "THR8:OG1")),
    }
    np.testing.assert_array_equal(np.sort(c.place), np.arange(73))
    assert np.all(np.diff(c.fit.residue[np.argsort(c.place)]) >= 0)
