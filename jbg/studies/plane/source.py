"""Data of a study in the plane: Metropolis from each start, confined to its region."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jax import Array

from jbg.interfaces import ConfigError, System
from jbg.runs import Run
from jbg.simulation.metropolis import metropolis
from jbg.studies.dataset import WATCH, Dataset, concatenate
from jbg.targets import make_target, restrict

HOT_CHAINS = 20  # in each region


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetropolisPlan:
    """Settings of the Metropolis simulation.

    Attributes:
        step: standard deviation of a move at tau = 1; grows as sqrt(tau).
        n_steps: steps of each chain.
        stride: steps between frames of one chain.
        heldout: fraction at the end of each chain that is held out from training.
        hot_tau: relative temperature of additional chains; 1 for none.
    """

    step: float = 0.1
    n_steps: int = 10_000
    stride: int = 10
    heldout: float = 0.1
    hot_tau: float = 1.0

    def __post_init__(self):
        if min(self.n_steps, self.stride) < 1 or not (self.step > 0 and 0 < self.heldout < 1):
            raise ConfigError(
                "metropolis: needs n_steps and stride of 1 or more, step > 0 and heldout in (0, 1), got "
                f"{self.n_steps}, {self.stride}, {self.step} and {self.heldout}"
            )
        if not self.hot_tau >= 1:
            raise ConfigError(f"metropolis: hot_tau must be 1 or more, got {self.hot_tau}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetropolisSource:
    """Metropolis from each configuration of ``system.start``, confined to its region: no chain leaves it.

    One chain at tau = 1; where the flow learns at several temperatures, also HOT_CHAINS at the hottest.
    """

    system: System
    regions: tuple[Callable[[Array], Array], ...]
    plan: MetropolisPlan

    @property
    def evaluations(self) -> int:
        hot = HOT_CHAINS if self.plan.hot_tau > 1 else 0
        return len(self.regions) * (1 + hot) * (self.plan.n_steps + 1)

    @property
    def frames(self) -> int:
        kinds = 2 if self.plan.hot_tau > 1 else 1
        return kinds * len(self.regions) * (self.plan.n_steps // self.plan.stride)

    def make(self, run: Run, *, quiet: bool) -> None:
        """Write the data; takes a second."""
        del quiet
        own = self._chains(run, "metropolis", n_chains=1, tau=1.0)
        n_train = round(own.shape[1] * (1 - self.plan.heldout))
        data = Dataset.of_chains(own)
        late = np.tile(np.arange(own.shape[1]) >= n_train, len(own))
        parts = [data._replace(role=np.where(late, WATCH, data.role))]
        if self.plan.hot_tau > 1:
            hot = self._chains(run, "metropolis hot", n_chains=HOT_CHAINS, tau=self.plan.hot_tau)
            parts.append(Dataset.of_chains(hot, first=len(own), tau=self.plan.hot_tau))
        concatenate(parts, self.evaluations).save(run)

    def _chains(self, run: Run, stream: str, *, n_chains: int, tau: float) -> np.ndarray:
        """Frames ``(regions * n_chains, n_frames, 2)`` of ``n_chains`` chains in each region."""
        target, plan = make_target(self.system), self.plan
        chains = [
            metropolis(
                jax.random.fold_in(run.key(stream), i),
                restrict(target, contains),
                np.repeat(self.system.start[i : i + 1], n_chains, axis=0),
                step=plan.step * tau**0.5,
                n_steps=plan.n_steps,
                stride=plan.stride * n_chains,
                tau=tau,
            )
            for i, contains in enumerate(self.regions)
        ]
        return np.concatenate(chains)
