"""The whole map from a flow's variables to positions, for peptides with simulation frames."""

import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jbg.analysis import torsions
from jbg.coords import (
    CoordinateFit,
    backbone_torsions,
    chiral_centres,
    coordinates_from_fit,
    fit_coordinates,
    internal,
    signed_volume,
)
from jbg.coords.torsions import rotor_torsions
from jbg.interfaces import ConfigError
from tests.coords.conftest import PEPTIDES, load
from tests.coords.test_internal import body_rows


@pytest.fixture(scope="module")
def fitted(peptides):
    return {
        name: coordinates_from_fit(
            p.topology, fit_coordinates(p.zmatrix, p.frames, rotors=p.rotors)
        )
        for name, p in peptides.items()
    }


def flat(frames):
    return jnp.asarray(np.asarray(frames).reshape(len(frames), -1).T)


def draw(coordinates, n, rng):
    circular = rng.uniform(-np.pi, np.pi, (coordinates.n_circular, n))
    return np.concatenate([circular, rng.normal(size=(coordinates.n_linear, n))])


@pytest.mark.parametrize("name", PEPTIDES)
def test_round_trips_and_log_det(name, peptides, fitted, x64):
    coordinates, zmatrix = fitted[name], peptides[name].zmatrix
    n = zmatrix.n_atoms
    forward, inverse = (
        jax.jit(coordinates.bijector.forward),
        jax.jit(coordinates.bijector.inverse),
    )
    v = jnp.asarray(draw(coordinates, 20, np.random.default_rng(0)))
    x_drawn, log_det = forward((), v)
    assert np.all(np.isfinite(log_det))
    back, inverse_log_det = inverse((), x_drawn)
    np.testing.assert_allclose(back, v, atol=1e-9)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-9)

    x = flat(peptides[name].frames[::10])
    rebuilt, _ = forward((), inverse((), x)[0])
    for frame, again in zip(np.asarray(x).T, np.asarray(rebuilt).T, strict=True):
        found, expected = pdist(again.reshape(n, 3)), pdist(frame.reshape(n, 3))
        if not np.allclose(found, expected, atol=1e-9, rtol=0):  # a rotor was relabelled
            np.testing.assert_allclose(np.sort(found), np.sort(expected), atol=1e-9, rtol=0)

    jacobian = jax.jit(jax.jacfwd(lambda v: coordinates.bijector.forward((), v)[0]))(v[:, 0])
    log_abs = np.linalg.slogdet(np.asarray(jacobian)[body_rows(zmatrix)])[1]
    y, _ = jax.jit(internal(zmatrix).inverse)((), x_drawn[:, 0])
    seeds = 2 * np.log(y[0]) + np.log(y[1]) + np.log(np.sin(y[n - 1]))
    np.testing.assert_allclose(log_det[0], log_abs + seeds, atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", PEPTIDES)
def test_data_are_in_the_domain_and_white(name, peptides, fitted, x64):
    coordinates, frames = fitted[name], peptides[name].frames
    inside = coordinates.in_domain(frames)
    assert inside.shape == (len(frames),)
    assert inside.mean() > 0.99
    v, _ = jax.jit(coordinates.bijector.inverse)((), flat(frames[inside]))
    circular, w = np.split(np.asarray(v), [coordinates.n_circular])
    np.testing.assert_allclose(w.std(1), 1, atol=1e-6)
    np.testing.assert_allclose(w.mean(1), 0, atol=1e-6)
    assert np.all((circular >= -np.pi) & (circular < np.pi))
    assert len(coordinates.labels) == len(set(coordinates.labels)) == len(v)
    assert coordinates.n_circular + coordinates.n_linear == 3 * frames.shape[1] - 6


def test_alanine_dipeptide_has_the_five_soft_variables_expected(fitted):
    soft = fitted["dialanine"].labels[: fitted["dialanine"].n_circular]
    assert {"phi ALA2", "psi ALA2"} <= set(soft)
    assert sum(label.startswith("rotor") for label in soft) == 3
    assert len(soft) == 5


@pytest.mark.parametrize("name", ["dialanine", "chignolin"])
def test_no_circle_has_an_end(name, fitted, x64):
    """On both sides of any cut the molecule is the same, a rotor's atoms in another cyclic order.

    But for rotors of two atoms, whose stiff variables keep their labels.
    """
    coordinates, fit = fitted[name], fitted[name].fit
    start = 2 * fit.zmatrix.n_atoms - 3
    sizes = {start + t[0]: len(t) for t in rotor_torsions(fit.zmatrix, fit.rotor_groups)}
    forward = jax.jit(coordinates.bijector.forward)
    v = np.tile(0.5 * draw(coordinates, 1, np.random.default_rng(3)), 2)
    for row, place in enumerate(fit.soft):
        sides = v.copy()
        sides[row] = np.array([1, -1]) * (np.pi - 1e-10)
        first, second = np.asarray(forward((), jnp.asarray(sides))[0]).T.reshape(2, -1, 3)
        moved = np.flatnonzero(np.linalg.norm(first - second, axis=1) > 1e-7)
        assert len(moved) == {1: 0, 2: 2, 3: 3}[sizes.get(place, 1)]
        if len(moved) == 3:
            assert sorted(moved) in [sorted(group) for group in fit.rotor_groups]
            turned = [first[np.roll(moved, shift)] for shift in (1, 2)]
            assert min(np.abs(second[moved] - other).max() for other in turned) < 1e-7
    assert 3 in [sizes.get(place) for place in fit.soft]


def test_density_ignores_rotor_labels_and_rigid_motion(peptides, fitted, x64):
    peptide, coordinates = peptides["chignolin"], fitted["chignolin"]
    inverse = jax.jit(coordinates.bijector.inverse)
    v, log_det = inverse((), flat(peptide.frames[:8]))
    frames = peptide.frames[:8] + 3.0
    for rotor in peptide.rotors:
        group = np.array(coordinates.fit.rotor_groups[peptide.rotors.index(rotor)])
        frames[:, group] = frames[:, np.roll(group, 1)]
    again, again_log_det = inverse((), flat(frames))
    np.testing.assert_allclose(again, v, atol=1e-6)
    np.testing.assert_allclose(again_log_det, log_det, atol=1e-8)


def test_float32_in_production(fitted):
    coordinates = fitted["chignolin"]
    v = jnp.asarray(draw(coordinates, 16, np.random.default_rng(1)), jnp.float32)
    x, log_det = jax.jit(coordinates.bijector.forward)((), v)
    assert x.dtype == log_det.dtype == jnp.float32
    back, inverse_log_det = jax.jit(coordinates.bijector.inverse)((), x)
    np.testing.assert_allclose(back, v, atol=1e-3)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=5e-3)
    value = jax.jit(jax.grad(lambda v: coordinates.bijector.forward((), v)[0].sum()))(v)
    assert np.all(np.isfinite(value))


