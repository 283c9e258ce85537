"""Which of how many processes this is, and where process 0 listens: from options, SLURM or Open MPI."""

import re
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from jbg.interfaces import ConfigError

PORTS = range(61440, 65536)  # that a batch system's job is given one of


class Place(NamedTuple):
    """One of ``count`` processes; process 0 listens at ``host:port``.

    It is number ``neighbour`` of ``neighbours`` processes on its machine, as far as the launcher says.
    """

    index: int
    count: int
    host: str
    port: int
    neighbour: int = 0
    neighbours: int = 1

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def find_place(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    environment: Mapping[str, str],
) -> Place | None:
    """The place of this process; None where it is the only one.

    Args:
        coordinator: HOST:PORT of process 0; None where the launcher tells it.
        processes: their number; None likewise.
        process: number of this one, from 0; None likewise.
        environment: variables that SLURM and Open MPI set.

    Raises:
        ConfigError: a number or address that is wrong or missing.
    """
    told = _of_slurm(environment) or _of_open_mpi(environment)
    if coordinator is None and (processes is not None or process is not None):
        raise ConfigError(
            "--processes and --process need --coordinator HOST:PORT, an address of the machine of process 0"
        )
    if coordinator is None and told is None:
        return None
    count = told.count if processes is None and told else processes
    index = told.index if process is None and told else process
    if count is None or index is None:
        raise ConfigError("--coordinator needs --processes N and --process I, I from 0 to N - 1")
    if count < 1:
        raise ConfigError(f"--processes must be 1 or more, got {count}")
    if not 0 <= index < count:
        raise ConfigError(
            f"--process must lie between 0 and {count - 1} of --processes {count}, got {index}"
        )
    if count == 1:
        return None
    if coordinator is not None:
        host, port = _parsed(coordinator)
    elif told is not None and told.host:
        host, port = told.host, told.port
    else:
        raise ConfigError(
            "Open MPI does not tell the address of process 0: add --coordinator HOST:PORT, a machine and a free "
            "port of process 0"
        )
    near = (told.neighbour, told.neighbours) if told else (0, 1)
    return Place(index, count, host, port, *near)


def _parsed(coordinator: str) -> tuple[str, int]:
    host, colon, port = coordinator.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(
            f"--coordinator must be HOST:PORT with a port from 1 to 65535, got {coordinator!r}"
        )
    return host, int(port)


def _of_slurm(environment: Mapping[str, str]) -> Place | None:
    """As a step of SLURM (``srun``) says; a batch script without ``srun`` is one process."""
    try:
        count = int(environment["SLURM_STEP_NUM_TASKS"])
        index = int(environment["SLURM_PROCID"])
        nodes = environment["SLURM_STEP_NODELIST"]
        job = f"{environment['SLURM_JOB_ID']}.{environment.get('SLURM_STEP_ID', '')}"
    except (KeyError, ValueError):
        return None
    if count < 2:
        return None
    on_nodes = _tasks_per_node(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    node = int(environment.get("SLURM_NODEID", "0"))
    near = (
        (int(environment.get("SLURM_LOCALID", "0")), on_nodes[node])
        if node < len(on_nodes)
        else (0, 1)
    )
    return Place(index, count, _first_node(nodes), _port(job), *near)


def _first_node(nodes: str) -> str:
    """The first name of a list such as ``gpu[007-009,12],login``."""
    found = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\]([^,]*))?", nodes)
    return "".join(part or "" for part in found.groups()) if found else nodes


def _tasks_per_node(text: str) -> list[int]:
    """The tasks on each node, of a list such as ``4(x2),3``."""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(tasks) for tasks, times in found for _ in range(int(times or 1))]


def _of_open_mpi(environment: Mapping[str, str]) -> Place | None:
    """As ``mpirun`` says; Open MPI 5 tells no address, which is not needed on one machine."""
    try:
        count = int(environment["OMPI_COMM_WORLD_SIZE"])
        index = int(environment["OMPI_COMM_WORLD_RANK"])
        near = (
            int(environment["OMPI_COMM_WORLD_LOCAL_RANK"]),
            int(environment["OMPI_COMM_WORLD_LOCAL_SIZE"]),
        )
    except (KeyError, ValueError):
        return None
    if count < 2:
        return None
    uri = environment.get("OMPI_MCA_orte_hnp_uri", "")
    job = uri.partition(";")[0] or environment.get("PMIX_NAMESPACE", "")
    launcher = re.search(r"tcp6?://\[?([^,\];]+?)[,\]:]", uri)
    host = "127.0.0.1" if near[1] == count else launcher[1] if launcher else ""
    return Place(index, count, host, _port(job), *near)


def _port(job: str) -> int:
    return PORTS[zlib.crc32(job.encode()) % len(PORTS)]
