"""Stages of a protein's training: the four of Kim et al. 2023 with their ablations, and own samples.

The paper gives epochs of 1e6 frames and neither batch sizes nor rates nor weights; shares of the steps are its
(200, 50, 20 and 10 epochs), everything else is ours.
"""

from typing import Literal

from jbg.losses import NLL, LogDispersion, OwnSamples, ReverseKL, Wasserstein
from jbg.training import Stage

Strategy = Literal["nll", "nll-kl", "nll-w2", "all", "by-energy", "own-samples"]
E_HIGH = 60.0  # kT above the median of the data, from which energies are softened
KEPT = 0.1  # weight of the likelihood beside energies; it slows the loss of rotamers, and does not prevent it
W2 = 100.0  # weight of the squared distance in nm^2: 1 in Angstrom^2
SHARES = {"nll": 200, "w2": 50, "w2-kl": 20, "kl": 10}  # epochs of protein G, section 3.5


def make_stages(
    strategy: Strategy,
    *,
    steps: int,
    batch: int,
    rate: float = 1e-3,
    of_target: bool = True,
) -> tuple[Stage, ...]:
    """The stages of a strategy.

    Args:
        strategy: which losses, in which order.
        steps: of the first stage, by example; the others of the four stages are in the paper's proportion, at
            least a twentieth of it; "by-energy" and "own-samples" take four times as many.
        batch: examples and own samples in a step.
        rate: of learning by example and of "by-energy"; half of it in the other stages.
        of_target: the examples are of the density that energies aim at, so that both may be asked for at once. If
            not, likelihood beside energies settles between two densities, as in the paper; own samples and
            "by-energy" then come without it.
    """

    def stage(name, n, losses, **changes):
        fields = {
            "learning_rate": rate / 2,
            "ema": 0.99,
            "log_every": 10,
            "clip_norm": 10.0,
            "e_high": E_HIGH,
            "warmup": min(50, n // 4),
        }
        return Stage(name=name, steps=n, losses=losses, batch_size=batch, **(fields | changes))

    likelihood = NLL(dispersion=LogDispersion(2.0) if of_target else None)
    kl = ReverseKL(0.5, path_gradient=True)
    watched = {"learning_rate": rate, "eval_every": _tens(steps / 20), "keep_best": True}
    share = lambda of: _tens(steps * max(SHARES[of] / SHARES["nll"], 0.05))
    plain = NLL()
    by_example = stage("by-example", steps, (plain,), **watched)
    shaped = stage("by-example-and-shape", share("w2"), (plain, Wasserstein(W2)))
    energy = stage("by-example-and-energy", share("w2"), (plain, kl))
    match strategy:
        case "nll":
            return (by_example,)
        case "nll-kl":
            return (by_example, energy)
        case "nll-w2":
            return (by_example, shaped)
        case "all":
            three = stage("all-three", share("w2-kl"), (plain, Wasserstein(W2), kl))
            last = stage("by-example-and-energy", share("kl"), (plain, kl))
            return (by_example, shaped, three, last)
        case "by-energy":
            n = _tens(4 * steps)
            kept = (NLL(KEPT),) if of_target else ()
            terms = (*kept, ReverseKL(1.0, path_gradient=True))
            energies = {"learning_rate": rate, "clip_norm": 20.0, "ema": 0.998}
            return (by_example, stage("by-energy", n, terms, **energies))
    first = stage("by-example", steps, (likelihood,), **watched)
    alone = OwnSamples(forward_kl=1.0, log_variance=0.3, flatten=0.5)
    own = (NLL(0.2), alone) if of_target else (alone,)
    return (first, stage("own-samples", _tens(4 * steps), own, clip_norm=5.0, ema=0.998))


def _tens(n: float) -> int:
    """A multiple of 10, at least 10."""
    return max(10, 10 * round(n / 10))