@functools.cache
def internal_maps(name):
    """The compiled inverse and forward of a peptide's internal coordinates."""
    bijector = internal(load(name).zmatrix)
    return jax.jit(bijector.inverse), jax.jit(bijector.forward)


def changed(peptide, edit):
    """The first frame with its internal coordinates edited: edit(y, row of each atom)."""
    inverse, forward = internal_maps(peptide.name)
    with jax.enable_x64(True):
        y = np.array(inverse((), jnp.asarray(peptide.frames[0].reshape(-1)))[0])
        start = 2 * peptide.zmatrix.n_atoms - 3
        edit(y, {int(a): start + t for t, a in enumerate(peptide.zmatrix.order[3:])})
        return np.asarray(forward((), jnp.asarray(y))[0]).reshape(1, -1, 3)


@pytest.mark.parametrize("name", PEPTIDES)
def test_mirror_images_are_outside(name, peptides, fitted):
    assert not fitted[name].in_domain(peptides[name].frames * [1, -1, 1]).any()


def test_each_d_amino_acid_is_outside(peptides, fitted):
    peptide = peptides["trialanine"]
    topology, centres = peptide.topology, chiral_centres(peptide.topology)
    for number, (ca, _, _, cb) in enumerate(centres):
        (ha,) = [i for i in range(topology.n_atoms) if topology.atom_names[i] == "HA"
                 and topology.residue_ids[i] == topology.residue_ids[ca]]  # fmt: skip

        def swap(y, row, ha=ha, cb=cb):
            y[[row[ha], row[cb]]] = y[[row[cb], row[ha]]]

        frame = changed(peptide, swap)
        is_d = signed_volume(frame, centres)[0] < 0
        np.testing.assert_array_equal(is_d, np.arange(3) == number)
        assert not fitted["trialanine"].in_domain(frame).any()


