"""The split flow: what moves in which coupling, its base, its depth, and the baseline of as many parameters."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm, vonmises

from jbg import flows
from jbg.flows.conditioners import Conditioner
from jbg.generator import Generator
from jbg.interfaces import ConfigError
from jbg.studies.codec import decode, encode


def make_tokens(backbone_circular, side_circular, backbone_linear, side_linear):
    n_circular = backbone_circular + side_circular
    dim = n_circular + backbone_linear + side_linear
    return flows.Tokens(
        place=np.arange(dim) // 2,
        residue=np.arange(dim) // 3,
        kind=np.arange(dim) % 4,
        n_circular=n_circular,
        n_backbone_circular=backbone_circular,
        n_backbone_linear=backbone_linear,
    )


TOKENS = make_tokens(3, 2, 5, 4)
BACKBONE = [0, 1, 2, 5, 6, 7, 8, 9]
SIDE = [3, 4, 10, 11, 12, 13]
MLP = flows.SplitFlowConfig(
    n_backbone_couplings=2, n_joint_couplings=2, conditioner=flows.MLP(hidden=(8,)), n_bins=3
)
ATTENTION = dataclasses.replace(
    MLP,
    conditioner=flows.GatedAttention(width=8, query_width=4, value_width=6, dropout=0.0),
)


def with_params(flow, scale=0.3):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(flow.init, jax.random.key(0))
    return jax.tree.map(lambda a: jnp.asarray(scale * rng.normal(size=a.shape), a.dtype), shapes)


def depends(flow, x):
    """Whether output i of ``inverse`` depends on input j."""
    jacobian = jax.jit(jax.jacrev(lambda x: flow.inverse(with_params(flow), x)[0]))(x)
    return np.abs(jacobian) > 0


@pytest.mark.slow
def test_data_pass_through_the_backbone_couplings_first():
    """Taken alone, they leave side chains where they are and unread; the joint ones move and read all."""
    x = jnp.linspace(-1.0, 1.1, 14)
    deep = dataclasses.replace(MLP, n_backbone_couplings=6, n_joint_couplings=6)
    flow = flows.split_flow(TOKENS, deep)
    joint, backbone = flow.links
    both = depends(backbone, x)
    assert both[np.ix_(BACKBONE, BACKBONE)].all()
    np.testing.assert_array_equal(both[SIDE], np.eye(14)[SIDE])
    assert not both[np.ix_(BACKBONE, SIDE)].any()
    assert depends(joint, x).all()
    params = with_params(flow)
    z = joint.inverse(params[0], backbone.inverse(params[1], x)[0])[0]
    np.testing.assert_allclose(flow.inverse(params, x)[0], z, atol=1e-5)


@pytest.mark.parametrize(
    ("counts", "n_twice"),
    [
        ((3, 2, 5, 4), 0),
        ((6, 3, 0, 11), 2),
        ((2, 0, 4, 0), 0),
        ((1, 0, 3, 0), 0),
        ((1, 0, 1, 0), 0),
    ],
)
def test_each_block_moves_every_variable_given_variables_that_stay(counts, n_twice):
    """Read off the couplings as they run."""
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Spy:
        def make(self, source, moved, n_params, order):
            rows = lambda half: jnp.concatenate([order[half.circular], order[half.linear]])

            def apply(params, h, *, key=None):
                del params, key
                jax.debug.callback(
                    lambda *a: seen.append([v.tolist() for v in a]),
                    rows(source),
                    rows(moved),
                    ordered=True,
                )
                return jnp.zeros((n_params, *h.shape[1:]))

            return Conditioner(init=lambda key: (), apply=apply)

    tokens = make_tokens(*counts)
    config = dataclasses.replace(MLP, n_backbone_couplings=0, n_joint_couplings=6)
    object.__setattr__(config, "conditioner", Spy())
    flow = flows.split_flow(tokens, config)
    jax.jit(flow.inverse)(flow.init(jax.random.key(0)), jnp.zeros(tokens.dim))
    jax.effects_barrier()
    assert len(seen) == 6
    splits = set()
    for (read, moved), (read_next, moved_next) in zip(seen[::2], seen[1::2], strict=True):
        assert len({*moved} & {*moved_next}) == n_twice
        for a, b in ((read, moved), (read_next, moved_next)):
            assert sorted([*a, *b]) == list(range(tokens.dim))
        assert {*moved, *moved_next} == set(range(tokens.dim))
        assert {*read, *read_next} >= set(range(tokens.dim)) - {*moved} & {*moved_next}
        splits.add(frozenset(read))
    if tokens.dim > 4:
        assert len(splits) > 1


@pytest.mark.parametrize(
    ("config", "counts"),
    [
        (MLP, (3, 2, 0, 0)),
        (MLP, (0, 0, 5, 4)),
        (MLP, (3, 0, 5, 0)),
        (MLP, (0, 1, 1, 0)),
        pytest.param(ATTENTION, (3, 2, 0, 0), marks=pytest.mark.slow),
        pytest.param(ATTENTION, (0, 0, 2, 2), marks=pytest.mark.slow),
        (ATTENTION, (1, 0, 0, 0)),
    ],
)
def test_systems_without_some_kind_of_variable(config, counts):
    tokens = make_tokens(*counts)
    flow = flows.split_flow(tokens, config)
    assert len(flow.links) == (2 if counts[0] + counts[2] else 1)
    params = with_params(flow)
    z = flows.split_base(tokens, config).sample(jax.random.key(1), 7)
    x, log_det = jax.jit(flow.forward)(params, z)
    back, inverse_log_det = jax.jit(flow.inverse)(params, x)
    np.testing.assert_allclose(back, z, atol=1e-4)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-4)
    assert np.abs(log_det).max() > 1e-3


def test_the_start_is_the_identity():
    flow = flows.split_flow(TOKENS, dataclasses.replace(ATTENTION, n_backbone_couplings=0))
    z = flows.split_base(TOKENS).sample(jax.random.key(0), 20)
    x, log_det = jax.jit(lambda key: flow.forward(flow.init(key), z))(jax.random.key(1))
    np.testing.assert_allclose(x, z, atol=1e-5)
    np.testing.assert_allclose(log_det, 0, atol=1e-5)


def test_densities_of_the_base():
    z = flows.split_base(TOKENS).sample(jax.random.key(0), 50)
    line = norm.logpdf(z[5:]).sum(0)
    flat = flows.split_base(TOKENS).log_prob(z)
    np.testing.assert_allclose(flat, line - 5 * np.log(2 * np.pi), rtol=1e-5)
    config = flows.SplitFlowConfig(circular_base="von-mises", concentration=2.5)
    humped = flows.split_base(TOKENS, config)
    expected = line + vonmises.logpdf(z[:5], 2.5).sum(0)
    np.testing.assert_allclose(humped.log_prob(z), expected, rtol=1e-5)
    # the mean of cos is I1/I0; its error 0.01
    cos = np.cos(humped.sample(jax.random.key(2), 2000)[:5]).mean()
    assert cos == pytest.approx(0.7651, abs=0.03)
    assert humped.n_circular == 5


def n_equations(n_couplings):
    config = dataclasses.replace(ATTENTION, n_backbone_couplings=0, n_joint_couplings=n_couplings)
    generator = Generator(
        base=flows.split_base(TOKENS, config), bijector=flows.split_flow(TOKENS, config)
    )
    params = jax.eval_shape(generator.init, jax.random.key(0))
    loss = lambda p, x: -generator.log_prob(p, x).mean()
    step = jax.make_jaxpr(jax.value_and_grad(loss))
    return str(step(params, jax.ShapeDtypeStruct((14, 4), "float32"))).count("\n")


@pytest.mark.slow
def test_the_program_does_not_grow_with_depth():
    assert n_equations(16) <= 1.02 * n_equations(4)


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [TOKENS, make_tokens(10, 4, 20, 10)])
def test_a_baseline_has_as_many_parameters_and_couplings(tokens):
    config = dataclasses.replace(
        ATTENTION,
        n_backbone_couplings=6,
        conditioner=flows.GatedAttention(width=24, query_width=8, value_width=16),
    )
    found = flows.baseline(tokens, config)
    assert (found.n_backbone_couplings, found.n_joint_couplings) == (0, 8)
    assert isinstance(found.conditioner, flows.MLP)
    aim = flows.count_parameters(flows.split_flow(tokens, config))
    flow = flows.split_flow(tokens, found)
    sizes = [leaf.size for leaf in jax.tree.leaves(jax.jit(flow.init)(jax.random.key(0)))]
    assert flows.count_parameters(flow) == sum(sizes)
    assert sum(sizes) == pytest.approx(aim, rel=0.1)
    tiny = flows.GatedAttention(width=1, query_width=2, value_width=1)
    with pytest.raises(ConfigError, match="2 layers of 1: compare with a larger flow"):
        flows.baseline(tokens, dataclasses.replace(config, conditioner=tiny))


def test_embeddings_are_those_of_the_variables_that_take_part():
    flow = flows.split_flow(TOKENS, ATTENTION)
    joint, backbone = jax.eval_shape(flow.init, jax.random.key(0))

    def places(params):
        leaves = {jax.tree_util.keystr(at): a.shape for at, a in jax.tree.leaves_with_path(params)}
        return {shape for at, shape in leaves.items() if "place_embedding" in at}

    assert places(joint) == {(1, 7, 8)}
    assert places(backbone) == {(1, 5, 8)}


@pytest.mark.parametrize("config", [MLP, ATTENTION, flows.SplitFlowConfig()])
def test_settings_are_plain_values(config):
    assert decode(flows.SplitFlowConfig, encode(config), "a.json") == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_backbone_couplings": 3}, "n_backbone_couplings must be even and 0 or more, got 3"),
        ({"n_joint_couplings": -2}, "n_joint_couplings must be even"),
        ({"n_backbone_couplings": 0, "n_joint_couplings": 0}, "expected couplings"),
        ({"n_bins": 0}, "n_bins must be 1 or more, got 0"),
        ({"unroll": 0}, "unroll must be 1 or more, got 0"),
        ({"bound": 0.0}, "bound must be positive, got 0.0"),
        ({"concentration": float("nan")}, "concentration must be positive"),
        ({"floor": 0.5}, r"floor must lie in \(0, 1/n_bins\), got 0.5"),
        ({"circular_base": "normal"}, "circular_base must be uniform or von-mises, got 'normal'"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(MLP, **change)


def test_events_that_no_coupling_moves_are_refused():
    with pytest.raises(ConfigError, match="expected variables that a coupling moves, got 0"):
        flows.split_flow(make_tokens(0, 0, 0, 0), MLP)
    without = dataclasses.replace(MLP, n_joint_couplings=0)
    with pytest.raises(ConfigError, match="6 variables, 0 of the backbone, and 0 joint couplings"):
        flows.split_flow(make_tokens(0, 2, 0, 4), without)
    with pytest.raises(ConfigError, match="split_base: tokens.n_circular"):
        flows.split_base(TOKENS._replace(n_circular=20))
