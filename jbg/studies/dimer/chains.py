"""Independent chains confined to each state of the dimer, at each temperature of a study."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from jbg.interfaces import ConfigError, RunError, State, Target
from jbg.runs import Run
from jbg.simulation.hmc_chains import HmcConfig, hmc_chains
from jbg.studies.dataset import ASIDE, LEARN, WATCH, Dataset
from jbg.studies.dimer.cell import one_labelling
from jbg.studies.dimer.options import DimerOptions
from jbg.targets import make_target, restrict


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChainsPlan:
    """Hamiltonian Monte Carlo in each state.

    Attributes:
        n_chains: in each state at each temperature.
        n_frames: of each chain at tau = 1, which training learns from.
        n_frames_other: of each chain at other temperatures.
        stride: trajectories between frames.
        n_burn_in: trajectories left out first.
        n_leapfrog: leapfrog steps of a trajectory.
        heldout: share of the chains at tau = 1 that training does not learn from.
    """

    n_chains: int = 400
    n_frames: int = 800
    n_frames_other: int = 25
    stride: int = 20
    n_burn_in: int = 200
    n_leapfrog: int = 8
    heldout: float = 0.1

    def __post_init__(self):
        counts = {k: v for k, v in dataclasses.asdict(self).items() if k != "heldout"}
        wrong = [name for name, value in counts.items() if value < (name != "n_burn_in")]
        if wrong or not 0 < self.heldout < 1 or self.n_heldout >= self.n_chains:
            what = f"{wrong[0]} = {counts[wrong[0]]}" if wrong else f"heldout = {self.heldout}"
            raise ConfigError(
                f"chains: need counts of 1 or more and some of {self.n_chains} held out, got {what}"
            )

    @property
    def n_heldout(self) -> int:
        """The first chains of a state at tau = 1 are held out from training: two or more, for an error."""
        return max(2, round(self.heldout * self.n_chains))

    def frames_at(self, tau: float) -> int:
        return self.n_frames if tau == 1.0 else self.n_frames_other

    def frames(self, taus: Sequence[float]) -> int:
        """Frames of both states at all temperatures."""
        return sum(2 * self.n_chains * self.frames_at(tau) for tau in taus)

    def evaluations(self, tau: float) -> int:
        """Energies of the chains in one state at one temperature."""
        steps = self.frames_at(tau) * self.stride + self.n_burn_in
        return self.n_chains * steps * (self.n_leapfrog + 1)

    def state_of(self, chain: np.ndarray) -> np.ndarray:
        """The state (0 or 1) of chains as `dataset` numbers them."""
        return chain // self.n_chains % 2


def state_chains(
    run: Run, options: DimerOptions, plan: ChainsPlan, state: State, start: np.ndarray, tau: float
) -> np.ndarray:
    """Frames ``(n_chains, n_frames, 76)`` of a state in one labelling.

    Args:
        run: gives the key.
        options: say which dimer.
        plan: of the chains.
        state: that no chain leaves.
        start: equilibrium configurations of it, ``(n, 76)``.
        tau: relative temperature.

    Raises:
        RunError: fewer starts than chains.
    """
    if len(start) < plan.n_chains:
        raise RunError(
            f"lj-dimer: umbrella sampling left {len(start)} independent frames of {state.name} at tau {tau:g}, "
            f"fewer than the {plan.n_chains} chains to start: lengthen it, or ask for higher taus"
        )
    found, _ = hmc_chains(
        run.key(f"chains {state.name} {tau:g}"),
        confined(options, state),
        start[: plan.n_chains],
        config=HmcConfig(
            n_steps=plan.frames_at(tau) * plan.stride,
            stride=plan.stride,
            n_burn_in=plan.n_burn_in,
            n_leapfrog=plan.n_leapfrog,
        ),
        tau=tau,
    )
    return one_labelling(found.reshape(-1, found.shape[-1])).reshape(found.shape)


def confined(options: DimerOptions, state: State) -> Target:
    """The target inside a state; one object, as the system is."""
    return _confined(options.dimer, options.wall, state.name)


@functools.cache
def _confined(dimer: str, wall: float, name: str) -> Target:
    system = DimerOptions(dimer=dimer, wall=wall).system()
    (state,) = (s for s in system.states if s.name == name)
    return restrict(make_target(system), state.contains)


def dataset_part(frames: np.ndarray, plan: ChainsPlan, tau: float, first: int) -> Dataset:
    """The chains of one state at one temperature as rows of a dataset.

    At tau = 1 the first chains watch and the others teach; at other temperatures all are set aside.

    Args:
        frames: ``(n_chains, n_frames, 76)``.
        plan: of the chains; says how many are held out.
        tau: relative temperature of the chains.
        first: number of the first chain.
    """
    data = Dataset.of_chains(frames, first=first, tau=tau)
    own = np.where(data.chain < first + plan.n_heldout, WATCH, LEARN)
    return data._replace(role=own if tau == 1.0 else np.full(len(own), ASIDE))
