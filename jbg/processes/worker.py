"""What a process that computes must know of the others: who writes, and where all meet.

All processes of a run execute the same code, and decide the same from the same numbers. Files are the exception:
process 0 writes them, and the others wait where they will read them (`by_writer`). Where a process runs alone
nothing here does anything.
"""

import contextlib
import functools
import json
import logging
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import ParamSpec

from jbg.processes import WORKER
from jbg.processes.guard import SETTLE_SECONDS
from jbg.processes.meeting import Lines

P = ParamSpec("P")
SHUTDOWN_SECONDS = 20


class _Worker:
    """This process as one of several: its number, and the line to its guard."""

    def __init__(self, index: int, channel: Lines):
        self.index, self.channel = index, channel
        self.alone = 0  # depth of sections that the writer works through by itself
        self.news: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True, name="guard").start()

    def _listen(self) -> None:
        while (lines := self.channel.read()) is not None:
            for line in lines:
                self.news.put(line)
        os._exit(1)  # the guard is gone, and says why


_here: _Worker | None = None


def is_writer() -> bool:
    """Whether this process writes files: the first of several, or the only one."""
    return _here is None or not _here.index


def start() -> None:
    """Takes the place that a guard has for this process, and connects JAX; before JAX starts a backend."""
    global _here
    told = json.loads(os.environ[WORKER])
    import jax

    os.set_inheritable(told["channel"], False)  # noqa: FBT003
    _here = _Worker(told["index"], Lines(socket.socket(fileno=told["channel"])))
    _mute(told["index"])
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        told["coordinator"],
        told["count"],
        told["index"],
        cluster_detection_method="deactivate",  # `place` has found what there is to find
        shutdown_timeout_seconds=SHUTDOWN_SECONDS,
    )
    _connect()


def _connect() -> None:
    """Sums a number over all devices while all processes are here.

    Gloo connects at the first sum, and waits 30 s for the others; afterwards it waits as long as it takes.
    """
    import jax
    import numpy as np
    from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

    ones = np.ones(jax.device_count(), np.float32)
    mesh = Mesh(np.asarray(jax.devices()), ("all",), axis_types=(AxisType.Auto,))
    spread = NamedSharding(mesh, PartitionSpec("all"))
    total = jax.jit(lambda x: x.sum(), out_shardings=NamedSharding(mesh, PartitionSpec()))
    compiled = total.lower(jax.ShapeDtypeStruct(ones.shape, ones.dtype, sharding=spread)).compile()
    placed = jax.make_array_from_callback(ones.shape, spread, lambda index: ones[index])
    meet("the first sum")
    jax.block_until_ready(compiled(placed))


def _mute(index: int) -> None:
    """Process 0 speaks for all, the others of errors alone (`settle`); libraries below Python, such as gloo, print
    to nowhere."""
    if index:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, for good
        for name in ("jbg", "absl"):
            logging.getLogger(name).setLevel(logging.ERROR)
    else:
        sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def leave(status: int) -> None:
    """Ends this process as one of several: after all, where it is done; at once, where it failed."""
    sys.stdout.flush()
    if status == 0 and _here is not None:
        import jax

        meet("the end")
        jax.distributed.shutdown()
    sys.stderr.flush()
    os._exit(status)


def settle() -> None:
    """Before this process says why it failed: where another failed first, that is the reason, and the guard ends
    this one meanwhile."""
    if _here is not None:
        time.sleep(SETTLE_SECONDS)
        sys.stderr = sys.__stderr__


def is_alone() -> bool:
    """Whether the others do not take part in what this process does now."""
    return _here is None or _here.alone > 0


def meet(name: str) -> None:
    """Waits until all processes are here.

    Args:
        name: of the place in the code; processes that meet at different ones have gone astray, and end.
    """
    if _here is None or _here.alone:
        return
    _here.channel.say(f"at {name}")
    _here.news.get()


def by_writer(do: Callable[P, None]) -> Callable[P, None]:
    """``do``, by process 0 alone, while the others wait: they see the files as they were until all are here, and
    afterwards what it did."""

    @functools.wraps(do)
    def shared(*args: P.args, **kwargs: P.kwargs) -> None:
        meet(f"before {do.__qualname__}")
        without_waiting(*args, **kwargs)
        meet(f"after {do.__qualname__}")

    without_waiting = writer_only(do)
    return shared


def writer_only(do: Callable[P, None]) -> Callable[P, None]:
    """``do``, by process 0 alone; the others go on."""

    @functools.wraps(do)
    def mine(*args: P.args, **kwargs: P.kwargs) -> None:
        if is_writer():
            with _alone():
                do(*args, **kwargs)

    return mine


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    if _here is None:
        yield
        return
    _here.alone += 1
    try:
        yield
    finally:
        _here.alone -= 1
