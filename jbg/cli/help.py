"""The text of ``jbg --help`` and ``jbg run --help``; options document themselves (`options`)."""

from collections.abc import Mapping
from typing import Any

from jbg.studies.registry import STUDIES


def overview(commands: Mapping[str, Any]) -> str:
    """All commands, one line each."""
    lines = "\n".join(
        f"  {name + (' NAME' if command.per_system else ''):<16}{command.about}"
        for name, command in commands.items()
    )
    return (
        "usage: jbg COMMAND ... [--help]\n\n"
        "Boltzmann generators: normalizing flows that sample molecular equilibrium.\n\n"
        f"{lines}\n\n"
        f"NAME is one of {', '.join(STUDIES)}.\n"
        "Try `jbg run double-well`, and `jbg --version`."
    )


def of_command(name: str, command: Any) -> str:
    """The systems that a command accepts."""
    systems = "\n".join(f"  {system:<20}{entry.about}" for system, entry in STUDIES.items())
    return (
        f"usage: jbg {name} NAME [options]\n\n{command.about}\n\n{systems}\n\n"
        f"Options of one system: jbg {name} NAME --help"
    )
