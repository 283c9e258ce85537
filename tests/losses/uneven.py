"""A chain of two links in closed form: an angle of uneven density, and a number that depends on it."""

import jax
import jax.numpy as jnp

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import Bijector, Target

# y = z + a sin z;  x = exp(b cos y) z + c sin y
PARAMS = ({"a": jnp.float32(0.7)}, {"b": jnp.float32(0.4), "c": jnp.float32(0.8)})


def _angle() -> Bijector:
    def forward(params, z):
        a = params["a"]
        return z.at[0].set(z[0] + a * jnp.sin(z[0])), jnp.log1p(a * jnp.cos(z[0]))

    def inverse(params, x):
        a, y = params["a"], x[0]
        newton = lambda z, a: z - (z + a * jnp.sin(z) - y) / (1 + a * jnp.cos(z))
        fixed = jax.lax.stop_gradient(a)
        z = jax.lax.fori_loop(0, 30, lambda _, z: newton(z, fixed), y)
        z = newton(jax.lax.stop_gradient(z), a)  # one step more, for the gradient
        return x.at[0].set(z), -jnp.log1p(a * jnp.cos(z))

    return Bijector(
        dim_in=2, dim_out=2, init=lambda key: PARAMS[0], forward=forward, inverse=inverse
    )


def _number() -> Bijector:
    def forward(params, y):
        log_scale = params["b"] * jnp.cos(y[0])
        return y.at[1].set(jnp.exp(log_scale) * y[1] + params["c"] * jnp.sin(y[0])), log_scale

    def inverse(params, x):
        log_scale = params["b"] * jnp.cos(x[0])
        return x.at[1].set(jnp.exp(-log_scale) * (x[1] - params["c"] * jnp.sin(x[0]))), -log_scale

    return Bijector(
        dim_in=2, dim_out=2, init=lambda key: PARAMS[1], forward=forward, inverse=inverse
    )


def uneven() -> Generator:
    """To be used with ``PARAMS``."""
    base = flows.product(flows.uniform(1), flows.normal(1))
    return Generator(base=base, bijector=flows.chain(_angle(), _number()))


def near() -> Target:
    """A target with a bend of its own, where importance weights stay small."""
    g = uneven()
    u = lambda x: jnp.cos(x[0] - 1) + 0.3 * jnp.tanh(x[1]) - g.log_prob(PARAMS, x)
    return Target(dim=2, reduced_energy=u)
