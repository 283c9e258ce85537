"""What libraries in C print on standard output, which belongs to the results of a command."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def silent_stdout() -> Iterator[None]:
    """Inside, what C code prints on standard output is lost, as the two lines of mdtraj's reader of DCD files.

    For short calls on the main thread: it holds for the whole process.
    """
    try:
        kept = os.dup(1)
    except OSError:  # no standard output
        yield
        return
    sys.stdout.flush()
    _flush()
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
        sys.stdout.flush()
        _flush()  # a pipe is buffered: else it would come later
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _flush() -> None:
    with contextlib.suppress(OSError, AttributeError):  # of the C library, where it is found
        ctypes.CDLL(None).fflush(None)
