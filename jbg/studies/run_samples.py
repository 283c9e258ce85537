"""Weighted samples as users hold them: batch first, writable, with what mdtraj, pandas and others take."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from jbg import reweighting
from jbg.interfaces import ConfigError
from jbg.runs.extras import optional


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RunSamples:
    """Samples of a trained flow with the weights that make them of the Boltzmann distribution.

    Attributes:
        positions: ``(n, atoms, 3)`` in nm for molecules, else ``(n, dim)``; writable, and nothing that is written
            here reaches the run folder.
        log_q: ln q of the flow, ``(n,)``.
        u: reduced energy u(x) in kT, ``(n,)``, not softened.
        log_weights: ln w = -u/tau - ln q, ``(n,)``; -inf where a sample has no weight.
        tau: relative temperature.
        pdb: topology of a molecule; None for other systems.
    """

    positions: np.ndarray
    log_q: np.ndarray
    u: np.ndarray
    log_weights: np.ndarray
    tau: float = 1.0
    pdb: Path | None = None

    def __len__(self) -> int:
        return len(self.log_weights)

    @functools.cached_property
    def weights(self) -> np.ndarray:
        """The weights ``(n,)``, whose sum is 1."""
        w = reweighting.relative_weights(self.log_weights)
        return w / w.sum()

    @property
    def ess_fraction(self) -> float:
        """Kish's effective sample size as a share of the samples."""
        return reweighting.ess_fraction(self.log_weights)

    def take(self, rows: Any) -> "RunSamples":
        """The samples of an index, a slice or a mask."""
        parts = ("positions", "log_q", "u", "log_weights")
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in parts})

    def resampled(self, n: int, *, seed: int = 0) -> "RunSamples":
        """``n`` samples drawn by weight, in random order, which need no weights any more.

        Raises:
            RunError: no sample has a weight.
        """
        rng = np.random.default_rng(seed)
        rows = reweighting.resample(rng, self.log_weights, n)
        return dataclasses.replace(self.take(rng.permutation(rows)), log_weights=np.zeros(n))

    def to_mdtraj(self) -> Any:
        """The configurations as an ``mdtraj.Trajectory``; their weights are ``weights``.

        Raises:
            ConfigError: a system without atoms.
        """
        if self.pdb is None:
            raise ConfigError("to_mdtraj: the system has no atoms; use positions (n, dim)")
        import mdtraj

        topology = mdtraj.load(str(self.pdb)).topology
        return mdtraj.Trajectory(np.array(self.positions, np.float32), topology)

    def dataframe(self) -> Any:
        """One row for each sample: ``u``, ``log_q``, ``log_weight``, ``weight``; as a pandas DataFrame.

        Raises:
            ConfigError: pandas is not installed.
        """
        pandas = optional("pandas", "dataframe()")
        return pandas.DataFrame(
            {
                "u": np.asarray(self.u),
                "log_q": np.asarray(self.log_q),
                "log_weight": self.log_weights,
                "weight": self.weights,
            }
        )

    def to_arviz(self, n: int = 1000, *, seed: int = 0) -> Any:
        """``n`` samples drawn by weight as ArviZ's InferenceData: a chain of ``positions``, with ``lp`` = -u and
        ``log_q`` beside.

        Raises:
            ConfigError: ArviZ is not installed.
        """
        arviz = optional("arviz", "to_arviz()")
        drawn = self.resampled(n, seed=seed)
        groups = {
            "posterior": {"positions": np.array(drawn.positions)[None]},
            "sample_stats": {
                "lp": -np.array(drawn.u)[None] / self.tau,
                "log_q": np.array(drawn.log_q)[None],
            },
        }
        old = int(arviz.__version__.split(".")[0]) < 1  # since 1.0 the groups are one argument
        return arviz.from_dict(**groups) if old else arviz.from_dict(groups)
