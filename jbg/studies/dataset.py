"""Simulated configurations with their metadata: the one schema of ``data/frames.npz``."""

from typing import NamedTuple

import numpy as np

from jbg.interfaces import ConfigError
from jbg.runs import Run

FRAMES = "data/frames.npz"
# roles: training data, held out to choose parameters, set aside for estimates
LEARN, WATCH, ASIDE = 0, 1, 2
REPAIR = "choose another --out and simulate again"


class Dataset(NamedTuple):
    """Configurations of independent chains; rows of one chain are in order of time, batch first.

    ``role`` is LEARN, WATCH (held out to choose parameters) or ASIDE (used by estimates alone); ``u`` is the
    reduced energy u(x), NaN where it was not kept; ``walker`` numbers the trajectory within the replica exchange
    of the chain, -1 where there is none. ``weight`` is 1 for frames of the ensemble itself; other weights turn
    averages over the frames of a biased simulation into those of the ensemble.
    """

    x: np.ndarray  # (n, dim) float
    chain: np.ndarray  # (n,) int
    tau: np.ndarray  # (n,) float64, relative temperature
    role: np.ndarray  # (n,) int
    u: np.ndarray  # (n,) float
    walker: np.ndarray  # (n,) int
    weight: np.ndarray  # (n,) float64, of mean 1
    evaluations: int = 0  # energies spent on all of it

    @classmethod
    def of_chains(cls, x: np.ndarray, *, first: int = 0, tau: float = 1.0) -> "Dataset":
        """All rows of chains ``(n_chains, n_frames, dim)``, numbered from ``first``, to learn from."""
        n_chains, n_frames, dim = x.shape
        n = n_chains * n_frames
        return cls(
            x=x.reshape(n, dim),
            chain=np.repeat(np.arange(first, first + n_chains), n_frames),
            tau=np.full(n, tau, float),
            role=np.full(n, LEARN),
            u=np.full(n, np.nan),
            walker=np.full(n, -1),
            weight=np.ones(n),
        )

    @property
    def weighted(self) -> bool:
        """Whether the frames are of a biased simulation."""
        return bool(np.any(self.weight != 1))

    @property
    def n_chains(self) -> int:
        return len(np.unique(self.chain))

    def where(self, rows: np.ndarray) -> "Dataset":
        """The rows of a mask ``(n,)``."""
        return self._replace(**{name: getattr(self, name)[rows] for name in PER_ROW})

    def at(self, tau: float) -> "Dataset":
        """The rows of a relative temperature."""
        return self.where(self.tau == tau)

    def by_chain(self) -> np.ndarray:
        """Indices of the rows ``(n_chains, n_frames)``, chains in the order of their numbers.

        Raises:
            ValueError: chains of different lengths.
        """
        chains, counts = np.unique(self.chain, return_counts=True)
        if len(set(counts.tolist())) > 1:
            raise ValueError(
                f"every chain must have as many frames, got {counts.min()} to {counts.max()}"
            )
        return np.argsort(self.chain, kind="stable").reshape(len(chains), -1)

    def save(self, run: Run) -> None:
        run.save_arrays(FRAMES, **self._asdict())


PER_ROW = Dataset._fields[:-1]


def concatenate(parts: list[Dataset], evaluations: int) -> Dataset:
    """The rows of all parts, with the total number of energies spent."""
    arrays = [np.concatenate([getattr(part, name) for part in parts]) for name in PER_ROW]
    return Dataset(*arrays, evaluations=evaluations)


def load_dataset(run: Run) -> Dataset:
    """The data that the source of a run wrote.

    Raises:
        ConfigError: missing, damaged, or written by another version of jbg.
    """
    arrays = run.load_arrays(FRAMES)
    if set(arrays) != set(Dataset._fields):
        raise ConfigError(f"{run.path / FRAMES} was written by another version of jbg: {REPAIR}")
    what = _damage(arrays)
    if what:
        raise ConfigError(f"{run.path / FRAMES} is damaged ({what}): {REPAIR}")
    rows = {name: arrays[name] for name in PER_ROW}
    return Dataset(**rows, evaluations=int(arrays["evaluations"]))


def _damage(arrays: dict[str, np.ndarray]) -> str:
    """What is wrong with the arrays of a file, empty where nothing is."""
    x, spent = arrays["x"], arrays["evaluations"]
    if x.ndim != 2 or not len(x) or not np.isfinite(x).all():
        return "positions"
    wrong = [name for name in PER_ROW[1:] if arrays[name].shape != (len(x),)]
    if wrong:
        return f"{', '.join(wrong)} for {len(x)} frames"
    return "evaluations" if spent.ndim or spent.dtype.kind not in "iu" else ""
