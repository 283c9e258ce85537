"""The losses that a stage asks for, for one generator and one training target."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from jbg.flows import at_temperature, chain
from jbg.generator import Generator, pull_back
from jbg.interfaces import Bijector, CollectiveVariable, Loss, Target
from jbg.losses import (
    make_bootstrap_loss,
    make_jeffreys_loss,
    make_kl_loss,
    make_log_dispersion_loss,
    make_nll_loss,
    make_own_samples_loss,
    mean_over,
    weighted_sum,
)
from jbg.training.buffer import Bootstrap
from jbg.training.stage import Stage
from jbg.training.step import AXIS


def stage_losses(
    generator: Generator,
    cold: Target,
    coords: Bijector | None = None,
    collective_variable: CollectiveVariable | None = None,
    *,
    columns: tuple[str, ...] = (),
) -> Callable[[Stage, int], Loss]:
    """A ``make_loss`` for `run_stages`: (stage, number of devices) -> loss of one device's share.

    Args:
        generator: of what is trained, v, which the data are given in.
        cold: density of x to train on, before a stage heats it: soften the energy first (`targets.soften`), report
            on the true one.
        coords: v -> x, without parameters; None when they are the same.
        collective_variable: of x, for stages with ``w_rc``.
        columns: of the data after the coordinates: "tau", "u" (`losses.columns`).

    The reverse KL takes the whole map z -> x, so that at temperature tau the energy alone is divided by tau
    and not the coordinates' log-determinant with it. Own samples are shared out among the temperatures as those
    of the reverse KL are.
    """
    whole = generator
    if coords is not None:
        whole = Generator(base=generator.base, bijector=chain(generator.bijector, coords))

    def make_loss(stage: Stage, n_devices: int) -> Loss:
        n = stage.batch_size // n_devices
        target = heated(cold, stage.heat)
        terms = [by_example(stage)]
        if stage.w_kl or stage.w_rc:
            kl = make_kl_loss(
                whole,
                target,
                n_samples=n,
                taus=stage.taus,
                w_kl=stage.w_kl,
                w_rc=stage.w_rc,
                collective_variable=collective_variable,
                rc_form=stage.rc_form,
                path_gradient=stage.path_gradient,
            )
            terms.append((1.0, kl if coords is None else _without_coords(kl)))
        if stage.w_jeffreys:
            both = make_jeffreys_loss(whole, target, n_samples=n, taus=stage.taus, axis_name=AXIS)
            terms.append((stage.w_jeffreys, both if coords is None else _without_coords(both)))
        if stage.w_forward_kl or stage.w_log_variance:
            terms.append((1.0, own_samples(stage, target, n)))
        return weighted_sum(terms)

    def by_example(stage: Stage) -> tuple[float, Loss]:
        if isinstance(stage.buffer, Bootstrap):
            return stage.w_nll, make_bootstrap_loss(generator, largest=stage.buffer.largest)
        if not stage.w_log_dispersion:
            given = () if stage.buffer else columns
            return stage.w_nll, make_nll_loss(generator, columns=given)
        return 1.0, make_log_dispersion_loss(
            generator,
            columns=columns,
            w_nll=stage.w_nll,
            w_log_dispersion=stage.w_log_dispersion,
            axis_name=AXIS,
        )

    def own_samples(stage: Stage, target: Target, n: int) -> Loss:
        def at(tau: float | Array) -> Loss:
            # both as they are at tau, seen as if at 1: u/tau is divided before the coordinates come in
            own, density = generator, target
            if stage.taus != (1.0,):
                base = at_temperature(generator.base, tau)
                own = Generator(base=base, bijector=generator.bijector)
                density = heated(target, tau)
            return make_own_samples_loss(
                own,
                density if coords is None else pull_back(density, coords),
                n_samples=n // len(stage.taus),
                w_forward_kl=stage.w_forward_kl,
                w_log_variance=stage.w_log_variance,
                flatten=stage.flatten,
                explore=stage.explore,
                axis_name=AXIS,
            )

        if stage.taus == (1.0,):
            return _or_nan(at(1.0))
        return _or_nan(mean_over(jnp.asarray(stage.taus), at))

    return make_loss


def heated(target: Target, heat: float | Array) -> Target:
    """exp(-u / heat)."""
    if isinstance(heat, float) and heat == 1.0:
        return target
    return Target(dim=target.dim, reduced_energy=lambda x: target.reduced_energy(x) / heat)


def _or_nan(loss: Loss) -> Loss:
    """NaN, so that the step is skipped and counted, where no own sample at any temperature is usable."""

    def checked(params, batch, key):
        value, aux = loss(params, batch, key)
        return jnp.where(aux["usable"] > 0, value, jnp.nan), aux

    return checked


def _without_coords(loss: Loss) -> Loss:
    """The loss of a flow chained with coordinates, as one of the flow's parameters alone."""
    return lambda params, batch, key: loss((params, ()), batch, key)
