"""OpenMM contexts in processes of their own: no lock of Python's is shared, batches go through shared memory.

A call for one configuration of a small molecule spends as long in Python as in OpenMM, so that threads
(`openmm_pool.ContextPool`) wait for each other; processes do not.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import weakref
from multiprocessing import shared_memory
from pathlib import Path
from typing import IO

import numpy as np
import openmm

from jbg.systems import openmm_worker
from jbg.systems.openmm_pool import available_platforms, default_platform, usable_cores

CAPACITY_MIB = 8.0  # of shared memory
WORKER = Path(openmm_worker.__file__)


class ProcessPool:
    """Energies and forces of one System in parallel processes, each with one context of one thread.

    Configurations are batch first ``(B, atoms, 3)`` in nm, float64; energies kJ/mol, forces kJ/mol/nm. Bad
    geometry gives nan, never an exception. Results do not depend on the number of workers. The processes end with
    `close`, with the pool, or with this process, however it ends.

    Args:
        system_xml: a serialised ``openmm.System``.
        platform: OpenMM platform name; None takes Reference for small systems, else CPU.
        n_workers: processes; None starts one for each usable core.

    Raises:
        ValueError: no such platform, or no workers.
        RuntimeError: a process that does not start, or dies; no shared memory.
    """

    def __init__(
        self, system_xml: str, *, platform: str | None = None, n_workers: int | None = None
    ):
        self.n_atoms = openmm.XmlSerializer.deserialize(system_xml).getNumParticles()
        self.platform = platform or default_platform(self.n_atoms)
        self.n_workers = usable_cores() if n_workers is None else n_workers
        if self.platform not in available_platforms():
            raise ValueError(
                f"ProcessPool: no platform {self.platform!r}; have {available_platforms()}"
            )
        if self.n_workers < 1:
            raise ValueError(f"ProcessPool: n_workers must be at least 1, got {self.n_workers}")
        one = openmm_worker.shared_bytes(1, self.n_atoms)
        self._capacity = max(1, int(CAPACITY_MIB * 2**20 / one))
        self._memory = _reserved(self._capacity * one)
        self._lock = threading.Lock()  # with several devices JAX calls from several threads
        self._arrays = openmm_worker.shared_arrays(self._memory, self._capacity, self.n_atoms)
        arguments = [self.platform, self._memory.name, str(self.n_atoms), str(self._capacity)]
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-P", str(WORKER), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
            for _ in range(self.n_workers)
        ]
        self._end = weakref.finalize(self, _end, self._processes, self._memory)
        self._owed = dict.fromkeys(self._processes, 0)  # answers asked for and not read yet
        for process in self._processes:
            self._tell(process, json.dumps(system_xml))
        self._collect("ready")

    def energies(self, x: np.ndarray) -> np.ndarray:
        """Potential energies ``(B,)`` in kJ/mol of ``x`` (B, atoms, 3)."""
        x = self._checked(x)
        energy = np.empty(len(x))
        self._evaluate(x, energy, None)
        return energy

    def energies_and_forces(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies ``(B,)`` and forces -dU/dx ``(B, atoms, 3)`` of ``x`` (B, atoms, 3)."""
        x = self._checked(x)
        energy, force = np.empty(len(x)), np.empty(x.shape)
        self._evaluate(x, energy, force)
        return energy, force

    def close(self) -> None:
        """End the processes; not needed at exit, or when the pool is garbage."""
        self._arrays = ()
        self._end()

    def __enter__(self) -> "ProcessPool":
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def _checked(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, np.float64)
        if x.ndim != 3 or x.shape[1:] != (self.n_atoms, 3):
            raise ValueError(f"ProcessPool: expected shape (B, {self.n_atoms}, 3), got {x.shape}")
        return x

    def _evaluate(self, x: np.ndarray, energy: np.ndarray, force: np.ndarray | None) -> None:
        """Fills ``energy`` and, unless None, ``force``."""
        with self._lock:
            self._collect("done")  # of a call that was interrupted
            self._in_parts(x, energy, force)

    def _in_parts(self, x: np.ndarray, energy: np.ndarray, force: np.ndarray | None) -> None:
        if not self._arrays:
            raise RuntimeError("ProcessPool: closed")
        positions, energies, all_forces = self._arrays
        for start in range(0, len(x), self._capacity):
            part = slice(start, min(start + self._capacity, len(x)))
            n = part.stop - part.start
            positions[:n] = x[part]
            self._share_out(n, forces=force is not None)
            energy[part] = energies[:n]
            if force is not None:
                force[part] = all_forces[:n]

    def _share_out(self, n: int, *, forces: bool) -> None:
        """Equal contiguous shares."""
        edges = np.linspace(0, n, min(n, self.n_workers) + 1).astype(int)
        for process, first, last in zip(self._processes, edges, edges[1:], strict=False):
            self._tell(process, f"{first} {last} {int(forces)}")
        self._collect("done")

    def _tell(self, process: subprocess.Popen, line: str) -> None:
        self._owed[process] += 1
        with contextlib.suppress(BrokenPipeError, ValueError):  # `_collect` says so
            orders, _ = _pipes(process)
            orders.write(line + "\n")
            orders.flush()

    def _collect(self, answer: str) -> None:
        """Waits until nothing is owed; lines that are no answer were printed by something else."""
        for process in self._processes:
            _, answers = _pipes(process)
            while self._owed[process] and not answers.closed:
                line = answers.readline()
                if line.strip() == answer:
                    self._owed[process] -= 1
                elif not line:
                    process.kill()
                    raise RuntimeError(
                        f"ProcessPool: an OpenMM process ended with status {process.wait()}; its message is above"
                    )


def _pipes(process: subprocess.Popen) -> tuple[IO[str], IO[str]]:
    """What it reads from and what it writes to."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("ProcessPool: a process was started without pipes")
    return process.stdin, process.stdout


def _reserved(size: int) -> shared_memory.SharedMemory:
    """Shared memory that is there: a file system that is too small would end the process at its first touch."""
    memory = shared_memory.SharedMemory(create=True, size=size)
    try:
        if hasattr(os, "posix_fallocate"):
            # the standard library offers no other way to the file, and its stubs leave it out
            os.posix_fallocate(memory._fd, 0, size)  # pyright: ignore[reportAttributeAccessIssue]
    except OSError as error:
        memory.close()
        memory.unlink()
        raise RuntimeError(f"ProcessPool: no {size} bytes of shared memory: {error}") from error
    return memory


def _end(processes: list[subprocess.Popen], memory: shared_memory.SharedMemory) -> None:
    for process in processes:
        with contextlib.suppress(BrokenPipeError):
            _pipes(process)[0].close()
    for process in processes:
        try:
            process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _pipes(process)[1].close()
    with contextlib.suppress(BufferError):
        memory.close()
    with contextlib.suppress(FileNotFoundError):
        memory.unlink()
