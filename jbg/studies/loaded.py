"""A run as a Python object: its flow to draw from and to evaluate, its samples, its numbers."""

import functools
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from jbg.analysis import FreeEnergyDifference, free_energy_difference
from jbg.interfaces import ConfigError, check_count
from jbg.runs import Run, check_seed, load_run
from jbg.sampling.generate import Ensemble
from jbg.studies import engine
from jbg.studies.evidence import weigh
from jbg.studies.problem import Problem
from jbg.studies.run_samples import RunSamples
from jbg.studies.study import Plan
from jbg.studies.trained import load_trained

PDB = "data/molecule.pdb"  # of runs with atoms

# a state: its name, a function of positions -> (n,) bool, or whether each sample lies in it
StateLike = str | Callable[[np.ndarray], ArrayLike] | ArrayLike


def load(path: str | Path) -> "LoadedRun":
    """The run in a folder, to draw from, evaluate and analyse.

    What is not there yet, such as the samples of a run that was only trained, is refused where it is asked for,
    with the command that makes it.

    Raises:
        ConfigError: not a run folder of a study, or one that was damaged or changed by hand.
    """
    run = load_run(path)
    return LoadedRun(run, engine.plan_of(run))


class LoadedRun:
    """A run in a folder, from `load`.

    Attributes:
        folder: its files (`jbg.runs.Run`).
        plan: every setting.
    """

    def __init__(self, folder: Run, plan: Plan):
        self.folder, self.plan = folder, plan

    def __repr__(self) -> str:
        return f"<jbg run of {self.plan.study}, seed {self.plan.seed}, in {self.folder.path}>"

    @functools.cached_property
    def problem(self) -> Problem:
        """System, target, coordinates and flow."""
        return engine.load_problem(self.folder)

    @functools.cached_property
    def params(self) -> Any:
        """The parameters of the trained generator of x, ``problem.generator``."""
        return load_trained(self.folder, self.plan, self.problem, here=False), ()

    @property
    def results(self) -> dict[str, Any]:
        """What ``results.json`` holds (docs/numbers.md).

        Raises:
            ConfigError: not evaluated yet.
        """
        if not self.folder.holds(engine.RESULTS):
            here = shlex.quote(str(self.folder.path))
            raise ConfigError(f"{self.folder.path} has no results yet: run `jbg evaluate {here}`")
        return self.folder.read_json(engine.RESULTS)

    @functools.cached_property
    def samples(self) -> RunSamples:
        """The samples at tau = 1 that the run has on disk; their positions are read as they are used.

        Raises:
            ConfigError: not sampled yet.
        """
        return self.samples_at(1.0)

    def samples_at(self, tau: float) -> RunSamples:
        """The samples that the run has at a relative temperature.

        Raises:
            ConfigError: the run sampled another, or did not sample yet.
        """
        if tau not in self.plan.sampling.taus:
            known = ", ".join(f"{each:g}" for each in self.plan.sampling.taus)
            raise ConfigError(f"{self.folder.path} has samples at tau {known}, not {tau:g}")
        problem, stored = self.problem, engine.load_ensemble(self.folder, Ensemble(tau))
        log_w = weigh(problem, stored, tau).log_w
        # a private copy, page by page where something is written
        path = self.folder.path / Ensemble(tau).folder / "positions.npy"
        positions = np.load(path, mmap_mode="c")[: len(log_w)]
        return self._samples(
            positions, np.array(stored.log_q), np.array(stored.reduced_energy), log_w, tau
        )

    @property
    def log_weights(self) -> np.ndarray:
        """ln w of ``samples``, ``(n,)``."""
        return self.samples.log_weights

    @property
    def weights(self) -> np.ndarray:
        """The weights of ``samples``, ``(n,)``, whose sum is 1."""
        return self.samples.weights

    def sample(self, n: int, *, seed: int = 0, tau: float = 1.0) -> RunSamples:
        """``n`` fresh samples of the flow with their weights; the same for the same seed.

        Args:
            n: number of samples.
            seed: of their random numbers; no seed gives the samples of the run itself.
            tau: relative temperature.

        Raises:
            ConfigError: not trained yet, or no number of samples.
            RunError: no sample has a finite energy.
        """
        check_count(n, "sample")
        check_seed(seed)
        key = jax.random.fold_in(self.folder.key("loaded"), np.uint32(seed))
        found = self.problem.draw(key, self.params, n, tau)
        return self._samples(np.array(found.frames), found.log_q, found.u, found.log_w, tau)

    def log_prob(self, x: Any, *, tau: float = 1.0) -> np.ndarray:
        """ln q ``(n,)`` of the flow at configurations of yours.

        Args:
            x: ``(n, atoms, 3)`` in nm or ``(n, dim)``, or an mdtraj trajectory.
            tau: relative temperature of the flow.

        Raises:
            ConfigError: not trained yet, or configurations of another shape or molecule.
        """
        return self.problem.log_probs(self.params, self._flat(x), (tau,))[0]

    def reduced_energy(self, x: Any) -> np.ndarray:
        """u(x) in kT ``(n,)`` of configurations as `log_prob` takes them."""
        return self.problem.reduced_energies(self._flat(x))

    def free_energy_difference(
        self, a: StateLike, b: StateLike, *, seed: int = 0
    ) -> FreeEnergyDifference:
        """F(b) - F(a) in kT at tau = 1: of two states that the run reports, the number in its results; else by
        reweighting its samples.

        Args:
            a: the name of a state of the system; a function of the positions ``(n, atoms, 3)`` or ``(n, dim)``
                that says which lie in the state, ``(n,)`` bool; or such an array.
            b: the other state.
            seed: of the draws that the interval is made of.

        Raises:
            ConfigError: no such state, or not ``(n,)`` bool.
        """
        reported = self._reported(a, b)
        if reported is not None:
            return reported
        inside = [self._inside(state) for state in (a, b)]
        return free_energy_difference(self.log_weights, *inside, seed=seed)

    def u_kn(self, temperatures: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Reduced energies and numbers of samples for pymbar: ``pymbar.MBAR(*run.u_kn([280, 300, 320]))``.

        Args:
            temperatures: K for molecules, relative temperatures for systems in kT.

        Returns:
            ``(1 + K, n)``: -ln q of ``samples``, which is what they were drawn from, then u at each temperature;
            and ``(1 + K,)``: n, then zeros.

        Raises:
            ConfigError: a temperature that is not positive.
        """
        at = np.asarray(temperatures, float)
        if at.ndim != 1 or not at.size or not (np.isfinite(at) & (at > 0)).all():
            raise ConfigError(
                f"u_kn: expected positive temperatures [280, 300], got {temperatures}"
            )
        own = getattr(self.plan.options, "temperature", 1.0)
        # a sample without weight has none at any temperature
        u = np.where(np.isfinite(self.log_weights), np.float64(self.samples.u), np.inf)
        drawn_from = -np.asarray(self.samples.log_q, np.float64)
        rows = np.concatenate([drawn_from[None], own / at[:, None] * u])
        return rows, np.array([len(u)] + [0] * len(at))

    def dataframe(self) -> Any:
        """One row for each of ``samples``: energies, weights, and whether it lies in each state; with pandas.

        Raises:
            ConfigError: pandas is not installed, or not sampled yet.
        """
        frame = self.samples.dataframe()
        for state in self.problem.system.states:
            frame[state.name] = self._inside(state.name)
        return frame

    def to_arviz(self, n: int = 1000, *, seed: int = 0) -> Any:
        """``n`` of ``samples`` drawn by weight as ArviZ's InferenceData (`RunSamples.to_arviz`)."""
        return self.samples.to_arviz(n, seed=seed)

    @functools.cached_property
    def _pdb(self) -> Path | None:
        return self.folder.verify(PDB) if self.problem.system.topology is not None else None

    def _samples(self, positions, log_q, u, log_w, tau: float) -> RunSamples:
        topology = self.problem.system.topology
        shaped = positions if topology is None else positions.reshape(-1, topology.n_atoms, 3)
        return RunSamples(
            positions=shaped, log_q=log_q, u=u, log_weights=log_w, tau=tau, pdb=self._pdb
        )

    def _flat(self, x: Any) -> np.ndarray:
        """``(n, dim)`` of configurations as users hold them."""
        system = self.problem.system
        topology, dim = system.topology, system.dim
        expected = (
            f"(n, {dim})" if topology is None else f"(n, {topology.n_atoms}, 3) or (n, {dim})"
        )
        if hasattr(x, "xyz") and topology is not None:
            symbols = tuple(a.element.symbol if a.element else "" for a in x.topology.atoms)
            if symbols != topology.elements:
                raise ConfigError(
                    f"the trajectory has other atoms than {system.name}, or in another order: expected "
                    f"{topology.n_atoms} as in data/molecule.pdb, got {len(symbols)}"
                )
            x = x.xyz
        x = np.asarray(x, np.float32)
        shapes = [(dim,)] + ([(topology.n_atoms, 3)] if topology is not None else [])
        if x.shape[1:] not in shapes:
            hint = ": pass x.T" if x.shape[:1] == (dim,) and x.ndim == 2 else ""
            raise ConfigError(f"expected configurations {expected}, got {x.shape}{hint}")
        return x.reshape(-1, dim)

    def _inside(self, state: StateLike) -> np.ndarray:
        samples = self.samples
        if isinstance(state, str):
            states = {each.name: each for each in self.problem.system.states}
            if state not in states:
                raise ConfigError(f"no state {state!r}: choose {', '.join(states) or 'a function'}")
            flat = samples.positions.reshape(len(samples), -1)
            return np.asarray(states[state].contains(flat.T), bool)
        found = np.asarray(state(samples.positions) if callable(state) else state)
        if found.shape != (len(samples),) or found.dtype != bool:
            raise ConfigError(
                f"a state says which samples lie in it: expected ({len(samples)},) of bool, got {found.shape} of "
                f"{found.dtype}"
            )
        return found

    def _reported(self, a: StateLike, b: StateLike) -> FreeEnergyDifference | None:
        """The difference of two states as the results have it, None where they do not."""
        if not (isinstance(a, str) and isinstance(b, str) and self.folder.holds(engine.RESULTS)):
            return None
        for entry in self.results.get("free_energy_differences", []):
            if entry["tau"] != 1.0 or {a, b} != set(entry["states"]) or a == b:
                continue
            sign = 1.0 if [a, b] == entry["states"] else -1.0
            value, ends = entry["value"], entry["interval95"]
            return FreeEnergyDifference(
                value if value is None else sign * value,
                entry["stderr"],
                (min(sign * e for e in ends), max(sign * e for e in ends)) if ends else None,
                entry.get("reason"),
            )
        return None
