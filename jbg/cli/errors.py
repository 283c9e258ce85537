"""What goes wrong, in one line and a status: 1 a run cannot go on, 2 something given is wrong.

What is in no list here is a fault of jbg, and keeps its traceback.
"""

import errno
import re

FULL = "disk full: free space and run the same command again"
MEMORY = "ask for less at once (a smaller -n, fewer chains), or free some, and run the same command again"


def explain(error: BaseException) -> tuple[str, int] | None:
    """(message, status) of an error that is not jbg's own fault; None for one that may be."""
    from jbg.interfaces import ConfigError, RunError

    if isinstance(error, ConfigError):
        return str(error), 2
    if isinstance(error, RunError):
        return str(error), 1
    if isinstance(error, MemoryError):
        return f"out of memory ({_short(error) or 'no more to be had'}): {MEMORY}", 1
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(
        error, RuntimeError | ValueError
    ):  # of XLA and its callbacks, known by their text
        return _of_text(" ".join(_texts(error)))
    return None


def _of_system(error: OSError) -> tuple[str, int] | None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FULL, 1
    if error.errno == errno.ENOMEM:
        return f"out of memory: {MEMORY}", 1
    if error.errno is None:
        return None
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror}", 2


def _of_text(text: str) -> tuple[str, int] | None:
    worker = re.search(r"an OpenMM process ended with status (-?\d+)", text)
    if worker:
        return (
            f"a worker process of OpenMM ended with status {worker[1]} (killed, or out of memory): "
            "run the same command again to go on",
            1,
        )
    if re.search(r"no \d+ bytes of shared memory", text):
        return "no shared memory for OpenMM's processes: free some in /dev/shm", 1
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return FULL, 1
    if "RESOURCE_EXHAUSTED" in text or "Out of memory" in text or "std::bad_alloc" in text:
        size = re.search(r"[Oo]ut of memory[^.;]{0,80}", text)
        return f"out of memory ({size[0] if size else 'on the device'}): {MEMORY}", 1
    backend = re.search(r"Unable to initialize backend '(\w+)'", text)
    if backend or "Unknown backend" in text:
        named = f" {backend[1]!r}" if backend else ""
        return (
            f"JAX has no backend{named} here: install jax for it, such as jax[cuda13], or set JAX_PLATFORMS=cpu",
            2,
        )
    return None


def _texts(error: BaseException | None) -> list[str]:
    found = []
    while error is not None:
        found.append(str(error))
        error = error.__cause__ or error.__context__
    return found


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