def test_each_cis_amide_is_outside(peptides, fitted):
    peptide = peptides["chignolin"]
    omegas = backbone_torsions(peptide.topology)["omega"]
    assert len(omegas) == 9
    for _, c, n, _ in omegas:
        axis = {int(c), int(n)}

        def turn(y, row, axis=axis):
            for atom, bond, angle in zip(*peptide.zmatrix[:3], strict=True):
                if {int(bond), int(angle)} == axis and int(atom) in row:
                    y[row[int(atom)]] += np.pi

        assert not fitted["chignolin"].in_domain(changed(peptide, turn)).any()
    assert fitted["chignolin"].in_domain(changed(peptide, lambda y, row: None)).all()


def test_variables_that_leave_the_domain_have_no_density(fitted):
    coordinates = fitted["dialanine"]
    forward = jax.jit(coordinates.bijector.forward)
    v = np.zeros((coordinates.bijector.dim_in, 2), np.float32)
    omega = coordinates.labels.index("omega NME3")
    v[omega, 1] = 2.0 / coordinates.fit.factor.diagonal()[omega - coordinates.n_circular]
    np.testing.assert_array_equal(np.isfinite(forward((), v)[1]), [True, False])


def test_rebuilt_from_a_file_they_are_the_same(peptides, fitted):
    for name, coordinates in fitted.items():
        file = io.BytesIO()
        np.savez(file, **coordinates.fit._asdict())
        file.seek(0)
        with np.load(file) as data:
            again = coordinates_from_fit(peptides[name].topology, CoordinateFit(**data))
        assert again.labels == coordinates.labels
        assert again.n_circular == coordinates.n_circular
        v = jnp.asarray(draw(coordinates, 3, np.random.default_rng(2)), jnp.float32)
        before, after = (jax.jit(c.bijector.forward)((), v) for c in (coordinates, again))
        for a, b in zip(before, after, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_file_from_before_directions_keeps_labelled_rotors(peptides, fitted, x64):
    """Such a file lacks the field; at an angle where directions are those of the atoms both maps agree."""
    topology, fit = peptides["dialanine"].topology, fitted["dialanine"].fit
    older = coordinates_from_fit(topology, CoordinateFit(**_without(fit, "directions")))
    assert not any("degrees" in label for label in older.labels)
    members = rotor_torsions(fit.zmatrix, fit.rotor_groups)
    v = draw(older, 5, np.random.default_rng(4))
    for rotor in members:
        place = 2 * fit.zmatrix.n_atoms - 3 + rotor[0]
        v[np.flatnonzero(fit.soft == place)] = -fit.centre[rotor[0]]  # mean torsion 0
    forwards = [jax.jit(c.bijector.forward) for c in (older, fitted["dialanine"])]
    both = [forward((), v)[0] for forward in forwards]
    np.testing.assert_allclose(*both, atol=1e-10)
    v[: older.n_circular] += 0.5
    both = [forward((), v)[0] for forward in forwards]
    assert np.abs(both[0] - both[1]).max() > 1e-3


def _without(fit, name):
    return {field: value for field, value in fit._asdict().items() if field != name}


def test_few_frames_of_many_dimensions(peptides):
    """60 frames, 408 dimensions: the whitened variables of the other frames stay of order 1."""
    peptide = peptides["chignolin"]
    fit = fit_coordinates(peptide.zmatrix, peptide.frames[::5], rotors=peptide.rotors)
    few = coordinates_from_fit(peptide.topology, fit)
    others = peptide.frames[2::5]
    v, _ = jax.jit(few.bijector.inverse)((), flat(others[few.in_domain(others)]))
    spread = np.asarray(v[few.n_circular :]).std(1)
    assert np.median(spread) < 1.3
    assert spread.max() < 3


def test_errors(peptides):
    p = peptides["dialanine"]
    for frames in (p.frames[:, :5], p.frames[0]):
        with pytest.raises(ConfigError, match=r"frames must have the shape \(n, 22, 3\)"):
            fit_coordinates(p.zmatrix, frames)
    with pytest.raises(ConfigError, match=r"got NaN or inf in \d+ of 500 frames"):
        fit_coordinates(p.zmatrix, np.where(p.frames > 0.3, np.nan, p.frames))
    with pytest.raises(ConfigError, match="at least 10 frames"):
        fit_coordinates(p.zmatrix, p.frames[:5])
    with pytest.raises(ConfigError, match="rotors"):
        fit_coordinates(p.zmatrix, p.frames, rotors=((0, 1),))


@pytest.mark.parametrize("name", PEPTIDES)
def test_torsion_pairs_turn_about_bonds_that_share_an_atom(name, peptides, fitted):
    """Moving a pair changes the two torsions by as much, and no other torsion about another bond."""
    coordinates, frames = fitted[name], peptides[name].frames
    labels, pairs = coordinates.labels, coordinates.torsion_pairs
    named = {frozenset((labels[i], labels[j])) for i, j in pairs}
    soft = [i for i in range(coordinates.n_circular) if not labels[i].startswith("rotor")]
    for residue in {label.split()[1] for label in labels if label.startswith("phi")}:
        both = frozenset((f"phi {residue}", f"psi {residue}"))
        assert both in named or not both <= {labels[i] for i in soft}
    assert not any(labels[i].startswith("rotor") for pair in pairs for i in pair)
    left_out = [labels[i] for i in set(soft) - {int(i) for pair in pairs for i in pair}]
    assert all("PRO" in label for label in left_out)  # bonds of its ring
    assert not any(label.startswith(("phi", "psi")) for label in left_out)
    assert bool(left_out) == (name == "chignolin")
    for a, b in coordinates.torsion_links:
        assert not set(pairs[a]) & set(pairs[b])
    residues = lambda pair: {labels[i].split()[-1] for i in pair}
    if name != "dialanine":  # phi and psi of neighbouring residues
        linked = [residues(pairs[a]) | residues(pairs[b]) for a, b in coordinates.torsion_links]
        assert any(len(both) == 2 for both in linked)
    v, _ = jax.jit(coordinates.bijector.inverse)((), flat(frames[:5]))
    rows = pairs[0]
    moved = v.at[rows].add(0.3)
    x, _ = jax.jit(coordinates.bijector.forward)((), moved)
    quads = [
        quad for quads in backbone_torsions(peptides[name].topology).values() for quad in quads
    ]
    before, after = (torsions(f, quads) for f in (frames[:5], np.asarray(x).T.reshape(5, -1, 3)))
    turned = np.abs(np.angle(np.exp(1j * (after - before)))).max(0)
    titles = [label for label in (labels[i] for i in rows) if label[:3] in ("phi", "psi")]
    assert np.sum(turned > 0.25) == len(titles)
    assert np.sum(turned > 0.05) == len(titles)  # trans amides follow a little
