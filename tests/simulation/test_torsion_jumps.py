"""Jumps of side-chain torsions in reduced coordinates: what moves, what stays, the law they leave alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.coords import fit_reduced, ring_flips
from jbg.coords.reduced_set import KINDS
from jbg.coords.whitening import fourier_features, whitening
from jbg.interfaces import Target
from jbg.simulation.hmc_ladder import HmcLadder, initial_ladders, make_block
from jbg.simulation.torsion_jumps import JUMPING, PAIRS, torsion_jumps
from tests.coords.conftest import load


@functools.cache
def chignolin():
    """The fit, with strong regressions on the circular variables, so that w follows when a torsion jumps."""
    sample = load("chignolin")
    flips = ring_flips(sample.topology, sample.zmatrix)
    fit = fit_reduced(
        sample.topology, sample.zmatrix, sample.frames, rotors=sample.rotors, flips=flips
    )
    features = len(fourier_features(jnp.zeros(fit.n_circular), 1))
    rng = np.random.default_rng(0)
    coefficients = np.diag(fit.factor)[:, None] * rng.normal(size=(fit.n_linear, features))
    return fit._replace(orders=np.array(1), coefficients=coefficients)


def of_kinds(fit, *kinds):
    return np.flatnonzero([KINDS[k] in kinds for k in fit.kind])


def only(fit, row):
    """The same fit with one torsion that jumps, alone."""
    kind = np.where(
        np.arange(len(fit.kind)) == row, KINDS.index("side-chain torsion"), KINDS.index("phi")
    )
    return fit._replace(kind=kind)


def test_torsions_of_one_side_chain_jump_anywhere_and_all_else_stays(key):
    fit, n = chignolin(), 4000
    jump, values_of = jax.jit(torsion_jumps(fit)), jax.jit(whitening(fit.whitening).forward)
    v = 0.5 * jax.random.normal(key, (len(fit.kept), n))
    after = jump(jax.random.key(1), v)
    change = np.asarray(values_of((), after)[0] - values_of((), v)[0])
    moved = np.abs(change) > 1e-4
    names = np.array(load("chignolin").topology.atom_names)[fit.order[fit.kept - 2 * 138 + 6]]
    rows = of_kinds(fit, "side-chain torsion", "hydrogen rotor")
    alike = np.isin(names[rows], ["HG21", "H"])  # of two CH3 and of NH3+
    assert alike.sum() == 3
    rows = rows[~alike]
    assert set(np.flatnonzero(moved.any(1))) == set(rows)
    # one or two, of one residue
    assert set(moved.sum(0)) == {1, 2}
    residues = np.where(moved, np.asarray(fit.residue)[:, None], -1)
    assert np.all((residues == residues.max(0)) | ~moved)
    often = np.array([JUMPING[KINDS[k]] for k in fit.kind[rows]], float)
    mates = (np.asarray(fit.residue)[rows][:, None] == np.asarray(fit.residue)[rows]).sum(1) - 1
    pairs = PAIRS * mates.sum() / 2
    expected = n * (often + PAIRS * mates) / (often.sum() + pairs)
    assert len(rows) == 14
    assert mates.max() > 0
    assert np.all(np.abs(moved.sum(1)[rows] - expected) < 5 * np.sqrt(expected))
    values = np.asarray(values_of((), after)[0])[moved]
    # half of them by 120 degrees and a little, the others evenly: 2/3 of these are as far
    turn, n = np.angle(np.exp(1j * change[moved])), moved.sum()
    assert abs(np.sign(turn).mean()) < 5 / np.sqrt(n)
    assert abs(np.mean(np.abs(turn) > np.pi / 3) - (0.5 * 0.9987 + 1 / 3)) < 5 * 0.4 / np.sqrt(n)
    assert abs(np.mean(np.abs(turn) < np.pi / 3) - (0.5 * 0.0013 + 1 / 6)) < 5 * 0.4 / np.sqrt(n)
    assert np.abs(values).max() <= np.pi + 1e-5
    # a jump of a circular torsion moves whitened variables that follow it
    assert np.abs(after - v)[fit.n_circular :].max() > 0.1


def test_batches_of_two_axes_jump_one_by_one(key):
    fit = chignolin()
    v = jax.random.normal(key, (len(fit.kept), 3, 4))
    after = jax.jit(torsion_jumps(fit))(key, v)
    assert after.shape == (73, 3, 4)
    assert (np.abs(after - v).max(0) > 1e-3).all()


def test_nothing_jumps_where_there_is_no_side_chain():
    fit = chignolin()
    assert torsion_jumps(fit._replace(kind=np.full(73, KINDS.index("phi")))) is None


@pytest.mark.parametrize("place", ["circle", "line"])
def test_jumps_leave_the_law_of_the_torsion_given_all_else(place):
    """Chains that only jump, from one configuration, against quadrature over the one torsion."""
    fit = chignolin()
    rows = of_kinds(fit, *JUMPING)
    row = rows[0] if place == "circle" else rows[-1]
    assert (row < fit.n_circular) == (place == "circle")
    white = whitening(fit.whitening)

    def energy(v):
        """Whitened variables and angles alike."""
        angle = white.forward((), v)[0][row]
        return 0.02 * (v[fit.n_circular :] ** 2).sum(0) + jnp.cos(angle - 1)

    settings = HmcLadder(
        taus=(1.0,), n_ladders=200, n_rounds=150, n_burn_in=0, block=150, n_leapfrog=1, n_jumps=3, step=1e-7
    )  # fmt: skip
    target = Target(dim=len(fit.kept), reduced_energy=energy)
    start = 0.3 * np.random.default_rng(1).normal(size=(1, len(fit.kept)))
    state, frames = make_block(target, settings, torsion_jumps(only(fit, row)))(
        initial_ladders(target, settings, start), jax.random.key(2)
    )
    angles = np.linspace(-np.pi, np.pi, 300, endpoint=False)
    values = np.repeat(np.asarray(white.forward((), jnp.asarray(start.T, jnp.float32))[0]), 300, 1)
    values[row] = angles
    weights = np.exp(-np.asarray(energy(white.inverse((), jnp.asarray(values))[0]), np.float64))
    waves = lambda a: np.stack([np.cos(a), np.sin(a), np.cos(2 * a), np.sin(2 * a)])
    v = np.moveaxis(np.asarray(frames.v), 1, 0)
    found = waves(np.asarray(white.forward((), jnp.asarray(v))[0])[row, 5:]).mean(1)
    error = found.std(1, ddof=1) / np.sqrt(found.shape[1])
    expected = waves(angles) @ weights / weights.sum()
    assert np.abs((found.mean(1) - expected) / error).max() < 4.5
    assert np.abs(expected / error).max() > 10  # far from an even law
    assert 0.2 < float(state.jumped[0]) / settings.n_rounds < 1
