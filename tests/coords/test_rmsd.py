"""The compiled RMSD against that of the analysis, by singular value decomposition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jbg.analysis import superposed
from jbg.coords.rmsd import make_rmsd


def structures(spread, n=40, atoms=20):
    """A structure, and copies that are distorted, turned and moved."""
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(atoms, 3))
    frames = reference + spread * rng.normal(size=(n, atoms, 3))
    turns = Rotation.random(n, random_state=1).as_matrix()
    return reference, np.einsum("nij,naj->nai", turns, frames) + rng.normal(size=(n, 1, 3))


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.3, 3.0])
def test_it_is_the_deviation_after_superposition(spread):
    reference, frames = structures(spread)
    atoms = np.arange(3, 17)
    fixed = reference[atoms] - reference[atoms].mean(0)
    off = superposed(frames[:, atoms], fixed) - fixed
    expected = np.sqrt(np.mean(np.sum(off**2, -1), -1))
    with jax.enable_x64():
        found = make_rmsd(reference, atoms)(jnp.asarray(frames.reshape(len(frames), -1).T))
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_mirror_image_is_another_structure():
    reference, _ = structures(0.0)
    mirrored = jnp.asarray((reference * [1, 1, -1]).ravel())
    assert make_rmsd(reference, np.arange(20))(mirrored) > 0.5


def test_batches_of_any_shape():
    reference, frames = structures(0.2, n=12)
    rmsd = make_rmsd(reference, np.arange(20))
    flat = jnp.asarray(frames.reshape(12, -1).T, jnp.float32)
    found = rmsd(flat)
    np.testing.assert_allclose(rmsd(flat.reshape(-1, 3, 4)), found.reshape(3, 4), rtol=1e-4)
    np.testing.assert_allclose(rmsd(flat[:, 5]), found[5], rtol=1e-4)
