"""What a fit takes from frames: circles or lines, means after relabelling, whitening, and what it refuses."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jbg.coords import (
    CoordinateSet,
    ReducedFit,
    build_zmatrix,
    fit_reduced,
    internal,
    reduced_from_fit,
    refit_reduced,
    ring_flips,
    rotor_candidates,
    signed_volume,
)
from jbg.coords.backbone import chiral_centres
from jbg.coords.reduced_set import KINDS
from jbg.coords.rings import swapped
from jbg.interfaces import ConfigError, Topology
from jbg.systems.openmm_pool import ContextPool
from tests.molecules import peptide

# X-N-CA-C-Y: phi, psi and the angle N-CA-C are kept
NAMES = ("X", "N", "CA", "C", "Y")
FIVE = Topology(
    tuple("CNCCC"), NAMES, ("GLY",) * 5, (0,) * 5, np.array([(i, i + 1) for i in range(4)])
)


def five_atoms(phi, psi, theta):
    """Frames of the chain with these torsions and angles at CA, the rest constant."""
    corner = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 1.0]])
    zmatrix = build_zmatrix(FIVE, corner)
    rows = {
        tuple(sorted(row)): k for k, row in enumerate(np.stack(zmatrix, 1)[3:, [0, 3]].tolist())
    }
    y = np.zeros((9, len(phi)))
    y[:4], y[4:7] = 0.15, 1.9
    y[4 + [k for k in range(3) if zmatrix.bond[k + 2] == 2][0]] = theta
    y[7 + rows[0, 3]], y[7 + rows[1, 4]] = phi, psi
    x, _ = jax.jit(internal(zmatrix).forward)((), y)
    return zmatrix, np.asarray(x).T.reshape(-1, 5, 3)


def spread(n, empty, middle=2.0):
    """Angles evenly over the circle but for an empty arc (degrees) opposite ``middle``."""
    half = np.pi - np.deg2rad(empty) / 2
    return np.mod(middle + np.linspace(-half, half, n) + np.pi, 2 * np.pi) - np.pi


def test_a_torsion_is_a_circle_unless_an_arc_of_100_degrees_is_empty(x64):
    rng, n = np.random.default_rng(0), 500
    theta = rng.normal(1.9, 0.1, n)
    for empty, n_circular in ((96, 2), (104, 1)):
        psi = rng.permutation(spread(n, empty))
        zmatrix, frames = five_atoms(rng.uniform(-np.pi, np.pi, n), psi, theta)
        fit = fit_reduced(FIVE, zmatrix, frames)
        c = reduced_from_fit(FIVE, fit)
        assert (c.n_circular, c.n_linear) == (n_circular, 3 - n_circular)
        assert c.labels[:1] == ("torsion GLY1:X-GLY1:N-GLY1:CA-GLY1:C",)
        (at,) = (i for i, label in enumerate(c.labels) if "Y-" in label and "torsion" in label)
        middle = fit.centre[fit.kept[at] - 7]  # the cut is opposite, in the middle of the arc
        assert np.angle(np.exp(1j * (middle - 2.0))) == pytest.approx(0, abs=0.02)
        np.testing.assert_allclose(c.rebuild(frames), frames, atol=1e-9)


def test_line_variables_are_standardised_or_whitened(x64):
    """theta follows phi and psi follows theta: only whitening takes both out."""
    rng, n = np.random.default_rng(1), 2000
    phi = rng.uniform(-np.pi, np.pi, n)
    theta = 1.9 + 0.2 * np.cos(phi) + 0.05 * rng.normal(size=n)
    zmatrix, frames = five_atoms(phi, 2.0 + 3 * (theta - 1.9) + 0.1 * rng.normal(size=n), theta)
    moments = {}
    for whiten in (True, False):
        fit = fit_reduced(FIVE, zmatrix, frames, whiten=whiten)
        assert [KINDS[k] for k in fit.kind] == ["phi", "angle at CA", "psi"]
        bijector = reduced_from_fit(FIVE, fit).bijector
        x = jnp.asarray(frames.reshape(n, -1).T)
        v, log_det = map(np.asarray, jax.jit(bijector.inverse)((), x))
        np.testing.assert_allclose(v[1:].mean(1), 0, atol=1e-6)
        np.testing.assert_allclose(v[1:].std(1), 1, atol=1e-6)
        moments[whiten] = np.corrcoef([np.cos(v[0]), *v[1:]])[np.triu_indices(3, 1)]
        scale = np.log(np.diag(fit.factor)).sum() + np.log(0.15) * 8
        scale += np.log(np.sin(1.9)) * 2 + np.log(np.sin(theta))
        np.testing.assert_allclose(log_det, -scale, atol=1e-9)
    assert np.abs(moments[True]).max() < 0.3  # a ridge leaves some
    assert moments[False].min() > 0.7


def test_saved_and_loaded_it_is_the_same(x64):
    rng = np.random.default_rng(2)
    zmatrix, frames = five_atoms(
        rng.uniform(-np.pi, np.pi, 100), rng.normal(1, 0.2, 100), rng.normal(1.9, 0.1, 100)
    )
    fit, file = fit_reduced(FIVE, zmatrix, frames), io.BytesIO()
    np.savez(file, **fit._asdict())
    file.seek(0)
    with np.load(file) as data:
        again = ReducedFit(**data)
    for before, after in zip(fit, again, strict=True):
        np.testing.assert_array_equal(before, after)
    pair = [reduced_from_fit(FIVE, each) for each in (fit, again)]
    np.testing.assert_array_equal(*(c.rebuild(frames[:5]) for c in pair))
    assert pair[0].labels == pair[1].labels


def wiggled(molecule, n, rng):
    """Frames with all rotors and the ring turned at random, the other coordinates a little."""
    zmatrix = build_zmatrix(molecule.topology, molecule.positions)
    atoms, n_atoms = internal(zmatrix), zmatrix.n_atoms
    leads = {int(zmatrix.order[3 + t]) for t in ring_flips(molecule.topology, zmatrix).lead}
    groups = [set(group) for group in rotor_candidates(molecule.topology, zmatrix)]
    with jax.enable_x64():
        y, _ = atoms.inverse((), jnp.asarray(molecule.positions.reshape(-1, 1)))
        y = np.repeat(np.asarray(y), n, 1)
        y += (
            rng.normal(size=y.shape)
            * np.repeat([0.002, 0.03], [n_atoms - 1, 2 * n_atoms - 5])[:, None]
        )
        about = list(zip(zmatrix.bond[3:].tolist(), zmatrix.angle[3:].tolist(), strict=True))
        for group in (leads, *groups):
            pairs = {
                pair
                for atom, pair in zip(zmatrix.order[3:], about, strict=True)
                if int(atom) in group
            }
            turn = rng.uniform(-np.pi, np.pi, n)
            for t, pair in enumerate(about):
                y[2 * n_atoms - 3 + t] += turn if pair in pairs else 0
        x = np.asarray(atoms.forward((), jnp.asarray(y))[0])
    return zmatrix, x.T.reshape(n, -1, 3)


@pytest.fixture(scope="module")
def phe():
    """ACE-PHE-NME with turned methyls and rings: molecule, Z-matrix, frames, rotors, flips."""
    molecule = peptide("ACE-PHE-NME")
    zmatrix, frames = wiggled(molecule, 120, np.random.default_rng(3))
    rotors = rotor_candidates(molecule.topology, zmatrix)
    return molecule, zmatrix, frames, rotors, ring_flips(molecule.topology, zmatrix)


@pytest.fixture(scope="module")
def fitted(phe):
    molecule, zmatrix, frames, rotors, flips = phe
    fit = fit_reduced(molecule.topology, zmatrix, frames, rotors=rotors, flips=flips)
    return reduced_from_fit(molecule.topology, fit)


@pytest.mark.openmm
def test_folding_keeps_energies_to_the_tolerance_of_the_force_field(phe, fitted):
    molecule, zmatrix, frames, rotors, _ = phe
    folded = fitted.fold(frames)
    turned = np.abs([pdist(a) - pdist(b) for a, b in zip(folded, frames, strict=True)]).max(1) > 0.1
    assert turned.mean() > 0.2
    with ContextPool(molecule.system_xml, platform="Reference") as pool:
        before, after, mixed = np.split(
            pool.energies(np.concatenate([frames, folded, frames[:, ::-1]])), 3
        )
    np.testing.assert_allclose(after, before, atol=3.0)  # impropers of the ring know their order
    assert np.median(abs(mixed - before)) > 100
    unflipped = fit_reduced(molecule.topology, zmatrix, frames, rotors=rotors)
    folded = reduced_from_fit(molecule.topology, unflipped).fold(frames)
    with ContextPool(molecule.system_xml, platform="Reference") as pool:
        np.testing.assert_allclose(pool.energies(folded), before, atol=1e-4)


def test_a_fit_does_not_depend_on_labels(phe, x64):
    """Fixed coordinates are averaged after relabelling, else they are those of no structure."""
    molecule, zmatrix, frames, rotors, flips = phe
    rng, other = np.random.default_rng(4), frames.copy()
    for group in map(np.array, rotors):
        turned = rng.integers(1, len(group), len(other))
        other[:, group] = np.stack(
            [f[np.roll(group, k)] for f, k in zip(other, turned, strict=True)]
        )
    other[::2] = swapped(other[::2], flips.pairs[0])
    # methyls and rings fixed as well: their means matter
    which = CoordinateSet(hydrogen_rotors=False)
    fits = [
        fit_reduced(molecule.topology, zmatrix, f, which=which, rotors=rotors, flips=flips)
        for f in (frames, other)
    ]
    first, second = (reduced_from_fit(molecule.topology, fit) for fit in fits)
    fixed = np.setdiff1d(np.arange(len(fits[0].fixed)), fits[0].kept)
    np.testing.assert_allclose(fits[0].fixed[fixed], fits[1].fixed[fixed], atol=0.03)
    rebuilt = first.rebuild(frames[:10]), second.rebuild(other[:10])
    sorted_distances = [np.sort([pdist(f) for f in each], axis=1) for each in rebuilt]
    np.testing.assert_allclose(*sorted_distances, atol=5e-3)
    mixed = fit_reduced(molecule.topology, zmatrix, other, which=which)
    assert np.abs(mixed.fixed - fits[0].fixed)[fixed].max() > 0.1


def test_a_ring_counts_its_half_turn_as_a_whole(phe, fitted, x64):
    molecule, zmatrix, frames, rotors, flips = phe
    plain = fit_reduced(molecule.topology, zmatrix, frames, rotors=rotors)
    measure = jax.jit(lambda x: internal(zmatrix).inverse((), x)[0])
    for c, turns in ((fitted, 2), (reduced_from_fit(molecule.topology, plain), 1)):
        (at,) = np.flatnonzero(c.fit.kept == 2 * zmatrix.n_atoms - 3 + flips.lead[0])
        assert at < c.n_circular
        v = jnp.zeros((len(c.fit.kept), 2)).at[at, 1].set(0.5)
        x, log_det = jax.jit(c.bijector.forward)((), v)
        y = measure(x)[2 * zmatrix.n_atoms - 3 + flips.lead[0]]
        assert np.angle(np.exp(1j * (y[1] - y[0]))) == pytest.approx(0.5 / turns, abs=1e-9)
        np.testing.assert_allclose(log_det[0], log_det[1], atol=1e-9)


def test_rotors_may_begin_with_any_of_their_atoms(phe, fitted):
    molecule, zmatrix, frames, rotors, flips = phe
    turned = [group[::-1] for group in rotors]
    fit = fit_reduced(molecule.topology, zmatrix, frames, rotors=turned, flips=flips)
    other = reduced_from_fit(molecule.topology, fit)
    assert (fitted.n_circular, fitted.n_linear) == (other.n_circular, other.n_linear)
    assert fitted.n_circular >= 1 + len(rotors)
    pairs = [np.sort([pdist(f) for f in c.rebuild(frames[:5])], axis=1) for c in (fitted, other)]
    np.testing.assert_allclose(*pairs, atol=1e-6)


def test_chirality_of_the_frames_is_kept(phe, fitted):
    molecule, zmatrix, frames, rotors, flips = phe
    centres, mirrored = chiral_centres(molecule.topology), frames * [1, 1, -1]
    fit = fit_reduced(molecule.topology, zmatrix, mirrored, rotors=rotors, flips=flips)
    assert np.all(signed_volume(fitted.rebuild(frames[:5]), centres) > 0)
    image = reduced_from_fit(molecule.topology, fit).rebuild(mirrored[:5])
    assert np.all(signed_volume(image, centres) < 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frames: frames[:, :4], r"must have the shape \(n, 5, 3\)"),
        (
            lambda frames: np.where(np.arange(50)[:, None, None] == 3, np.nan, frames),
            "NaN or inf in 1 of 50",
        ),
        (lambda frames: frames[:9], "at least 10 frames in the domain, got 9"),
        (lambda frames: np.repeat(frames[:1], 50, 0), "constant in all frames"),
    ],
)
def test_bad_frames_are_named(change, message):
    rng = np.random.default_rng(5)
    zmatrix, frames = five_atoms(*rng.normal(1.5, 0.1, (3, 50)))
    with pytest.raises(ConfigError, match=message):
        fit_reduced(FIVE, zmatrix, change(frames))


@pytest.mark.openmm
def test_a_second_fit_keeps_the_slice_and_the_labels(phe, fitted):
    """Other frames decide circles, cuts and whitening anew; positions on the slice stay those of the first fit."""
    molecule, _, frames, _, _ = phe
    on_slice = fitted.rebuild(frames[::2])
    again = reduced_from_fit(molecule.topology, refit_reduced(fitted.fit, on_slice))
    np.testing.assert_allclose(again.rebuild(on_slice), again.fold(on_slice), atol=1e-7)
    np.testing.assert_array_equal(again.fit.fixed, fitted.fit.fixed)
    assert sorted(again.fit.kept) == sorted(fitted.fit.kept)
    assert not np.array_equal(again.fit.mean, fitted.fit.mean)
