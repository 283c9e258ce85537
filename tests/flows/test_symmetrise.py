"""Densities averaged over a group: normalised, invariant, sampled as they say, trained with every loss."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jbg import flows, losses, reweighting
from jbg.flows.symmetrise import apply_all, check_group
from jbg.generator import Generator
from jbg.interfaces import ConfigError, SignedPermutations, Target
from tests.losses.affine import generator

MIRRORS = SignedPermutations(
    np.tile([0, 1], (4, 1)), np.array([[1, 1], [-1, 1], [1, -1], [-1, -1]], float)
)
SQUARE = SignedPermutations(  # all eight of a square
    np.array([order for order in ([0, 1], [1, 0]) for _ in range(4)]),
    np.array(list(itertools.product((1.0, -1.0), repeat=2)) * 2),
)
TRIVIAL = SignedPermutations(np.array([[0, 1]]), np.ones((1, 2)))
PARAMS = {"a": np.array([-0.4, -0.2]), "b": np.array([1.1, -0.6])}
MEAN, WIDTH = np.array([1.1, -0.6]), np.exp([-0.4, -0.2])
GROUPS = pytest.mark.parametrize("group", [TRIVIAL, MIRRORS, SQUARE], ids=["one", "four", "eight"])


def plain_density(x, group, tau=1.0):
    """Mean over the group of a product of two normals, term by term."""
    total = 0.0
    for index, sign in zip(*group, strict=True):
        image = [sign[i] * x[index[i]] for i in range(2)]
        total = total + np.prod(
            [stats.norm.pdf(image[i], MEAN[i], np.sqrt(tau) * WIDTH[i]) for i in range(2)], axis=0
        )
    return total / len(group.index)


@GROUPS
def test_density_is_the_mean_over_the_group_invariant_and_normalised(group, x64):
    tau = 2.0
    q = flows.symmetrised(generator(), group)
    edges = np.linspace(-12, 12, 241)
    x = np.stack(np.meshgrid(edges, edges, indexing="ij"))
    log_prob = jax.jit(q.log_prob)
    found = np.exp(log_prob(PARAMS, x, tau))
    np.testing.assert_allclose(found, plain_density(x, group, tau), atol=1e-12)
    assert found.sum() * 0.1**2 == pytest.approx(1, abs=1e-8)
    images = apply_all(group, jnp.asarray(x))
    again = np.exp(log_prob(PARAMS, images, tau))
    np.testing.assert_allclose(again, np.broadcast_to(found, again.shape), rtol=1e-10, atol=1e-300)


def test_the_identity_alone_leaves_a_generator_as_it_is():
    plain = generator()
    assert flows.symmetrised(plain, TRIVIAL) is plain


def test_samples_carry_their_density_and_follow_it(x64, key):
    n, group = 40_000, SQUARE
    q = flows.symmetrised(generator(), group)
    drawn = jax.jit(q.sample, static_argnums=2)(key, PARAMS, n)
    np.testing.assert_allclose(drawn.log_prob, jax.jit(q.log_prob)(PARAMS, drawn.x), atol=1e-10)
    np.testing.assert_allclose(np.exp(drawn.log_prob), plain_density(drawn.x, group), rtol=1e-9)
    # chi-square of a histogram against the density integrated over its bins
    edges = np.linspace(-4, 4, 9)
    counts = np.histogram2d(*np.asarray(drawn.x), bins=[edges, edges])[0].ravel()
    fine = np.linspace(-4, 4, 321)[:-1] + 0.0125
    density = plain_density(np.stack(np.meshgrid(fine, fine, indexing="ij")), group)
    expected = n * density.reshape(8, 40, 8, 40).sum((1, 3)).ravel() * 0.025**2
    full = expected > 10
    chi = np.sum((counts - expected)[full] ** 2 / expected[full])
    assert stats.chi2.sf(chi, full.sum()) > 1e-4
    # mirror images hold as many: the difference of two counts has the variance of their sum
    mirrored = counts.reshape(8, 8)[::-1].ravel()
    assert np.all(np.abs(counts - mirrored) < 5 * np.sqrt(counts + mirrored + 1))


def test_samples_at_one_temperature_each(x64, key):
    q = flows.symmetrised(generator(), MIRRORS)
    tau = jnp.array([0.5, 1.0, 2.0])
    drawn = jax.jit(q.sample, static_argnums=2)(key, PARAMS, 3, tau)
    for i in range(3):
        expected = np.log(plain_density(drawn.x[:, i], MIRRORS, float(tau[i])))
        np.testing.assert_allclose(drawn.log_prob[i], expected, rtol=1e-10)
    np.testing.assert_allclose(
        jax.jit(q.log_prob)(PARAMS, drawn.x, tau), drawn.log_prob, rtol=1e-10
    )


def test_augmented_data_are_images_each_element_as_often(key):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8000)))
    moved = jax.jit(lambda key, x: flows.augment(key, x, SQUARE))(key, x)
    images = np.asarray(apply_all(SQUARE, x))
    is_image = (images == np.asarray(moved)[:, None]).all(0)
    assert np.all(is_image.sum(0) == 1)
    # binomial with p = 1/8: five standard deviations
    assert np.abs(is_image.sum(1) - 1000).max() < 5 * np.sqrt(8000 * (1 / 8) * (7 / 8))


def chained_generator() -> Generator:
    turn = flows.permute(np.array([0, 1]))
    return Generator(base=flows.normal(2), bijector=flows.chain(generator().bijector, turn))


def four_wells() -> Target:
    """u of four equal Gaussian wells at (+-1.1, +-0.6), ln Z = 0."""

    def reduced_energy(x):
        return -flows.symmetrised(generator(), MIRRORS).log_prob(PARAMS, x)

    return Target(dim=2, reduced_energy=reduced_energy)


def test_own_samples_of_the_right_density_have_equal_weights(x64, key):
    """The target is q_sym at PARAMS. Flattening would draw link by link, with another density: it is left out."""
    target, chained = four_wells(), chained_generator()
    q, settings = flows.symmetrised(chained, MIRRORS), losses.OwnSamples(flatten=0.5)
    loss = losses.make_own_samples_loss(q, target, settings, n_samples=500)
    aux = jax.jit(loss)((PARAMS, ()), None, key)[1]
    assert aux["ess"] == pytest.approx(1.0, abs=1e-9)
    assert aux["log_variance"] == pytest.approx(0.0, abs=1e-12)
    log_w = -jax.jit(target.reduced_energy)(x := chained.sample(key, (PARAMS, ()), 500).x)
    log_w = log_w - chained.log_prob((PARAMS, ()), x)
    assert reweighting.ess_fraction(log_w) < 0.9


def test_training_by_example_stands_still_at_the_right_density(x64, key):
    q = flows.symmetrised(generator(), MIRRORS)
    x = jax.jit(q.sample, static_argnums=2)(key, PARAMS, 20_000).x
    nll = losses.make_nll_loss(q)
    step = jax.jit(jax.value_and_grad(lambda params: nll(params, x, key)[0]))
    value, slope = step(PARAMS)
    # the score has variance of order one, hence means of 0.007
    assert all(np.abs(leaf).max() < 0.05 for leaf in jax.tree.leaves(slope))
    away = step(jax.tree.map(lambda leaf: leaf + 0.4, PARAMS))[1]
    assert any(np.abs(leaf).max() > 0.2 for leaf in jax.tree.leaves(away))
    assert value < losses.make_nll_loss(generator())(PARAMS, x, key)[0] - 0.5


def test_reverse_kl_is_that_of_the_generator_inside(x64, key):
    """J_KL - H(base) = KL(q | p) where ln Z = 0: above KL(q_sym | p) = 0, at most ln 4 above."""
    q = flows.symmetrised(generator(), MIRRORS)
    loss = losses.make_kl_loss(q, four_wells(), n_samples=20_000)
    gap = jax.jit(loss)(PARAMS, None, key)[0] - (np.log(2 * np.pi) + 1)
    assert 0.1 < gap < np.log(4)


@pytest.mark.parametrize(
    ("index", "sign", "what"),
    [
        ([[0, 1], [1, 0]], [[1, 1], [-1, 1]], "not closed under composition"),
        ([[0, 1], [0, 1]], [[-1, 1], [1, 1]], "first element must be the identity"),
        ([[0, 1], [0, 0]], [[1, 1], [1, 1]], "every row must be a permutation"),
        ([[0, 1], [0, 1]], [[1, 1], [2, 1]], "signs 1 or -1"),
        ([[0, 1], [0, 1]], [[1, 1], [1, 1]], "comes twice"),
        ([[0, 1]], [[1, 1], [1, 1]], r"both be \(n_elements, dim\)"),
    ],
)
def test_what_is_no_group_is_refused(index, sign, what):
    with pytest.raises(ConfigError, match=what):
        check_group(SignedPermutations(np.array(index), np.array(sign)))


def test_a_group_of_another_dimension_is_refused():
    group = SignedPermutations(np.arange(3)[None], np.ones((1, 3)))
    with pytest.raises(ConfigError, match="acts on 3 coordinates, the generator makes 2"):
        flows.symmetrised(generator(), group)
