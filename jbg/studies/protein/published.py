"""The schedules that Noe et al. 2019 trained BPTI with, as data: stages, and sizes of the networks.

Supplement, tables of Fig. 5 (generated structures) and of Fig. 6f (free energies at several temperatures; printed
"6e"): likelihood alone, then likelihood, reverse KL, entropy over the plane of the first two time-lagged
independent components (`slow_motions`), and the loss that keeps torsions within a turn, while energies are
softened less and less.

What the text leaves open: an iteration is a gradient step here, while in the published code one of likelihood is
an epoch. The learning rate of likelihood is stated for Fig. 6f and used for both. The rate is constant, parameters
are not averaged, gradients not bounded. E_high is in kT above the median energy of the data, since the zero of a
force field means nothing; the published code measures it from zero.
"""

import math
from typing import Literal, NamedTuple

from jbg.flows import RealNVPConfig
from jbg.interfaces import ConfigError
from jbg.losses import NLL, ReactionCoordinate, ReverseKL, TorsionRange
from jbg.training import Stage

Figure = Literal["fig5", "fig6f"]
W_ML, W_RC = 1.0, 20.0
RATE_BY_EXAMPLE, RATE = 1e-3, 1e-4
BY_EXAMPLE = ((2000, 128), (2000, 256), (2000, 512))  # iterations and batch
BATCH = 5000
UNBOUNDED = 1e12  # norm of a gradient
FEWEST_STEPS, FEWEST_SAMPLES = 5, 50  # of a stage that is scaled down


class Mixed(NamedTuple):
    """A row of the tables."""

    iterations: int
    e_high: float  # kT
    w_kl: float
    w_torsion: float


class Schedule(NamedTuple):
    """A column of the tables."""

    mixed: tuple[Mixed, ...]
    taus: tuple[float, ...]
    network: RealNVPConfig


FIG5 = Schedule(
    mixed=(
        Mixed(15, 1e10, 1e-12, 1.0),
        Mixed(15, 1e9, 1e-6, 1.0),
        Mixed(15, 1e8, 1e-5, 1.0),
        Mixed(15, 1e7, 1e-4, 1.0),
        Mixed(15, 1e6, 1e-3, 1.0),
        Mixed(15, 1e5, 1e-3, 1.0),
        Mixed(20, 1e5, 5e-3, 1.0),
        Mixed(20, 1e5, 1e-3, 1.0),
        Mixed(30, 1e4, 5e-3, 1.0),
        Mixed(50, 1e4, 5e-2, 1.0),
        Mixed(50, 1e3, 5e-2, 1.0),
        Mixed(300, 1e3, 5e-2, 1.0),
    ),
    taus=(1.0,),
    network=RealNVPConfig(n_blocks=8, hidden=(256, 128, 256)),
)
FIG6F = Schedule(
    mixed=(
        Mixed(30, 1e10, 1e-7, 0.01),
        Mixed(30, 1e9, 1e-6, 0.1),
        Mixed(30, 1e8, 1e-5, 0.1),
        Mixed(30, 1e7, 1e-4, 0.1),
        Mixed(30, 1e6, 1e-3, 1.0),
        Mixed(30, 1e5, 1e-2, 1.0),
        Mixed(400, 1e4, 1e-2, 1.0),
    ),
    taus=(0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2),
    network=RealNVPConfig(n_blocks=8, hidden=(200, 100, 200)),
)
SCHEDULES: dict[str, Schedule] = {"fig5": FIG5, "fig6f": FIG6F}


def published_stages(figure: Figure, scale: float = 1.0) -> tuple[Stage, ...]:
    """The stages of a figure, ``by-example-1`` to ``-3`` and ``mixed-1`` to the last.

    ``scale`` is the share of the published energies (2.8e6 of Fig. 5, 2.9e6 of Fig. 6f): steps and batches are
    those of the paper times its square root, at least 5 steps and 50 samples. Weights and softening stay. Own
    samples are shared out among the temperatures, of which Fig. 6f has seven, 4998 samples in all. Reverse KL and
    reaction coordinate use the same samples; the weight of the latter is relative to the former
    (`ReverseKL.along`).

    Raises:
        ConfigError: an unknown figure, or a scale that is not in (0, 1].
    """
    if figure not in SCHEDULES:
        raise ConfigError(f"published_stages: figure must be fig5 or fig6f, got {figure!r}")
    if not 0 < scale <= 1:
        raise ConfigError(f"published_stages: scale must be in (0, 1], got {scale}")
    schedule, less = SCHEDULES[figure], math.sqrt(scale)

    def stage(name, n, batch, **changes):
        steps = max(FEWEST_STEPS, 5 * round(n * less / 5))
        fields = {"decay": "none", "ema": 0.0, "clip_norm": UNBOUNDED, "log_every": 5}
        return Stage(name=name, steps=steps, batch_size=batch, **(fields | changes))

    by_example = [
        stage(
            f"by-example-{i}",
            iterations,
            _samples(batch * less, 1),
            losses=(NLL(W_ML),),
            learning_rate=RATE_BY_EXAMPLE,
        )
        for i, (iterations, batch) in enumerate(BY_EXAMPLE, 1)
    ]
    mixed = [
        stage(
            f"mixed-{i}",
            row.iterations,
            _samples(BATCH * less, len(schedule.taus)),
            losses=_losses(row, schedule.taus),
            learning_rate=RATE,
            e_high=row.e_high,
        )
        for i, row in enumerate(schedule.mixed, 1)
    ]
    return (*by_example, *mixed)


def _losses(row: Mixed, taus: tuple[float, ...]) -> tuple[NLL, ReverseKL, TorsionRange]:
    along = ReactionCoordinate(W_RC / row.w_kl, form="kernels", taus=taus)
    return (
        NLL(W_ML),
        ReverseKL(row.w_kl, taus=taus, along=along),
        TorsionRange(row.w_torsion, taus=taus),
    )


def _samples(n: float, n_taus: int) -> int:
    """n rounded down to a multiple of the number of temperatures, at least FEWEST_SAMPLES."""
    return n_taus * max(math.ceil(FEWEST_SAMPLES / n_taus), int(round(n, 6)) // n_taus)
