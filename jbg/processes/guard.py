"""What watches the processes of a run, so that none waits for one that is gone.

Each process that a user starts is a guard: it runs the command once more as its worker, which computes, and stays
outside of JAX. The guard of process 0 is connected to all others. When a worker ends early, or a connection
breaks, all guards say so in one line, kill their workers and end. Workers also meet by way of their guards
(`worker.meet`), which takes no device and no time limit.
"""

import contextlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
from typing import NoReturn

from jbg.processes import WORKER
from jbg.processes.meeting import Lines, meet
from jbg.processes.place import Place

SETTLE_SECONDS = 3.0  # in which the first of several failures becomes known everywhere
AGAIN = "run the same command again to resume"


def keep(place: Place, *, about: str) -> int:
    """Meets the other processes, runs the worker, and returns the exit status; for a process that has no JAX yet.

    Raises:
        ConfigError: the processes do not find each other; nothing has begun then.
    """
    others, coordinator = meet(place, about)
    ours, theirs = socket.socketpair()
    told = {
        "index": place.index,
        "count": place.count,
        "coordinator": coordinator,
        "channel": theirs.fileno(),
    }
    environment = os.environ | {WORKER: json.dumps(told)}
    # else the death of process 0 fills the screen: the one line is ours
    environment["TF_CPP_MIN_LOG_LEVEL"] = "4"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker has it too, and answers
    worker = subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]], env=environment, pass_fds=[theirs.fileno()]
    )
    theirs.close()

    def leave(number: int, _: object) -> NoReturn:
        worker.kill()
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    return _Guard(place, others, worker, Lines(ours)).watch()


class _Guard:
    """One process's guard; that of process 0 counts who has arrived at a meeting, and passes on who is lost."""

    def __init__(
        self, place: Place, others: dict[int, Lines], worker: subprocess.Popen, channel: Lines
    ):
        self.place, self.worker = place, worker
        self.links = {place.index: channel, **others}
        self.arrived: dict[int, str] = {}
        self.finished: set[int] = set()
        self.status: int | None = None

    def watch(self) -> int:
        selector = selectors.DefaultSelector()
        for index, lines in self.links.items():
            selector.register(lines, selectors.EVENT_READ, index)
        while True:
            ready = [key.data for key, _ in selector.select(timeout=1.0)]
            # the own worker comes first: others may end because it did
            for index in sorted(ready, key=lambda index: index != self.place.index):
                found = self.links[index].read()
                if found is None:
                    selector.unregister(self.links[index])
                    self._closed(index)
                for line in found or ():
                    self._heard(index, line)
                if self.status is not None:
                    return self.status

    def _heard(self, index: int, line: str) -> None:
        word, _, text = line.partition(" ")
        if index == self.place.index and index:  # of the own worker, for process 0
            self.links[0].say(line)
        elif word == "at":
            self._arrived(index, text)
        elif word == "go":
            self.links[self.place.index].say(line)
        elif word == "done":
            self.finished.add(index)
        elif word == "lost":
            self._end(index, text)
        elif word == "end":
            lost, _, text = text.partition(" ")
            self._end(int(lost), text)

    def _arrived(self, index: int, name: str) -> None:
        self.arrived[index] = name
        if len(self.arrived) < self.place.count:
            return
        names = sorted(set(self.arrived.values()))
        self.arrived.clear()
        if len(names) > 1:
            self._end(index, f"went another way than others ({', '.join(names)[:200]})")
        else:
            self._tell_all("go")

    def _closed(self, index: int) -> None:
        if index == self.place.index:
            self._own_ended()
        elif index not in self.finished:
            self._end(index, "has ended")
        self._done_if_all_are()

    def _own_ended(self) -> None:
        """The worker has ended, done or not."""
        status = self.worker.wait()
        if status == 0:
            self.finished.add(self.place.index)
            if self.place.index:
                self.links[0].say("done")
                self.status = 0
        else:
            how = (
                f"was killed by signal {-status}" if status < 0 else f"failed with status {status}"
            )
            self._lose(how)

    def _lose(self, how: str) -> None:
        """The own worker failed: the others are told, unless it failed because another had."""
        index = self.place.index
        if index:
            self.links[0].say(f"lost {how}")
            end = time.monotonic() + SETTLE_SECONDS
            while self.status is None and (left := end - time.monotonic()) > 0:
                if select.select([self.links[0]], [], [], left)[0]:
                    found = self.links[0].read()
                    for line in ["end 0 has ended"] if found is None else found:
                        self._heard(0, line)
        if self.status is None:
            self._end(index, how)

    def _done_if_all_are(self) -> None:
        if self.status is None and len(self.finished) == self.place.count:
            self.status = 0

    def _tell_all(self, line: str) -> None:
        for lines in self.links.values():
            lines.say(line)

    def _end(self, lost: int, how: str) -> None:
        """Ends this process, and from process 0 all; one line, where the worker has not said why itself."""
        if self.status is not None:
            return
        if not self.place.index:
            self._tell_all(f"end {lost} {how}")
        if how.startswith("failed"):  # what all find wrong each worker says by itself, and ends
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.worker.wait(SETTLE_SECONDS / 2)
        self.worker.kill()
        self.status = self.worker.wait()
        if self.status > 0:
            return
        self.status = 1
        sys.stderr.write(f"jbg: error: process {lost} {how}: {AGAIN}\n")
        sys.stderr.flush()
