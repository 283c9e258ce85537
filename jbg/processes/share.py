"""A command on the devices that were asked for, alone or as one of several processes."""

import importlib.metadata
import os
import re
from collections.abc import Callable, MutableMapping

from jbg.processes import WORKER, guard, worker
from jbg.processes.devices import check_devices, choose_devices
from jbg.processes.place import find_place


def share(
    work: Callable[[], int],
    *,
    devices: int | None = None,
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> int:
    """The exit status of ``work``, which uses all devices of all processes.

    One of several processes runs the program again, from its first line to this call, in its worker, and there
    calls ``work``; a program ends with `worker.leave`. Nothing may have started JAX before.

    Args:
        work: the same in all processes.
        devices: of this process; None for all.
        coordinator, processes, process: as for `place.find_place`.

    Raises:
        ConfigError: numbers or addresses that are wrong, or processes that do not find each other.
    """
    if WORKER in os.environ:
        worker.start()
    else:
        place = find_place(coordinator, processes, process, os.environ)
        choose_devices(devices, place, os.environ)
        allow_threads(os.environ)
        if place is not None:
            return guard.keep(place, about=f"jbg {importlib.metadata.version('jbg')}")
    check_devices(devices)
    return work()


def allow_threads(environment: MutableMapping[str, str]) -> None:
    """A host callback beside a collective deadlocks unless XLA has more threads than (fake) devices; XLA takes
    their number from NPROC."""
    forced = re.search(r"host_platform_device_count=(\d+)", environment.get("XLA_FLAGS", ""))
    if forced:
        given = int(environment.get("NPROC", os.cpu_count() or 1))
        environment["NPROC"] = str(max(2 * int(forced[1]), given))
