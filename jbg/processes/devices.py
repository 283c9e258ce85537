"""How many devices a process uses: what JAX must find in the environment before it starts, and the check after."""

from collections.abc import MutableMapping

from jbg.interfaces import ConfigError
from jbg.processes.place import Place

GPUS, FAKE = "CUDA_VISIBLE_DEVICES", "--xla_force_host_platform_device_count"


def choose_devices(
    devices: int | None, place: Place | None, environment: MutableMapping[str, str]
) -> None:
    """Sets the variables that JAX reads when it starts.

    Args:
        devices: of this process; None for all. A CPU is split into as many.
        place: of this process; None where it is the only one. Processes on one machine that see the same GPUs
            share them out.
        environment: to change.

    Raises:
        ConfigError: a number that is not positive.
    """
    if devices is not None and devices < 1:
        raise ConfigError(f"--devices must be 1 or more, got {devices}")
    seen = [name for name in environment.get(GPUS, "").split(",") if name]
    if place and len(seen) >= place.neighbours > 1:
        share = len(seen) // place.neighbours
        seen = seen[place.neighbour * share : (place.neighbour + 1) * share]
        environment[GPUS] = ",".join(seen)
    if devices is None:
        return
    if GPUS not in environment:
        seen = [str(i) for i in range(devices)]
    if seen:
        environment[GPUS] = ",".join(seen[:devices])
    flags = [flag for flag in environment.get("XLA_FLAGS", "").split() if not flag.startswith(FAKE)]
    environment["XLA_FLAGS"] = " ".join([*flags, f"{FAKE}={devices}"])


def check_devices(devices: int | None) -> None:
    """Starts JAX and counts the devices of this process.

    Raises:
        ConfigError: there are not as many as were asked for.
    """
    if devices is None:
        return
    import jax

    found = jax.local_devices()
    if len(found) != devices:
        raise ConfigError(
            f"--devices {devices}: JAX finds {len(found)} of kind {found[0].device_kind}: choose {len(found)}"
        )
