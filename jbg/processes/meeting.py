"""How the processes of a run find each other: process 0 listens, the others connect, before any work begins.

The connections stay open, and end when their process does (`guard`). Lines of text go over them.
"""

import json
import os
import select
import socket
import time
from typing import Any

from jbg.interfaces import ConfigError
from jbg.processes.place import Place

MEET_SECONDS = 120.0  # until all must be there; JBG_MEET_SECONDS overrides it
SILENT_SECONDS = 20  # after which a machine that does not answer counts as gone
_HELLO_SECONDS = 5.0


class Lines:
    """A connection that lines of text go over."""

    def __init__(self, link: socket.socket):
        self.link, self._rest = link, b""

    def fileno(self) -> int:
        return self.link.fileno()

    def say(self, line: str) -> None:
        """Sends a line; to a process that is gone, nothing."""
        try:
            self.link.sendall(line.encode() + b"\n")
        except OSError:
            return

    def read(self) -> list[str] | None:
        """The lines that are there, after waiting for some bytes; None at the end."""
        try:
            found = self.link.recv(65536)
        except OSError:
            return None
        if not found:
            return None
        *lines, self._rest = (self._rest + found).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def close(self) -> None:
        self.link.close()


def meet(place: Place, about: str) -> tuple[dict[int, Lines], str]:
    """Connects the processes: (connections by number of the process, where JAX's coordinator shall listen).

    Process 0 has connections to all others, and each of these one to process 0.

    Args:
        place: of this process.
        about: what all must agree in, such as the version of jbg.

    Raises:
        ConfigError: an address where process 0 is not or cannot listen, or a process that does not come.
    """
    seconds = float(os.environ.get("JBG_MEET_SECONDS", MEET_SECONDS))
    end = time.monotonic() + seconds
    if place.index:
        return _join(place, about, seconds, end)
    return _gather(place, about, seconds, end)


def _gather(place: Place, about: str, seconds: float, end: float) -> tuple[dict[int, Lines], str]:
    """Process 0 waits for all others."""
    found: dict[int, Lines] = {}
    with _listen(place) as server:
        while len(found) < place.count - 1:
            ready, _, _ = select.select([server], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                absent = ", ".join(str(i) for i in range(1, place.count) if i not in found)
                raise ConfigError(
                    f"{len(found) + 1} of {place.count} processes came to {place.address} within {seconds:.0f} s, "
                    f"missing: {absent}: start them all with the same --coordinator and --processes"
                )
            link, _ = server.accept()
            hello = _heard(link, _HELLO_SECONDS)
            refused = _refused(hello, place, found, about)
            if refused:
                Lines(link).say(json.dumps({"refused": refused}))
                link.close()
            elif hello is not None:
                found[hello["index"]] = _kept(link)
    where = f"{place.address.rpartition(':')[0]}:{_free_port()}"
    for lines in found.values():
        lines.say(json.dumps({"coordinator": where}))
    return found, where


def _refused(
    hello: dict[str, Any] | None, place: Place, found: dict[int, Lines], about: str
) -> str | None:
    """Why whoever said hello cannot take part."""
    if hello is None or not isinstance(hello.get("index"), int):
        return "it is no process of jbg"
    index, count = hello["index"], hello.get("count")
    if count != place.count:
        return f"process 0 has --processes {place.count}, process {index} has {count}"
    if hello.get("about") != about:
        return f"process 0 has {about}, process {index} has {hello.get('about')}"
    if index in found or not 0 < index < place.count:
        return f"there is a process {index} already"
    return None


def _join(place: Place, about: str, seconds: float, end: float) -> tuple[dict[int, Lines], str]:
    """Another process connects to process 0, which may not be there yet."""
    reason = "no answer"
    while True:
        try:
            link = socket.create_connection((place.host, place.port), timeout=2.0)
            break
        except OSError as error:
            reason = error.strerror or str(error)
        if time.monotonic() >= end:
            raise ConfigError(
                f"no process 0 at {place.address} within {seconds:.0f} s ({reason}): check --coordinator, an "
                "address of the machine where process 0 runs, and that it runs"
            )
        time.sleep(0.2)
    lines = _kept(link)
    lines.say(json.dumps({"index": place.index, "count": place.count, "about": about}))
    answer = _heard(link, max(1.0, end - time.monotonic()) + _HELLO_SECONDS)
    if answer is None or not ({"coordinator", "refused"} & answer.keys()):
        raise ConfigError(
            f"no process 0 of this run at {place.address} (it listens, and does not answer): check --coordinator, "
            "and that all processes are started"
        )
    if "refused" in answer:
        raise ConfigError(f"process 0 at {place.address} refuses this one: {answer['refused']}")
    return {0: lines}, str(answer["coordinator"])


def _listen(place: Place) -> socket.socket:
    """The socket of process 0, once its address is found to be one of this machine."""
    advice = "--coordinator must be an address of the machine of process 0, and a free port"
    try:
        known = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        family, _, _, _, where = known[0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.bind((where[0], 0))
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", place.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
            )
        return socket.create_server(("", place.port), backlog=1024)
    except OSError as error:
        raise ConfigError(
            f"process 0 cannot listen at {place.address} ({error.strerror or error}): {advice}"
        ) from None


def _free_port() -> int:
    with socket.create_server(("", 0)) as trial:
        return trial.getsockname()[1]


def _heard(link: socket.socket, seconds: float) -> dict[str, Any] | None:
    """The first line, an object of JSON; None for anything else, or nothing in so many seconds."""
    end, text = time.monotonic() + seconds, b""
    try:
        while not text.endswith(b"\n") and len(text) < 4096:
            link.settimeout(max(0.01, end - time.monotonic()))
            byte = link.recv(1)  # what follows the line is left for `Lines`
            if not byte:
                return None
            text += byte
        found = json.loads(text)
    except (OSError, ValueError):
        return None
    finally:
        link.settimeout(None)
    return found if isinstance(found, dict) else None


def _kept(link: socket.socket) -> Lines:
    """The connection; it breaks within SILENT_SECONDS where the other machine is gone."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    options = {
        "TCP_KEEPIDLE": SILENT_SECONDS // 4,
        "TCP_KEEPINTVL": SILENT_SECONDS // 4,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": 1000 * SILENT_SECONDS,
    }
    for name, value in options.items():
        if hasattr(socket, name):  # of Linux
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return Lines(link)
