"""Metric and time step of each level of an annealing, by a pilot run whose particles count in no estimate."""

import logging
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jbg.interfaces import Key, Params
from jbg.sampling.annealing_files import kept, origin_of
from jbg.sampling.annealing_program import Annealer, Particles, level_of, metric_shape, started
from jbg.sampling.latent_ladder import ACCEPTANCE
from jbg.simulation.curvature_metric import SOFTEST, curvature, metric_of
from jbg.training.mesh import fetch

MEMORY = 0.75  # of what is summed over particles, from one level to the next
_log = logging.getLogger(__name__)


class AnnealingSteps(NamedTuple):
    """How trajectories move at each level: time steps ``(K,)``, metrics ``(K, dim_v, dim_v)`` or their diagonals
    ``(K, dim_v)``, and the mean acceptance of the pilot's last trajectories there ``(K,)``."""

    step: np.ndarray
    metric: np.ndarray
    acceptance: np.ndarray

    def of(self, k: int) -> tuple[float, np.ndarray]:
        """Time step and metric of level k, from 1."""
        return float(self.step[k - 1]), self.metric[k - 1]


def find_steps(
    key: Key, params: Params, annealer: Annealer, *, folder: Path | None = None
) -> AnnealingSteps:
    """Metrics and time steps by a pilot run of one block, whose particles count in no estimate.

    With g = d ln pi_b/dv the mean of g g^T over particles is in equilibrium the mean curvature of -ln pi_b, and
    the metric its power -1/2 (`simulation.curvature_metric`): a few combinations of v in which particles soon
    clash are a hundred times narrower than the rest. The time step adapts to the acceptance.

    Args:
        key: PRNG key, another than that of the reported particles.
        params: of the flow.
        annealer: from `make_annealer`.
        folder: where the steps are kept and read again; None for nowhere.

    Raises:
        ConfigError: the file in ``folder`` is damaged, or of other parameters or settings.
    """
    origin = origin_of(key, params, annealer, [])
    make = lambda: _pilot(key, params, annealer)._asdict()
    return AnnealingSteps(**kept(folder, "steps", origin, make))


def _pilot(key: Key, params: Params, annealer: Annealer) -> AnnealingSteps:
    """`pilot_moves` trajectories at each level, with the metric of the forces there."""
    settings, b = annealer.settings, annealer.settings.b
    params, key, particles = started(params, key, annealer)
    log_step, steps, metrics, accepted = float(np.log(settings.step)), [], [], []
    summed, n = _of_base(annealer)
    for k in range(1, settings.n_levels + 1):
        seen, counted = _curvature(annealer, particles, b[k])
        summed, n = MEMORY * summed + seen, MEMORY * n + counted
        metric = _metric(summed, n)
        for i in range(settings.pilot_moves):
            level = level_of(annealer, np.exp(log_step), metric, b[k])
            number = jnp.int32(k * settings.pilot_moves + i)
            particles, acceptance = annealer.level(params, particles, level, key, number)
            log_step += (1 + i) ** -0.6 * (float(acceptance) - ACCEPTANCE)
        metrics.append(metric)
        steps.append(np.exp(log_step))
        accepted.append(float(acceptance))
    _log.info("annealing: acceptance of the pilot run %.2f", np.mean(accepted))
    return AnnealingSteps(
        np.array(steps, np.float32), np.stack(metrics).astype(np.float32), np.array(accepted)
    )


def _curvature(annealer: Annealer, particles: Particles, b: float) -> tuple[np.ndarray, int]:
    """The sum of g g^T, or its diagonal, over particles that the target has, and how many these are."""
    force, log_w = fetch((annealer.force(particles, jnp.float32(b)), particles.log_w))
    force = force[:, np.isfinite(log_w)].astype(np.float32)
    if not force.size:
        return np.zeros(metric_shape(annealer.dim_v)), 0
    summed = np.asarray(curvature(jnp.asarray(force)[:, None], jnp.ones(1)), np.float64)
    return (summed if len(metric_shape(len(force))) == 2 else np.diag(summed)), force.shape[1]


def _of_base(annealer: Annealer) -> tuple[np.ndarray, float]:
    """What the first levels are near, as if from twice as many particles as there are coordinates."""
    dim = annealer.dim_v
    n = 2.0 * dim
    return (n * np.eye(dim) if len(metric_shape(dim)) == 2 else np.full(dim, n)), n


def _metric(summed: np.ndarray, n: float) -> np.ndarray:
    """The power -1/2 of the mean curvature."""
    if summed.ndim == 1:
        return 1 / np.sqrt(np.maximum(summed / n, SOFTEST))
    return metric_of(summed, n, shrink=False)
