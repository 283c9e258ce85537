"""The losses that a stage asks for, for one generator and one training target."""

from collections.abc import Callable

from jbg.generator import Generator
from jbg.interfaces import Loss, Target
from jbg.losses import make_kl_loss, make_nll_loss, make_own_samples_loss, weighted_sum
from jbg.training.stage import Stage
from jbg.training.step import AXIS


def stage_losses(generator: Generator, target: Target) -> Callable[[Stage, int], Loss]:
    """A ``make_loss`` for `run_stages`: (stage, number of devices) -> loss of one device's share of a batch.

    ``target`` is what is trained on: soften the energy first (`targets.soften`), and report on the true one.
    """

    def make_loss(stage: Stage, n_devices: int) -> Loss:
        n = stage.batch_size // n_devices
        terms = [(stage.w_nll, make_nll_loss(generator))]
        if stage.w_kl:
            kl = make_kl_loss(generator, target, n_samples=n, taus=stage.taus)
            terms.append((stage.w_kl, kl))
        if stage.w_forward_kl or stage.w_log_variance:
            own = make_own_samples_loss(
                generator,
                target,
                n_samples=n,
                w_forward_kl=stage.w_forward_kl,
                w_log_variance=stage.w_log_variance,
                axis_name=AXIS,
            )
            terms.append((1.0, own))
        return weighted_sum(terms)

    return make_loss
