"""Conditioners of somebody's own: what they are told, and that it is enough to train with."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import flows
from jbg.flows.conditioners import Conditioner
from jbg.flows.coupling import coupling
from jbg.flows.halves import Half, linear_halves
from jbg.flows.transformers import affine
from jbg.generator import Generator
from jbg.losses import NLL
from jbg.training import Stage, device_mesh, run_stages, stage_losses

DIM = 5


@dataclasses.dataclass(frozen=True)
class Table:
    """One row of numbers for each variable: a linear map between named variables, the same in every block."""

    told: list = dataclasses.field(default_factory=list)

    def make(self, source: Half, moved: Half, n_params: int, order) -> Conditioner:
        n = n_params // (moved.n_circular + moved.n_linear)
        rows = order[source.linear], order[moved.linear]
        self.told.append(rows)

        def init(key):
            del key
            return {"table": jnp.zeros((n, DIM, DIM)), "shift": jnp.zeros((n, DIM))}

        def apply(params, h, *, key=None):
            del key
            table = params["table"][:, rows[1]][:, :, rows[0]]
            out = jnp.tensordot(table, h, 1)
            shift = params["shift"][:, rows[1]].reshape((n, -1) + (1,) * (h.ndim - 1))
            return (out + shift).reshape((n_params, *h.shape[1:]))

        return Conditioner(init=init, apply=apply)


def correlated(n: int) -> np.ndarray:
    """``(n, DIM)``: every variable follows the one before it."""
    z = np.random.default_rng(0).normal(size=(n, DIM))
    for i in range(1, DIM):
        z[:, i] = 0.9 * z[:, i - 1] + 0.4 * z[:, i]
    return z.astype(np.float32)


def trained(conditioner, **settings):
    config = flows.SplineFlowConfig(n_blocks=3, n_bins=4, conditioner=conditioner)
    generator = Generator(base=flows.normal(DIM), bijector=flows.spline_flow(0, DIM, config))
    stage = Stage(
        name="a", steps=400, batch_size=128, learning_rate=0.02, losses=(NLL(),), log_every=400
    )
    start = generator.init(jax.random.key(0))
    params = run_stages(
        (dataclasses.replace(stage, **settings),),
        make_loss=stage_losses(generator, None),
        params=start,
        data=jnp.asarray(correlated(2000)),
        key=jax.random.key(1),
    )
    nll = lambda p: -float(jnp.mean(generator.log_prob(p, jnp.asarray(correlated(500).T))))
    return generator, params, nll(start) - nll(params)


def test_a_conditioner_is_told_which_variables_it_sees_and_moves():
    order = jnp.array([3, 0, 4, 2, 1])
    first, second = linear_halves(0, DIM)
    table = Table()
    settings = {"dim": DIM, "conditioner": table, "circular": None, "linear": affine()}
    layer = coupling(first, second, order=order, **settings)
    ((seen, moved),) = table.told
    np.testing.assert_array_equal(seen, [3, 0, 4])
    np.testing.assert_array_equal(moved, [2, 1])
    # t of variable 1 depends on variable 4 alone; variable 1 is in row 4, variable 4 in row 2
    params = layer.init(jax.random.key(0))
    params["table"] = params["table"].at[1, 1, 4].set(2.0)
    x = jnp.arange(1.0, 6.0)
    y, _ = layer.inverse(params, x)
    np.testing.assert_allclose(y, x.at[4].add(2.0 * x[2]))


def test_variables_keep_their_names_in_every_block():
    """Read off the blocks as they run: each block sees and moves all variables, in halves of its own."""
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Spy(Table):
        def make(self, source, moved, n_params, order):
            made = super().make(source, moved, n_params, order)

            def apply(params, h, *, key=None):
                jax.debug.callback(lambda *a: seen.append(a), h, order[source.linear], ordered=True)
                return made.apply(params, h)

            return dataclasses.replace(made, apply=apply)

    config = flows.SplineFlowConfig(n_blocks=3, n_bins=4, conditioner=Spy(), seed=3)
    flow = flows.spline_flow(0, DIM, config)
    x = jnp.linspace(
        -1.0, 1.0, DIM
    )  # the identity at the start: the value says which variable it is
    flow.forward(flow.init(jax.random.key(0)), x)
    jax.effects_barrier()
    assert len(seen) == 6
    for values, variables in seen:
        np.testing.assert_allclose(values, x[variables], atol=1e-5)
    assert len({tuple(np.sort(variables)) for _, variables in seen}) > 2


def test_it_trains():
    _, params, gained = trained(Table())
    assert gained > 0.5
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


@dataclasses.dataclass(frozen=True)
class Dropout:
    """A perceptron that leaves out half of its features at random, where it has a key."""

    rate: float = 0.5

    def make(self, source: Half, moved: Half, n_params: int, order) -> Conditioner:
        net = flows.MLP(hidden=(16,)).make(source, moved, n_params, order)

        def apply(params, h, *, key=None):
            if key is not None:
                kept = jax.random.bernoulli(key, 1 - self.rate, h.shape[:1])
                h = h * (kept / (1 - self.rate)).reshape((-1,) + (1,) * (h.ndim - 1))
            return net.apply(params, h)

        return Conditioner(init=net.init, apply=apply, random=True)


@pytest.fixture(scope="module")
def with_dropout():
    return trained(Dropout())


def test_one_with_a_key_trains_and_is_still_without_one(with_dropout):
    generator, params, gained = with_dropout
    assert gained > 0.3
    x = jnp.asarray(correlated(20).T)
    np.testing.assert_array_equal(generator.log_prob(params, x), generator.log_prob(params, x))


def test_a_key_reaches_every_layer_and_gives_one_invertible_map(with_dropout):
    generator, params, _ = with_dropout
    x = jnp.asarray(correlated(20).T)
    log_prob = jax.jit(lambda key: generator.keyed(key).log_prob(params, x))
    one, again, other = (log_prob(jax.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1
    assert np.abs(one - generator.log_prob(params, x)).max() > 0.1
    keyed = generator.keyed(jax.random.key(0)).bijector
    y, log_det = jax.jit(keyed.inverse)(params, x)
    back, forward = jax.jit(keyed.forward)(params, y)
    np.testing.assert_allclose(back, x, atol=1e-4)
    np.testing.assert_allclose(forward, -log_det, atol=1e-3)
    still = Generator(base=flows.normal(2), bijector=flows.spline_flow(0, 2))
    assert still.keyed(jax.random.key(0)) is still


def test_layers_draw_with_keys_of_their_own():
    keys = []

    @dataclasses.dataclass(frozen=True)
    class Spy(Dropout):
        def make(self, source, moved, n_params, order):
            made = super().make(source, moved, n_params, order)

            def apply(params, h, *, key=None):
                if key is not None:
                    jax.debug.callback(keys.append, jax.random.key_data(key))
                return made.apply(params, h)

            return dataclasses.replace(made, apply=apply)

    config = flows.SplineFlowConfig(n_blocks=2, n_circular_blocks=2, n_bins=4, conditioner=Spy())
    flow = flows.spline_flow(2, 2, config)
    params = flow.init(jax.random.key(0))
    found = {}
    for direction in ("forward", "inverse"):
        keys.clear()
        getattr(flow.keyed(jax.random.key(1)), direction)(params, jnp.zeros(4))
        jax.effects_barrier()
        found[direction] = {tuple(np.asarray(key)) for key in keys}
    assert len(found["forward"]) == 2 * (2 + 2)
    assert found["forward"] == found["inverse"]


def test_dropout_in_training_gives_each_step_a_key_of_its_own():
    config = flows.SplineFlowConfig(n_blocks=1, n_bins=4, conditioner=Dropout())
    generator = Generator(base=flows.normal(DIM), bijector=flows.spline_flow(0, DIM, config))
    params = generator.init(jax.random.key(0))
    params = jax.tree.map(lambda p: p + 0.3 * jnp.cos(jnp.arange(p.size).reshape(p.shape)), params)
    loss = stage_losses(generator, None)(
        Stage(name="a", steps=10, losses=(NLL(),)), device_mesh(jax.devices()[:1])
    )
    value = jax.jit(functools.partial(loss, params, jnp.asarray(correlated(50).T)))
    first, again, second = (float(value(jax.random.key(k))[0]) for k in (0, 0, 1))
    assert first == again
    assert abs(first - second) > 1e-3
