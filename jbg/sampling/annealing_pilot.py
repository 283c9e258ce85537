"""Time steps of an annealing, found by a pilot run whose particles count in no estimate."""

import logging
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jbg.interfaces import Key, Params
from jbg.sampling.annealing_files import kept, origin_of
from jbg.sampling.annealing_program import Annealer, Particles, level_of, started
from jbg.sampling.latent_ladder import ACCEPTANCE
from jbg.training.mesh import fetch

_log = logging.getLogger(__name__)


class AnnealingSteps(NamedTuple):
    """ln of the time steps of each coordinate at each level ``(dim_z, K)``, and the mean acceptance of the pilot's
    last trajectories there ``(K,)``."""

    log_step: np.ndarray
    acceptance: np.ndarray


def find_steps(
    key: Key, params: Params, annealer: Annealer, *, folder: Path | None = None
) -> AnnealingSteps:
    """Time steps by a pilot run of one block, whose particles count in no estimate.

    At each level that of a coordinate is in proportion to 1/s, s = sqrt(pi/2) <|d ln pi_b/dz|> (for a normal
    distribution its standard deviation), 1 at most, times a common factor that adapts to the acceptance.

    Args:
        key: PRNG key, another than that of the reported particles.
        params: of the generator.
        annealer: from `make_annealer`.
        folder: where the steps are kept and read again; None for nowhere.

    Raises:
        ConfigError: the file in ``folder`` is damaged, or of other parameters or settings.
    """
    origin = origin_of(key, params, annealer, [])
    make = lambda: _pilot(key, params, annealer)._asdict()
    return AnnealingSteps(**kept(folder, "steps", origin, make))


def _pilot(key: Key, params: Params, annealer: Annealer) -> AnnealingSteps:
    """`pilot_moves` trajectories at each level, of widths from the mean forces there."""
    settings, b = annealer.settings, annealer.settings.b
    params, key, particles = started(params, key, annealer)
    factor, found, accepted = float(np.log(settings.step)), [], []
    for k in range(1, settings.n_levels + 1):
        width = _log_width(annealer, particles, b[k])
        for i in range(settings.pilot_moves):
            level = level_of(annealer, factor + width, b[k])
            number = jnp.int32(k * settings.pilot_moves + i)
            particles, acceptance = annealer.level(params, particles, level, key, number)
            factor += (1 + i) ** -0.6 * (float(acceptance) - ACCEPTANCE)
        found.append(factor + width)
        accepted.append(float(acceptance))
    _log.info("annealing: acceptance of the pilot run %.2f", np.mean(accepted))
    return AnnealingSteps(np.stack(found, axis=1).astype(np.float32), np.array(accepted))


def _log_width(annealer: Annealer, particles: Particles, b: float) -> np.ndarray:
    """ln of the widths of the coordinates ``(dim_z,)``, 0 at most; clashes count as ten times the 90 %
    quantile."""
    force, log_w = fetch((annealer.force(particles, jnp.float32(b)), particles.log_w))
    force = np.abs(force[:, np.isfinite(log_w)])
    if not force.size:
        return np.zeros(annealer.dim_z)
    most = 10 * np.quantile(force, 0.9, axis=1, keepdims=True)
    s = np.sqrt(np.pi / 2) * np.minimum(force, most).mean(axis=1)
    return -np.log(np.maximum(s, 1.0))
