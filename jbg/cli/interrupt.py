"""What Ctrl-C does: the process ends at once, with one line.

An exception raised by a signal handler may surface inside a callback of JAX, where it is lost or crashes the
interpreter. Everything a run writes survives a kill.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

AT_WORK = "interrupted; run the same command again to resume at the last checkpoint"


@contextlib.contextmanager
def leaving(say: str = "interrupted", first: Callable[[], Any] = lambda: None) -> Iterator[None]:
    """Inside, Ctrl-C calls ``first``, says ``say`` and ends the process with status 130.

    In the main thread only; another has no signals.
    """

    def leave(*_: Any) -> None:
        try:
            first()
        finally:
            show_cursor = "\n\x1b[?25h" if sys.stderr.isatty() else ""
            os.write(2, f"{show_cursor}{say}\n".encode())
            os._exit(130)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def interruptible(run: Any) -> contextlib.AbstractContextManager[None]:
    """Inside, Ctrl-C saves the times of the run and says how to go on."""
    return leaving(AT_WORK, run.touch)
