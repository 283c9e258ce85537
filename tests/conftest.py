"""Settings of every test: two fake CPU devices, strict shapes, a key, float64 on request."""

import atexit
import importlib.metadata
import os
import shutil
import tempfile

# Read by XLA when jax is first imported. Host callbacks need more threads than there are devices. Tests compile
# for longer than they run: less optimisation halves that, and so does the older emitter of fused loops (a flag
# that another XLA may not know, and then it does not start).
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=2",
        "--xla_backend_optimization_level=0",
        "--xla_cpu_use_fusion_emitters=false"
        if importlib.metadata.version("jaxlib").startswith("0.10.")
        else "",
    ]
).strip()
os.environ.setdefault("NPROC", "8")
os.environ.setdefault("MPLBACKEND", "Agg")
# What one test has compiled, others need not: workers and child processes inherit the folder.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jbg-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def x64():
    """The test runs in float64, as references and Jacobians are compared there."""
    with jax.enable_x64(True):
        yield
