"""From hot configurations of a state to starts of chains at a study's temperature."""

import dataclasses

import jax
import numpy as np

from jbg.interfaces import RunError, State
from jbg.runs import Run
from jbg.simulation.hmc_chains import HmcConfig, hmc_chains
from jbg.studies.dimer.chains import ChainsPlan, confined
from jbg.studies.dimer.options import DimerOptions

N_RUNGS = 5  # temperatures of cooling
MOVING = 10  # trajectories within which a healthy chain moves


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoolingPlan:
    """Hamiltonian Monte Carlo at N_RUNGS temperatures.

    Attributes:
        n_cooling: trajectories at each.
    """

    n_cooling: int = 200

    def evaluations(self, chains: ChainsPlan) -> int:
        """Energies of the cooling of one state."""
        trajectories = self.n_cooling + 2 * MOVING
        return N_RUNGS * chains.n_chains * trajectories * (chains.n_leapfrog + 1)


def cooled(
    run: Run,
    options: DimerOptions,
    chains: ChainsPlan,
    plan: CoolingPlan,
    state: State,
    frames: np.ndarray,
    taus: tuple[float, float],
) -> np.ndarray:
    """Starts of chains of a state ``(n_chains, dim)``, cooled from the moves' temperature.

    All chains share a time step, with which a chain in a stiff corner rejects every move. Chains that no longer
    move at the end are replaced by copies of those that do. Starts are assigned at random, so that the chains held
    out from training are not those of lowest energy.

    Args:
        run: gives keys and seeds.
        options: say which dimer.
        chains: that the starts are for.
        plan: of the cooling.
        state: that no chain leaves.
        frames: hot configurations of it, ``(n, dim)``.
        taus: relative temperature that they are of, and that of the chains.

    Raises:
        RunError: fewer than half of them move.
    """
    hot, tau = taus
    target = confined(options, state)
    rng = np.random.default_rng(run.seed_for(f"starts {state.name} {tau:g}"))
    x = rng.permutation(np.resize(frames, (chains.n_chains, frames.shape[-1])))
    ladder = np.geomspace(max(hot, tau), tau, N_RUNGS)
    key = run.key(f"cooling {state.name} {tau:g}")
    config = HmcConfig(
        n_steps=2 * MOVING,
        stride=MOVING,
        n_burn_in=plan.n_cooling,
        n_leapfrog=chains.n_leapfrog,
    )
    for i, rung in enumerate(ladder):
        found, _ = hmc_chains(
            jax.random.fold_in(key, i),
            target,
            x,
            config=config,
            tau=float(rung),
        )
        x = found[:, -1]
    moves = (found[:, 0] != found[:, 1]).any(axis=1)
    if moves.mean() < 0.5:
        raise RunError(
            f"lj-dimer-explored: {np.count_nonzero(moves)} of {len(moves)} chains of the state {state.name} move"
            f" at tau {tau:g}, half of them have to: lengthen n_cooling"
        )
    return np.where(moves[:, None], x, np.resize(x[moves], x.shape))
