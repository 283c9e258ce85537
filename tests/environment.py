"""Environment variables of the tests: flags of XLA, and the folder where compiled programs are kept."""

import importlib.metadata
import os

from jbg.cli.compiled import folder

LIMIT = 2**29  # bytes of compiled programs, over all versions of jax


def settings() -> dict[str, str]:
    """What must be set before jax is imported; what the user has set stays."""
    flags = _flags(os.environ.get("XLA_FLAGS", ""))
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(
        folder("jbg-tests", LIMIT, flags=flags)
    )
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
