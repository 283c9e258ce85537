"""Stages of a protein's training with all of its atoms, in mixed coordinates.

Frames of a simulation are few beside hundreds of stiff coordinates: on chignolin likelihood overfits 6000 of them
after 60 steps, and samples lie thousands of kT too high. Energies teach the rest, with forces: reverse KL by path
gradients, beside a tenth of the likelihood so that what the dynamics visit is not forgotten.
"""

from typing import Literal

from jbg.losses import NLL, OwnSamples, ReverseKL, TorsionRange
from jbg.studies.protein.stages import KEPT
from jbg.training import Stage

MixedStrategy = Literal["nll", "by-energy", "own-samples"]
# kT of softening for each variable. Where energies are softened the volume of d stiff variables outweighs what
# they cost, unless the softening begins well above the d/2 of their fluctuations: at 100 kT of 402 variables
# reverse KL went there, at 1000 kT it did not
E_HIGH = 2.5
BATCH = 128  # own samples in a step


def mixed_stages(
    strategy: str, *, steps: int, variables: int, on_line: bool = False
) -> tuple[Stage, ...]:
    """The stages of a strategy.

    Args:
        strategy: "nll" (by example alone), "by-energy", or "own-samples" (after both).
        steps: by energy; by example an eighth of them, own samples as many again.
        variables: number of coordinates.
        on_line: the flow makes angles on the line; a loss keeps them within one turn.

    """

    def stage(name, n, losses, **changes):
        fields = {
            "batch_size": BATCH,
            "data_batch": 2 * BATCH,
            "log_every": 10,
            "e_high": max(100.0, E_HIGH * variables),
            "warmup": min(50, n // 4),
        }
        return Stage(name=name, steps=n, losses=losses, **(fields | changes))

    within = (TorsionRange(1.0),) if on_line else ()
    by_example = stage(
        "by-example",
        _twenties(steps / 8),
        (NLL(),),
        learning_rate=1e-3,
        ema=0.99,
        clip_norm=10.0,
        eval_every=20,
        keep_best=True,
    )
    by_energy = stage(
        "by-energy",
        _twenties(steps),
        (NLL(KEPT), ReverseKL(1.0, path_gradient=True, bound=10.0), *within),
        learning_rate=3e-4,  # three times that diverged on one of two seeds
        warmup=min(100, _twenties(steps) // 4),
        ema=0.995,
        clip_norm=100.0,
    )
    own = stage(
        "own-samples",
        _twenties(steps),
        (NLL(KEPT), OwnSamples(forward_kl=1.0, log_variance=0.3, flatten=0.5), *within),
        learning_rate=5e-4,
        ema=0.998,
        clip_norm=5.0,
    )
    count = {"nll": 1, "by-energy": 2, "own-samples": 3}[strategy]
    return (by_example, by_energy, own)[:count]


def _twenties(n: float) -> int:
    """A multiple of 20, at least 20."""
    return max(20, 20 * round(n / 20))
