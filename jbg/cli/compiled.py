"""The folder where compiled programs are kept, so that a second run of the same sizes compiles nothing."""

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import MutableMapping
from pathlib import Path

LIMIT = 2**31  # bytes of compiled programs, over all versions of jax


def keep_compiled(environment: MutableMapping[str, str]) -> None:
    """Tells jax, before it is imported, to keep what it compiles; what the user has set stays.

    Nothing is kept where there is no place for it: jax then compiles as ever.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in environment:
        try:
            environment["JAX_COMPILATION_CACHE_DIR"] = str(folder("jbg", LIMIT))
        except (OSError, RuntimeError):  # no home, or none that can be written to
            return
    environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
    # XLA logs two errors for each kept program that it loads, about tuning flags only
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def folder(name: str, limit: int, *, flags: str = "") -> Path:
    """The folder for this jax, these flags of XLA and this processor; kept programs beyond the limit are deleted.

    Args:
        name: of the folder of all versions, below the user's cache folder.
        limit: bytes.
        flags: of XLA, where they are part of the name.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / name
    versions = [f"{name}-{importlib.metadata.version(name)}" for name in ("jax", "jaxlib")]
    machine = hashlib.sha256(f"{flags}\n{_processor()}".encode()).hexdigest()[:12]
    path = root / "-".join([*versions, machine])
    path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise PermissionError(path)
    prune(root, limit)
    return path


def prune(root: Path, limit: int) -> None:
    """Delete the files that were read longest ago until ``limit`` bytes are left."""
    files = []
    for file in root.rglob("*"):
        try:
            if file.is_file():
                files.append((file, file.stat()))
        except OSError:  # another process was faster
            continue
    files.sort(key=lambda entry: max(entry[1].st_atime, entry[1].st_mtime), reverse=True)
    total = 0
    for file, status in files:
        total += status.st_size
        if total > limit:
            file.unlink(missing_ok=True)


def _processor() -> str:
    """What compiled code depends on: the processor's extensions where Linux lists them."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    extensions = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {extensions}"
