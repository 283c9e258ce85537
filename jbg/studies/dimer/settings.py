"""Settings of the dimer's study."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jbg.losses import NLL, OwnSamples, ReactionCoordinate, ReverseKL
from jbg.simulation.umbrella import UmbrellaConfig
from jbg.studies.dimer.umbrella_reference import DIMER_UMBRELLA, filled_ladder
from jbg.studies.model_options import check_options
from jbg.systems import lj_dimer
from jbg.training import Stage, settings_of

TAUS = (0.5, 1.0, 2.0)
SAMPLES = {"quick": 100_000, "full": 1_000_000}
BY_EXAMPLE = Stage(
    name="by-example",
    steps=15_000,
    batch_size=256,
    learning_rate=3e-3,
    warmup=200,
    losses=(NLL(),),
    ema=0.99,
    clip_norm=5.0,
    log_every=100,
    eval_every=3000,
)
# energies of own samples, without forces
BY_EXAMPLE_AND_ENERGY = Stage(
    name="by-example-and-energy",
    steps=1000,
    batch_size=256,
    learning_rate=3e-4,
    warmup=100,
    losses=(NLL(), OwnSamples(forward_kl=0.5, log_variance=0.3)),
    e_high=100.0,
    e_max=1e10,
    ema=0.99,
    clip_norm=5.0,
    log_every=100,
    eval_every=1000,
)
# with the entropy along d: of samples on the barrier only forces say how the bath has to make room
ALONG_D = {"learning_rate": 1e-3, "steps": 3000}
STAGES = {
    "quick": (BY_EXAMPLE, BY_EXAMPLE_AND_ENERGY),
    "full": (
        dataclasses.replace(BY_EXAMPLE, steps=50_000, batch_size=512, eval_every=5000),
        dataclasses.replace(BY_EXAMPLE_AND_ENERGY, steps=5000, batch_size=512, eval_every=1000),
    ),
}


def make_config(
    *,
    preset: str,
    seed: int,
    taus: Sequence[float] = TAUS,
    w_rc: float = 0.0,
    dimer: str = "tilted",
    wall: float = 200.0,
) -> dict[str, Any]:
    """Options: the dimer's term and the wall's constant (`systems.lj_dimer`), taus and w_rc.

    The flow is trained at tau = 1 alone; what it gives at other temperatures comes from the base's variance.

    Raises:
        ConfigError: an unknown term, temperatures without 1, a negative weight.
    """
    lj_dimer(dimer=dimer, wall=wall, relax=False)  # refuses what is none
    taus = check_options(taus, w_rc)
    first, second = STAGES[preset]
    if w_rc:
        along = ALONG_D | {"steps": max(second.steps, ALONG_D["steps"])}
        losses = (NLL(), ReverseKL(along=ReactionCoordinate(w_rc)))
        second = dataclasses.replace(second, losses=losses, **along)
    return {
        "system": "lj-dimer",
        "preset": preset,
        "seed": seed,
        "options": {"dimer": dimer, "wall": wall, "taus": taus, "w_rc": w_rc},
        "simulation": {
            "umbrella": {},
            "n_chains": 400,
            "n_frames": 800,
            "n_frames_other": 25,
            "stride": 20,
            "n_burn_in": 200,
            "n_leapfrog": 8,
            "heldout": 0.1,
        },
        # a disc depends on its neighbours: one network of 200 units for all leaves a gap 1.9 nats larger
        "flow": {
            "n_blocks": 6,
            "conditioner": {"kind": "per_variable", "hidden": [32, 32]},
            "n_bins": 5,
        },
        "stages": [settings_of(stage) for stage in (first, second)],
        "sampling": {"n": SAMPLES[preset], "batch": 5000, "taus": taus},
    }


def umbrella_config(config: dict[str, Any]) -> UmbrellaConfig:
    """What the reference simulates at each temperature."""
    return dataclasses.replace(DIMER_UMBRELLA, **config["simulation"]["umbrella"])


def chain_evaluations(config: dict[str, Any], tau: float) -> int:
    """Energies of the chains in one state at one temperature."""
    c = config["simulation"]
    n_frames = c["n_frames"] if tau == 1.0 else c["n_frames_other"]
    return c["n_chains"] * (n_frames * c["stride"] + c["n_burn_in"]) * (c["n_leapfrog"] + 1)


def simulate_evaluations(config: dict[str, Any]) -> int:
    """Energies of the reference and of the chains in both states."""
    taus = config["sampling"]["taus"]
    ladder = filled_ladder(np.asarray(taus))
    umbrella = umbrella_config(config).evaluations_per_tau * len(ladder)
    return umbrella + sum(2 * chain_evaluations(config, tau) for tau in taus)


def cost(config: dict[str, Any]) -> dict[str, Any]:
    """Energies of the reference and the data, and minutes on four cores."""
    n = simulate_evaluations(config)
    seconds = n / 1e6 + sum(0.06 * s["steps"] * s["batch_size"] / 256 for s in config["stages"])
    return {"energy_evaluations_simulate": n, "minutes": round(1 + seconds / 60, 1)}


def shorten(config: dict[str, Any], *, steps: int = 20, n: int = 2000) -> dict[str, Any]:
    """The same study in a minute or two, to see that it runs; its numbers mean nothing.

    tau = 1 alone, few windows, chains, steps and samples, a small network: most of the time goes into compiling.
    """
    few = {"steps": steps, "batch_size": 32, "log_every": 10, "eval_every": 0, "warmup": 0}
    umbrella = {"n_replicas": 4, "n_pull": 100, "n_burn_in": 100, "n_steps": 225}
    chains = {"n_chains": 20, "n_frames": 10, "stride": 5, "n_burn_in": 10}
    return config | {
        "options": config["options"] | {"taus": (1.0,)},
        "simulation": config["simulation"] | {"umbrella": umbrella} | chains,
        "flow": config["flow"]
        | {"n_blocks": 1, "conditioner": {"kind": "per_variable", "hidden": [16]}, "n_bins": 4},
        "stages": [stage | few for stage in config["stages"]],
        "sampling": {"n": n, "batch": min(n, 1000), "taus": (1.0,)},
    }
