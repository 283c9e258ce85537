"""The losses of a stage: temperatures act on the energy alone, not on the coordinates' log-determinant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import Bijector, Target
from jbg.studies.problem import Examples, Problem
from jbg.training import Stage, Transport, device_mesh, stage_losses

# x = exp(v) with u = (ln x)^2 / 2: at temperature tau the density of v is exp(-v^2/(2 tau) + v), a normal of
# mean tau and variance tau; dividing the log-determinant v by tau as well would give mean 1.
EXPONENTIAL = Bijector(
    dim_in=1,
    dim_out=1,
    init=lambda key: (),
    forward=lambda params, v: (jnp.exp(v), v[0]),
    inverse=lambda params, x: (jnp.log(x), -jnp.log(x[0])),
)
LOGNORMAL = Target(dim=1, reduced_energy=lambda x: 0.5 * jnp.log(x[0]) ** 2)
SHIFT = Bijector(
    dim_in=1,
    dim_out=1,
    init=lambda key: jnp.zeros(()),
    forward=lambda params, z: (z + params, jnp.zeros(z.shape[1:], z.dtype)),
    inverse=lambda params, v: (v - params, jnp.zeros(v.shape[1:], v.dtype)),
)


@pytest.mark.parametrize("path_gradient", [False, True])
@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_kl_is_stationary_at_the_mean_of_its_temperature(tau, path_gradient, key):
    generator = Generator(base=flows.normal(1), bijector=SHIFT)
    stage = Stage(
        name="kl", steps=10, batch_size=20_000, w_kl=1.0, taus=(tau,), path_gradient=path_gradient
    )
    loss = stage_losses(generator, LOGNORMAL, EXPONENTIAL)(stage, 1)
    slope = jax.grad(lambda shift: loss(shift, None, key)[0])
    # d/dshift E[(z + shift)^2 / (2 tau) - (z + shift)] = shift/tau - 1, standard error 1/sqrt(tau 20 000) < 0.008
    assert abs(slope(jnp.float32(tau))) < 0.03
    assert slope(jnp.float32(tau - 0.5)) < -0.1
    assert slope(jnp.float32(tau + 0.5)) > 0.1


@pytest.mark.parametrize("active", [{"w_kl": 1.0}, {"w_forward_kl": 1.0}], ids=["kl", "own"])
def test_a_heated_target_has_its_own_mean_and_the_base_stays(active, key):
    """Density of v at heat h: a normal of mean h and variance h."""
    generator = Generator(base=flows.normal(1), bijector=SHIFT)
    stage = Stage(name="hot", steps=10, batch_size=20_000, heat=1.5, **active)
    loss = stage_losses(generator, LOGNORMAL, EXPONENTIAL)(stage, 1)
    slope = jax.jit(
        jax.shard_map(
            jax.grad(lambda shift: loss(shift, None, key)[0]),
            mesh=device_mesh(jax.devices()[:1]),
            in_specs=P(),
            out_specs=P(),
            check_vma=False,
        )
    )
    assert abs(slope(jnp.float32(1.5))) < 0.04
    assert slope(jnp.float32(1.0)) < -0.1
    assert slope(jnp.float32(2.0)) > 0.1


def test_a_refill_aims_at_the_heated_target_in_the_flow_s_coordinates(key):
    empty = np.zeros((0, 1), np.float32)
    problem = Problem(
        system=None,
        target=LOGNORMAL,
        flow=Generator(base=flows.normal(1), bijector=SHIFT),
        coords=EXPONENTIAL,
        examples=Examples(train=empty, heldout=empty),
        u_reference=0.0,
        batch=1,
    )
    buffer = Transport(n=40_000, every=10, max_kl=10.0, max_entropy_drop=10.0)
    stage = Stage(name="hot", steps=10, heat=1.5, w_nll=1.0, buffer=buffer)
    refill = problem.make_refill(stage, device_mesh(jax.devices()[:1]))
    _, rows, _ = refill.run(jnp.float32(1.5), (), key)
    assert float(rows.mean()) == pytest.approx(1.5, abs=0.1)
    assert float(rows.var()) == pytest.approx(1.5, abs=0.15)


@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_path_gradients_are_zero_at_the_mean_of_their_temperature_for_every_sample(tau, key):
    generator = Generator(base=flows.normal(1), bijector=SHIFT)
    shared = {"name": "kl", "steps": 10, "batch_size": 2 * 4, "taus": (tau,)}

    def slope(at, **changes):
        make_loss = stage_losses(generator, LOGNORMAL, EXPONENTIAL)
        loss = make_loss(Stage(**shared, **changes), 1)
        on_one = jax.shard_map(
            jax.grad(lambda shift: loss(shift, None, key)[0]),
            mesh=device_mesh(jax.devices()[:1]),
            in_specs=P(),
            out_specs=P(),
            check_vma=False,
        )
        return float(jax.jit(on_one)(jnp.float32(at)))

    for active in ({"w_kl": 1.0, "path_gradient": True}, {"w_jeffreys": 1.0}):
        assert abs(slope(tau, **active)) < 1e-5  # rounding in eight samples
        assert slope(tau - 0.5, **active) < -0.1
        assert slope(tau + 0.5, **active) > 0.1
    assert (
        abs(slope(tau, w_kl=1.0)) > 1e-3
    )  # the ordinary estimator has the spread of eight samples
