"""Every term on two devices: the loss and the gradient of one, also where samples cannot be shared equally."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.interfaces import CollectiveVariable
from jbg.losses import (
    NLL,
    AlphaDivergence,
    Jeffreys,
    LogDispersion,
    OwnSamples,
    ReactionCoordinate,
    ReverseKL,
)
from jbg.training import Bootstrap, Stage, stage_losses
from jbg.training.mesh import spread
from tests.losses.affine import AWAY, gaussian, generator
from tests.losses.uneven import PARAMS, near, uneven
from tests.training.toy import ONE, TWO

N = 201
TAUS = (0.5, 1.0, 2.0)  # a third of the samples each
ALONG = CollectiveVariable(name="x", bounds=(-2.0, 2.0), of=lambda x: x[0])
TERMS = {
    "likelihood": NLL(),
    "dispersion": NLL(dispersion=LogDispersion(2.0)),
    "reverse KL": ReverseKL(taus=TAUS),
    "path gradient": ReverseKL(path_gradient=True, along=ReactionCoordinate(2.0)),
    "Jeffreys": Jeffreys(taus=TAUS),
    "own samples": OwnSamples(),
    "own samples at temperatures": OwnSamples(taus=TAUS),
    "explored": OwnSamples(flatten=0.7, explore=0.1),
    "reaction coordinate": ReactionCoordinate(form="kernels"),
    "alpha": AlphaDivergence(),
}


@pytest.mark.parametrize("name", TERMS)
def test_two_devices_make_the_loss_of_one(name, key):
    term, columns, buffer = TERMS[name], (), None
    g, target, params = generator(), gaussian(), AWAY
    if name == "explored":  # a chain of two links
        g, target, params = uneven(), near(), PARAMS
    batch = g.sample(key, params, N).x
    if name == "dispersion":
        columns, batch = ("u",), jnp.concatenate([batch, target.reduced_energy(batch)[None]])
    if name == "alpha":
        buffer = Bootstrap(n=N, capacity=N, every=10)
        batch = jnp.concatenate([batch, g.log_prob(params, batch)[None] + 0.5])
    stage = Stage(name="a", steps=10, batch_size=N, losses=(term,), buffer=buffer)
    make_loss = stage_losses(g, target, collective_variable=ALONG, columns=columns)

    def found(mesh):
        loss = make_loss(stage, mesh)
        of = jax.value_and_grad(loss, has_aux=True)
        return jax.jit(lambda p, batch: of(p, spread(batch, mesh), key))(params, batch)

    for one, two in zip(*map(jax.tree.leaves, (found(ONE), found(TWO))), strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-5)
