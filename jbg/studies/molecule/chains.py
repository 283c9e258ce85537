"""Short Langevin chains of a molecule from relaxed random conformations, where nothing else is simulated.

They are no equilibrium, and nothing learns from them: `analysis.local_chains` asks whether the flow generates what
is around them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax import Array

from jbg.runs import Run
from jbg.simulation.langevin import LangevinConfig, langevin
from jbg.simulation.replica_exchange_config import heavy_hydrogen_masses
from jbg.studies.molecule.data import FRAMES
from jbg.studies.problem import LocalChains
from jbg.units import beta

CHAINS = "data/chains.npz"
# at 2 fs with hydrogens of 6 dalton: 4 ps to settle, then a frame every 0.1 ps for 4 ps
SETTINGS = {
    "n": 48,
    "left_out": 2000,
    "steps": 2000,
    "stride": 50,
    "timestep_ps": 0.002,
    "friction": 5.0,
    "hydrogen_mass": 6.0,
}


def chain_evaluations(config: dict[str, Any]) -> int:
    """Energies that the chains of a configuration spend, with their forces."""
    c = config["simulation"].get("chains")
    return c["n"] * (c["left_out"] + c["steps"] + 2) if c else 0


def simulate(
    run: Run,
    molecule: dict[str, np.ndarray],
    inside: np.ndarray,
    potential: Callable[[Array], Array],
) -> None:
    """Writes frames, energies and the chain of each, from starts drawn among the frames ``inside`` the domain."""
    c, temperature = run.config["simulation"]["chains"], run.config["options"]["temperature"]
    frames = run.load_arrays(FRAMES)["frames"][inside]
    rng = np.random.default_rng(run.seed_for("starts of local chains"))
    start = frames[rng.permutation(len(frames))[: c["n"]]]
    found = langevin(
        run.key("local chains"),
        potential,
        start.reshape(len(start), -1),
        masses=heavy_hydrogen_masses(molecule["masses"], c["hydrogen_mass"]),
        temperature=temperature,
        config=LangevinConfig(
            n_steps=c["left_out"] + c["steps"],
            stride=c["stride"],
            timestep_ps=c["timestep_ps"],
            friction=c["friction"],
        ),
    )
    kept = slice(c["left_out"] // c["stride"], None)
    positions, energies = found.positions[:, kept], found.energies[:, kept]
    run.save_arrays(
        CHAINS,
        frames=positions.reshape(-1, *start.shape[1:]).astype(np.float32),
        energies=energies.ravel(),
        chain=np.repeat(np.arange(len(start)), energies.shape[1]),
        evaluations=chain_evaluations(run.config),
    )


def load(run: Run) -> LocalChains | None:
    """The frames of the chains; None of a run that has none."""
    if not (run.path / CHAINS).exists():
        return None
    data = run.load_arrays(CHAINS)
    x = data["frames"].reshape(len(data["frames"]), -1)
    u = beta(run.config["options"]["temperature"]) * data["energies"]
    return LocalChains(x, u, data["chain"], int(data["evaluations"]))
