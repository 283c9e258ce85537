"""Environment variables of the tests: flags of XLA, and the folder where compiled programs are kept."""

import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

LIMIT = 2**29  # bytes of compiled programs, over all versions of jax


def settings() -> dict[str, str]:
    """What must be set before jax is imported; what the user has set stays."""
    flags = _flags(os.environ.get("XLA_FLAGS", ""))
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(_cache_folder(flags))
    defaults = {
        "NPROC": "8",  # host callbacks need more threads than there are devices
        "MPLBACKEND": "Agg",
        "TF_CPP_MIN_LOG_LEVEL": "3",  # XLA logs two errors for each kept program, about tuning flags only
        "JAX_TRACEBACK_IN_LOCATIONS_LIMIT": "0",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    return defaults | {
        **{name: os.environ[name] for name in defaults if name in os.environ},
        "XLA_FLAGS": flags,
        "JAX_COMPILATION_CACHE_DIR": cache,  # workers and child processes use it too
    }


def _flags(given: str) -> str:
    """Tests compile for longer than they run: less optimisation halves that."""
    flags = [
        "--xla_force_host_platform_device_count=2",
        "--xla_backend_optimization_level=0",
        "--xla_cpu_parallel_codegen_split_count=1",
    ]
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        # the older emitter of fused loops compiles faster; XLA does not start with flags that it does not know
        flags.append("--xla_cpu_use_fusion_emitters=false")
    # each once, as workers inherit them: jax finds a kept program by the flags
    return " ".join(dict.fromkeys([*given.split(), *flags]))


def _cache_folder(flags: str) -> Path:
    """The folder for this jax, these flags and this processor."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jbg-tests"
    versions = [f"{name}-{importlib.metadata.version(name)}" for name in ("jax", "jaxlib")]
    machine = hashlib.sha256(f"{flags}\n{_processor()}".encode()).hexdigest()[:12]
    path = root / "-".join([*versions, machine])
    path.mkdir(parents=True, exist_ok=True)
    prune(root, LIMIT)
    return path


def prune(root: Path, limit: int) -> None:
    """Delete the files that were read longest ago until ``limit`` bytes are left."""
    files = [(file, file.stat()) for file in root.rglob("*") if file.is_file()]
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
