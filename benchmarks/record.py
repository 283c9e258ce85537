"""How every benchmark measures and reports: one JSON line per figure."""

import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jbg.interfaces import Loss, Params
from jbg.runs import environment
from jbg.training import begin_stage, device_mesh, make_chunk, replicate


class Timing(NamedTuple):
    """One call of a compiled function: its wall time, what compiling took, and its temporary memory."""

    seconds: float
    compile_seconds: float
    temporary_mib: float | None

    def costs(self) -> dict[str, float | None]:
        """What stands beside a rate."""
        return {"compile_seconds": self.compile_seconds, "temporary_mib": self.temporary_mib}


def median_seconds(call: Callable[[], Any], *, repeats: int = 5) -> float:
    """Median wall time of ``call``, whose result is waited for; the first call only warms up."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def time_compiled(function: Callable, *args: Any, repeats: int = 5) -> Timing:
    """Traces and compiles ``function`` for ``args``, then times its calls."""
    begin = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    compile_seconds = time.perf_counter() - begin
    memory = compiled.memory_analysis()
    return Timing(
        seconds=median_seconds(lambda: compiled(*args), repeats=repeats),
        compile_seconds=_rounded(compile_seconds),
        temporary_mib=memory and round(memory.temp_size_in_bytes / 2**20, 1),
    )


def time_training(
    loss: Loss,
    optimiser: Any,
    params: Params,
    data: jax.Array,
    *,
    data_batch: int,
    n_steps: int,
    ema: float = 0.998,
    repeats: int = 5,
) -> Timing:
    """``n_steps`` of training as `jbg.training` does them, on all devices: optimiser and running average included.

    ``data`` are ``(n, dim)``.

    Raises:
        RuntimeError: a step was skipped or the loss is not finite: the timing would mean nothing.
    """
    mesh, key = device_mesh(), jax.random.key(0)
    chunk = make_chunk(loss, optimiser, mesh=mesh, data_batch=data_batch, n_steps=n_steps, ema=ema)
    state, data = replicate((begin_stage(params, optimiser, key), data), mesh)
    begin = time.perf_counter()
    compiled = chunk.lower(state, data).compile()
    compile_seconds = _rounded(time.perf_counter() - begin)
    memory = compiled.memory_analysis()

    def train():
        nonlocal state  # each chunk donates the state it is given
        state, logs = compiled(state, data)
        return logs

    seconds = median_seconds(train, repeats=repeats)
    logs = train()
    if not jax.numpy.isfinite(logs["loss"]) or logs["skipped"]:
        raise RuntimeError("training steps were skipped, so the timing means nothing")
    mib = memory and round(memory.temp_size_in_bytes / 2**20, 1)
    return Timing(seconds=seconds, compile_seconds=compile_seconds, temporary_mib=mib)


def report(name: str, value: float, unit: str, **settings: Any) -> None:
    """Prints the figure with its settings, the device, the versions and the commit.

    A copy of the source, with its ``.git`` or without, is told the commit by ``JBG_COMMIT`` in its environment.
    """
    print(json.dumps(line_of(name, value, unit, **settings)), flush=True)


def line_of(name: str, value: float, unit: str, **settings: Any) -> dict[str, Any]:
    """What `report` prints."""
    told = os.environ.get("JBG_COMMIT")
    return {
        "name": name,
        "value": float(f"{value:.4g}"),
        "unit": unit,
        **settings,
        "device": environment.devices(),
        "versions": environment.versions(),
        "source": {"commit": told} if told else environment.commit(),
    }


def failure(name: str, reason: str) -> str:
    """A line that says why a figure is missing; starts no device."""
    return json.dumps({"name": name, "value": None, "failed": reason}) + "\n"


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.3g}")
