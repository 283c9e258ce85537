"""What a run was made with: versions, devices, commit. For the manifest and the doctor."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

from jbg.interfaces import ConfigError

PRNG = "threefry2x32"  # of every key of a run, whatever JAX is set to
_SETTINGS = {"jax_enable_x64": False, "jax_threefry_partitionable": True}
PACKAGES = ("jbg", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "openmm", "numpy", "scipy")


def versions() -> dict[str, str | None]:
    """Version of Python and of each package in ``PACKAGES``; None where it is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def devices() -> dict[str, Any]:
    """JAX's platform, the kind and number of its devices, and the CPUs this process may use.

    Raises:
        ConfigError: JAX finds no device of the platform asked for.
    """
    try:
        found = jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise ConfigError(
            f"JAX finds no device (JAX_PLATFORMS={asked!r}): install jax for it, such as jax[cuda13], "
            "or set JAX_PLATFORMS=cpu"
        ) from error
    if hasattr(os, "sched_getaffinity"):
        cpus = len(os.sched_getaffinity(0))
    else:
        cpus = os.cpu_count() or 1
    return {
        "platform": found[0].platform,
        "device_kind": found[0].device_kind,
        "device_count": len(found),
        "cpu_count": cpus,
    }


def current() -> dict[str, Any]:
    """What numbers may depend on: versions and devices."""
    return {"versions": versions(), "device": devices()}


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """ "what old -> new" of each version and device that differ; the number of CPUs changes no number."""
    parts = (("versions", now["versions"]), ("device", now["device"]))
    return [
        f"{name} {before.get(part, {}).get(name)} -> {value}"
        for part, values in parts
        for name, value in values.items()
        if name != "cpu_count" and before.get(part, {}).get(name) != value
    ]


def require_single_precision() -> None:
    """Raises ConfigError where JAX is set to other numbers than those of runs: 64 bits, or other random bits."""
    for name, value in _SETTINGS.items():
        found = getattr(jax.config, name, value)
        if found != value:
            raise ConfigError(
                f"JAX is set to {name} = {found}, and a run needs {value}: unset {name.upper()} in the "
                f"environment, or jax.config.update({name!r}, {value})"
            )


def commit() -> dict[str, Any] | None:
    """``{"commit", "dirty"}`` of the checkout jbg is imported from, None for an installed wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return None
    return {"commit": head, "dirty": bool(_git(root, "status", "--porcelain"))}


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # no git here, or a checkout without a commit: the manifest says null
    return done.stdout.strip()
