"""How every benchmark measures and reports: one JSON line per figure."""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

from jbg import environment


def median_seconds(call: Callable[[], Any], *, repeats: int = 5) -> float:
    """Median wall time of ``call``, whose result is waited for; the first call only warms up."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def report(name: str, value: float, unit: str, **settings: Any) -> None:
    """Prints the figure with its settings, the device, the versions and the commit."""
    line = {
        "name": name,
        "value": float(f"{value:.4g}"),
        "unit": unit,
        **settings,
        "device": environment.devices(),
        "versions": environment.versions(),
        "source": environment.commit(),
    }
    print(json.dumps(line), flush=True)
