"""The fastest way to ask OpenMM for energies on this machine: platform, threads or processes, how many."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jbg.systems.openmm_pool import ContextPool, usable_cores
from jbg.systems.openmm_processes import ProcessPool

POOLS = {"threads": ContextPool, "processes": ProcessPool}


def probe(
    system_xml: str,
    positions: np.ndarray,
    *,
    platforms: Sequence[str] = ("Reference", "CPU"),
    seconds: float = 1.0,
) -> dict[str, Any]:
    """The fastest platform, kind and number of workers for energies and forces, by a short timing.

    Trajectories (`ContextPool.leapfrog`) leave Python alone for longer: they gain from all cores as threads.

    Args:
        system_xml: a serialised ``openmm.System``.
        positions: (atoms, 3) nm, any sane configuration.
        platforms: those to try.
        seconds: time for each platform, shared by the pools tried: threads (1, 2, 4, ... cores), and a process for
            each core.

    Returns:
        A plain dict ``{"platform", "workers": "threads" or "processes", "n_workers", "evaluations_per_second":
        {"Reference x 4 threads": ...}}`` for the manifest; `open_pool` takes it.
    """
    cores = usable_cores()
    counts = sorted({1, cores} | {2**k for k in range(1, cores.bit_length()) if 2**k <= cores})
    kinds = [("threads", n) for n in counts] + [("processes", cores)] * (cores > 1)
    speeds = {}
    for platform in platforms:
        for workers, n_workers in kinds:
            choice = {"platform": platform, "workers": workers, "n_workers": n_workers}
            try:
                pool = open_pool(system_xml, choice)
            except (OSError, RuntimeError):
                # no shared memory here, or no processes: threads remain
                if workers == "threads":
                    raise
                continue
            with pool:
                rate = _speed(pool, positions, seconds / len(kinds))
                speeds[platform, workers, n_workers] = rate
    platform, workers, n_workers = max(speeds, key=speeds.__getitem__)
    return {
        "platform": platform,
        "workers": workers,
        "n_workers": n_workers,
        "evaluations_per_second": {
            f"{name} x {n} {kind}": round(v, 1) for (name, kind, n), v in speeds.items()
        },
    }


def open_pool(system_xml: str, choice: Mapping[str, Any]) -> ContextPool | ProcessPool:
    """The pool that `probe` chose; runs made before there were processes say nothing of the kind."""
    pool = POOLS[choice.get("workers", "threads")]
    return pool(system_xml, platform=choice["platform"], n_workers=choice["n_workers"])


def _speed(pool: ContextPool | ProcessPool, positions: np.ndarray, seconds: float) -> float:
    """Evaluations of energy and forces per second, in batches of about a fifth of ``seconds``."""
    one = np.asarray(positions, float)[None]
    pool.energies_and_forces(np.repeat(one, 2 * pool.n_workers, axis=0))  # builds the contexts
    start = time.perf_counter()
    pool.energies_and_forces(one)
    n_batch = max(pool.n_workers, int(0.2 * seconds / (time.perf_counter() - start)))
    batch, n_done, start = np.repeat(one, n_batch, axis=0), 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or n_done == 0:
        pool.energies_and_forces(batch)
        n_done += n_batch
    return n_done / elapsed
