"""Short Langevin chains of a molecule from relaxed random conformations, where nothing else is simulated.

They are not in equilibrium, and training does not use them: `analysis.local_chains` checks whether the flow
generates their surroundings.
"""

from collections.abc import Callable

import numpy as np
from jax import Array

from jbg.analysis import local_chain_gap
from jbg.runs import Run
from jbg.simulation.langevin import LangevinConfig, langevin
from jbg.simulation.replica_exchange_config import heavy_hydrogen_masses
from jbg.studies.evidence import Evidence
from jbg.studies.molecule.data_plan import ChainsPlan
from jbg.studies.molecule.files import CHAINS
from jbg.studies.study import Finding
from jbg.units import beta


def simulate_chains(
    run: Run,
    plan: ChainsPlan,
    potential: Callable[[Array], Array],
    frames: np.ndarray,
    *,
    masses: np.ndarray,
    temperature: float,
) -> None:
    """Writes frames, energies and the chain of each.

    Args:
        run: where to.
        plan: how many chains, how long.
        potential: flat x ``(dim, *batch)`` nm -> kJ/mol, compiled.
        frames: ``(n, atoms, 3)`` in the coordinates' domain, among which starts are drawn.
        masses: of the atoms, dalton.
        temperature: K.
    """
    rng = np.random.default_rng(run.seed_for("starts of local chains"))
    start = frames[rng.permutation(len(frames))[: plan.n]]
    found = langevin(
        run.key("local chains"),
        potential,
        start.reshape(len(start), -1),
        masses=heavy_hydrogen_masses(masses, plan.hydrogen_mass),
        temperature=temperature,
        config=LangevinConfig(
            n_steps=plan.left_out + plan.steps,
            stride=plan.stride,
            timestep_ps=plan.timestep_ps,
            friction=plan.friction,
        ),
    )
    kept = slice(plan.left_out // plan.stride, None)
    positions, energies = found.positions[:, kept], found.energies[:, kept]
    run.save_arrays(
        CHAINS,
        x=positions.reshape(-1, positions.shape[-1]).astype(np.float32),
        u=beta(temperature) * energies.ravel(),
        chain=np.repeat(np.arange(len(start)), energies.shape[1]),
    )


def local_chains(evidence: Evidence) -> Finding:
    """Whether short chains from random conformations stay in regions where the flow generates next to nothing;
    empty where a simulation shows it better."""
    if not (evidence.run.path / CHAINS).exists():
        return Finding({}, {})
    chains, own = evidence.run.load_arrays(CHAINS), evidence.own
    log_w = -chains["u"] - evidence.log_q(chains["x"])
    generated = own.log_w, own.samples.reduced_energy
    gap = local_chain_gap(log_w, chains["u"], chains["chain"], *generated)
    return Finding({"local_chains": gap}, {})
