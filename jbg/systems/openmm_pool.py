"""Many OpenMM contexts behind one batched, stateless interface on numpy arrays.

A pool of threads, one context each: OpenMM releases Python's lock while it computes. Positions,
velocities and forces live in numpy, never in a context, so any worker may take any configuration,
and results depend neither on the number of workers nor on what was computed before. No OpenMM
random numbers are used: the Reference platform draws them from one generator for the whole
process.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openmm

_REFERENCE_UP_TO = 100  # atoms; Reference is faster below (no per-call thread hand-over), CPU above
_STEP_PS = 0.001  # of contexts that only evaluate energies; leapfrog sets its own
_MD_FAILED = openmm.OpenMMException


class ContextPool:
    """Energies, forces and leapfrog steps of one System, in parallel.

    Configurations are batch first ``(B, atoms, 3)`` in nm, float64; energies kJ/mol, forces
    kJ/mol/nm, velocities nm/ps, masses dalton. Bad geometry gives nan, never an exception.

    Args:
        system_xml: a serialised ``openmm.System``.
        platform: OpenMM platform name; None takes Reference for small systems, else CPU. See
            :func:`jbg.systems.openmm_probe.probe`.
        n_workers: threads; None takes one per usable core.
        masses: (atoms,) positive, replaces the System's own in :meth:`leapfrog` (configurations do
            not depend on masses, speed does).

    Raises:
        ValueError: no such platform, no workers, or masses that are not positive.
    """

    def __init__(
        self,
        system_xml: str,
        *,
        platform: str | None = None,
        n_workers: int | None = None,
        masses: np.ndarray | None = None,
    ):
        system = openmm.XmlSerializer.deserialize(system_xml)
        self.n_atoms = system.getNumParticles()
        self.platform = platform or default_platform(self.n_atoms)
        self.n_workers = usable_cores() if n_workers is None else n_workers
        if self.platform not in available_platforms():
            raise ValueError(
                f"ContextPool: no platform {self.platform!r}; have {available_platforms()}"
            )
        if self.n_workers < 1:
            raise ValueError(f"ContextPool: n_workers must be at least 1, got {self.n_workers}")
        if masses is not None:
            _set_masses(system, masses)
        self.masses = np.array([system.getParticleMass(i)._value for i in range(self.n_atoms)])
        self._system_xml = openmm.XmlSerializer.serialize(system)
        self._local = threading.local()
        self._threads = ThreadPoolExecutor(self.n_workers, thread_name_prefix="jbg-openmm")

    def energies(self, x: np.ndarray) -> np.ndarray:
        """Potential energies ``(B,)`` in kJ/mol of ``x`` (B, atoms, 3)."""
        x = self._checked(x)
        energy = np.full(len(x), np.nan)

        def one(context: openmm.Context, i: int) -> None:
            context.setPositions(x[i])
            energy[i] = _energy(context.getState(energy=True, groups=-1))

        self._each(one, _usable(x))
        return energy

    def energies_and_forces(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies ``(B,)`` and forces -dU/dx ``(B, atoms, 3)`` of ``x`` (B, atoms, 3)."""
        x = self._checked(x)
        energy, force = np.full(len(x), np.nan), np.full(x.shape, np.nan)

        def one(context: openmm.Context, i: int) -> None:
            context.setPositions(x[i])
            state = context.getState(energy=True, forces=True, groups=-1)
            energy[i] = _energy(state)
            state._getVectorAsNumpy(state.Forces, force[i])

        self._each(one, _usable(x))
        return energy, force

    def leapfrog(
        self, x: np.ndarray, v: np.ndarray, f: np.ndarray, dt_ps: float, n_steps: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """``n_steps`` of velocity Verlet for each of B independent replicas.

        OpenMM's Verlet integrator keeps velocities half a step behind, so they are moved half a
        step back before it, and half a step forward after:  v -+ (dt/2) f/m.

        Args:
            x: positions (B, atoms, 3).
            v: velocities at the same time, nm/ps.
            f: forces at ``x``, as :meth:`energies_and_forces` returns them.
            dt_ps: time step in ps.
            n_steps: number of steps.

        Returns:
            Positions, velocities, energies ``(B,)`` and forces at the end; nan where a replica
            blew up.
        """
        x, v, f = self._checked(x), self._checked(v), self._checked(f)
        half = 0.5 * dt_ps / self.masses[:, None]
        start = v - half * f
        energy = np.full(len(x), np.nan)
        x_new, v_new, f_new = (np.full(x.shape, np.nan) for _ in range(3))

        def one(context: openmm.Context, i: int) -> None:
            integrator = context.getIntegrator()
            integrator.setStepSize(dt_ps)
            context.setPositions(x[i])
            context.setVelocities(start[i])
            integrator.step(n_steps)
            state = context.getState(
                energy=True, forces=True, positions=True, velocities=True, groups=-1
            )
            energy[i] = _energy(state)
            state._getVectorAsNumpy(state.Positions, x_new[i])
            state._getVectorAsNumpy(state.Velocities, v_new[i])
            state._getVectorAsNumpy(state.Forces, f_new[i])

        self._each(one, _usable(x) & _usable(start))
        return x_new, v_new + half * f_new, energy, f_new

    def close(self) -> None:
        """End the threads; not needed at exit, or when the pool is garbage."""
        self._threads.shutdown()

    def __enter__(self) -> "ContextPool":
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def _checked(self, x: np.ndarray) -> np.ndarray:
        x = np.ascontiguousarray(x, np.float64)
        if x.ndim != 3 or x.shape[1:] != (self.n_atoms, 3):
            raise ValueError(f"ContextPool: expected shape (B, {self.n_atoms}, 3), got {x.shape}")
        return x

    def _each(self, one: Callable[[openmm.Context, int], None], usable: np.ndarray) -> None:
        """Call ``one(context, i)`` for each usable i; workers draw i from one shared iterator."""
        indices = iter(np.flatnonzero(usable).tolist())

        def work() -> None:
            context = self._context()
            for i in indices:
                try:
                    one(context, i)
                except _MD_FAILED:  # "Particle coordinate is NaN": what was not written stays nan
                    continue

        n_tasks = min(self.n_workers, int(usable.sum()))
        for task in [self._threads.submit(work) for _ in range(n_tasks)]:
            task.result()

    def _context(self) -> openmm.Context:
        """This thread's own context, built on first use."""
        if not hasattr(self._local, "context"):
            self._local.context = openmm.Context(
                openmm.XmlSerializer.deserialize(self._system_xml),
                openmm.VerletIntegrator(_STEP_PS),
                openmm.Platform.getPlatformByName(self.platform),
                {"Threads": "1"} if self.platform == "CPU" else {},
            )
        return self._local.context


def available_platforms() -> list[str]:
    """Names of the OpenMM platforms of this installation."""
    return [
        openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())
    ]


def default_platform(n_atoms: int) -> str:
    """Platform to take when nothing was timed."""
    return "Reference" if n_atoms <= _REFERENCE_UP_TO else "CPU"


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _usable(x: np.ndarray) -> np.ndarray:
    """``(B,)``, whether everything of a configuration is finite."""
    return np.all(np.isfinite(x), axis=(1, 2))


def _energy(state: openmm.State) -> float:
    """kJ/mol. As with ``_getVectorAsNumpy``: the public getters spend 10 us a call on units."""
    return openmm._openmm.State_getPotentialEnergy(state)


def _set_masses(system: openmm.System, masses: np.ndarray) -> None:
    masses = np.asarray(masses, float)
    if masses.shape != (system.getNumParticles(),) or not (masses > 0).all():
        raise ValueError(
            f"ContextPool: masses must be {system.getNumParticles()} positive numbers, got {masses}"
        )
    for i, mass in enumerate(masses):
        system.setParticleMass(i, float(mass))
