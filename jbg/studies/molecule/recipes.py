"""Ways to learn a molecule from its energies alone: tuples of stages, all for the same trainer.

own-samples: importance-weighted forward KL and log-variance of fresh own samples (`losses.own_samples`).
transport: constrained mass transport, likelihood of own samples resampled to intermediate targets. bootstrap:
flow annealed importance sampling bootstrap (FAB), with forces. annealed-kl: reverse KL with forces, from four
times the temperature down, nothing reweighted on the way. chains: the likelihood of harmonic frames, a rough
start; chains of the target then give what is learnt (`relearned`).
"""

import dataclasses

from jbg.losses import NLL, AlphaDivergence, OwnSamples, ReverseKL
from jbg.studies.molecule.options import Recipe
from jbg.training import Bootstrap, Stage, Transport

HEATS = (4.0, 2.8, 2.0, 1.4)


def energy_stages(recipe: Recipe, *, quick: bool) -> tuple[Stage, ...]:
    """The stages of a recipe; the number of steps does not depend on the molecule."""
    shared = Stage(
        name="by-energy",
        steps=2500 if quick else 20_000,
        learning_rate=1e-3,
        warmup=50,
        clip_norm=5.0,
        e_high=50.0,
        ema=0.998 if quick else 0.999,
        batch_size=512 if quick else 1024,
        log_every=20 if quick else 50,
        eval_every=500 if quick else 1000,
    )
    return {
        "own-samples": _own_samples,
        "transport": _transport,
        "bootstrap": _bootstrap,
        "annealed-kl": _annealed_kl,
        "chains": _rough,
    }[recipe](shared, 1 if quick else 12)


def _own_samples(shared: Stage, long: int) -> tuple[Stage, ...]:
    """Exploration decreases and never ends: own samples at conformations that the flow may have abandoned.

    The flow starts uniform in the soft torsions, and the weights of one batch hardly reveal a basin of 0.2 %. A
    last stage without exploration made the averaged parameters of alanine dipeptide worse: ESS 0.94 to 0.8.
    """
    own = OwnSamples(forward_kl=1.0, log_variance=0.3, flatten=0.5)
    at = lambda explore: (dataclasses.replace(own, explore=explore),)
    by_energy = dataclasses.replace(shared, losses=at(0.1), weight_decay=0.1)
    exploring = dataclasses.replace(
        by_energy,
        name="exploring",
        steps=1500 if long == 1 else 3000,
        losses=at(0.25),
        batch_size=512,
        decay="none",
        ema=0.998,
    )
    if long == 1:
        return exploring, by_energy
    return exploring, dataclasses.replace(by_energy, steps=28_000)


def _transport(shared: Stage, long: int) -> tuple[Stage, ...]:
    buffer = Transport(n=20_480, every=shared.log_every, max_kl=0.5, max_entropy_drop=0.3)
    stage = dataclasses.replace(
        shared, name="transport", steps=2000 * long, losses=(NLL(),), buffer=buffer
    )
    return (stage,)


def _bootstrap(shared: Stage, long: int) -> tuple[Stage, ...]:
    buffer = Bootstrap(n=1024, every=shared.log_every)
    losses = (AlphaDivergence(largest=10.0),)
    stage = dataclasses.replace(
        shared, name="bootstrap", steps=1500 * long, losses=losses, buffer=buffer
    )
    return (stage,)


def _annealed_kl(shared: Stage, long: int) -> tuple[Stage, ...]:
    kl = dataclasses.replace(
        shared, name="kl", steps=2400 * long, losses=(ReverseKL(path_gradient=True),)
    )
    hot = tuple(
        dataclasses.replace(kl, name=f"kl-at-{heat:g}", steps=400 * long, heat=heat, decay="none")
        for heat in HEATS
    )
    return (*hot, kl)


def _rough(shared: Stage, long: int) -> tuple[Stage, ...]:
    """The shape of the coordinates' domain: harmonic frames sample no ensemble."""
    stage = dataclasses.replace(
        shared, name="rough", steps=300, batch_size=512, losses=(NLL(),), ema=0.98, eval_every=100
    )
    return (stage,)
