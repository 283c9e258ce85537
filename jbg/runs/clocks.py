"""What a stage spends: wall time, CPU time, and the part of it that compiling takes."""

import datetime
import os
import time
from typing import NamedTuple

import jax

COMPILING = "/jax/core/compile/"  # tracing, lowering and compiling, each an event of jax

_compiled = 0.0


class Spent(NamedTuple):
    """Seconds; differences of two are what was spent between."""

    wall_seconds: float
    cpu_seconds: float  # of all threads, and of child processes that have ended
    compile_seconds: float  # wall time of tracing, lowering and compiling

    def since(self, earlier: "Spent") -> "Spent":
        return Spent(*(now - before for now, before in zip(self, earlier, strict=True)))


def now() -> Spent:
    """The clocks of this process."""
    return Spent(time.monotonic(), sum(os.times()[:4]), _compiled)


def _listen(event: str, duration_secs: float, **_: str | int) -> None:
    global _compiled
    if event.startswith(COMPILING):
        _compiled += duration_secs


jax.monitoring.register_event_duration_secs_listener(_listen)


def timestamp() -> str:
    """The time now in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
