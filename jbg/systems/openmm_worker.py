"""One process with one OpenMM context; a program of its own, started by `openmm_processes`, that imports no JAX.

    python openmm_worker.py PLATFORM SHARED_MEMORY N_ATOMS CAPACITY

The first line of stdin is the System's XML, as JSON. The shared memory holds, in float64, positions
(capacity, atoms, 3), energies (capacity,) and forces (capacity, atoms, 3). A line "first last forces" asks for
configurations first <= i < last, with forces if 1; "done" answers it. The end of stdin ends the process, so that
none outlives its parent.
"""

import json
import os
import signal
import sys
from multiprocessing import resource_tracker, shared_memory

import numpy as np
import openmm


def shared_arrays(memory: shared_memory.SharedMemory, capacity: int, n_atoms: int) -> tuple:
    """Positions, energies and forces in the shared memory."""
    sizes = ((capacity, n_atoms, 3), (capacity,), (capacity, n_atoms, 3))
    arrays, offset = [], 0
    for shape in sizes:
        arrays.append(np.ndarray(shape, np.float64, memory.buf, offset))
        offset += 8 * int(np.prod(shape))
    return tuple(arrays)


def shared_bytes(capacity: int, n_atoms: int) -> int:
    return 8 * capacity * (6 * n_atoms + 1)


def _evaluate(context: openmm.Context, arrays: tuple, indices: range, *, forces: bool) -> None:
    """NaN wherever OpenMM refuses a configuration."""
    x, energy, force = arrays
    for i in indices:
        energy[i] = np.nan
        if forces:
            force[i] = np.nan
        if not np.isfinite(x[i]).all():
            continue
        try:
            context.setPositions(x[i])
            state = context.getState(energy=True, forces=forces)
        except openmm.OpenMMException:
            continue
        # the public getters spend 10 us a call on units
        energy[i] = openmm._openmm.State_getPotentialEnergy(state)
        if forces:
            state._getVectorAsNumpy(state.Forces, force[i])


def protocol():
    """Standard output kept for answers: whatever else prints goes to the error stream."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return lambda line: answers.write(line + "\n")


def _main(platform: str, name: str, n_atoms: int, capacity: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to answer; the end of stdin ends us
    answer = protocol()
    system = openmm.XmlSerializer.deserialize(json.loads(sys.stdin.readline()))
    context = openmm.Context(
        system,
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName(platform),
        {"Threads": "1"} if platform == "CPU" else {},
    )
    memory = shared_memory.SharedMemory(name)
    # the parent owns it: the tracker of this process would unlink it a second time; its name there has a slash
    # in front, which the public one lacks
    resource_tracker.unregister(memory._name, "shared_memory")  # pyright: ignore[reportAttributeAccessIssue]
    arrays = shared_arrays(memory, capacity, n_atoms)
    answer("ready")
    for line in sys.stdin:
        first, last, forces = map(int, line.split())
        _evaluate(context, arrays, range(first, last), forces=bool(forces))
        answer("done")
    del arrays
    memory.close()


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
