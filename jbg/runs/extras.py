"""Optional packages: which extra of jbg installs them, and the one error that says so."""

import importlib
import importlib.util
from collections.abc import Iterable
from typing import Any

from jbg.interfaces import ConfigError

EXTRAS = {"molecules": ("openmm", "pdbfixer", "PeptideBuilder", "mdtraj", "pymbar")}
"""Extra of pyproject.toml -> the packages that it installs, by the name they are imported under."""


def missing(packages: Iterable[str]) -> list[str]:
    """Those of ``packages`` that are not installed; none of them is imported."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def require(packages: Iterable[str], what: str) -> None:
    """Checks that optional packages are installed, before anything is computed.

    Args:
        packages: names among `EXTRAS`.
        what: needs them, as the error says it.

    Raises:
        ConfigError: one is not installed; names the extra that installs it.
    """
    absent = missing(packages)
    if not absent:
        return
    extra = next(name for name, members in EXTRAS.items() if absent[0] in members)
    raise ConfigError(
        f"{what} needs {', '.join(absent)}, not installed: pip install 'jbg[{extra}]'"
    )


def optional(package: str, what: str) -> Any:
    """The module ``package``, which no extra of jbg installs.

    Args:
        package: name that it is imported under, and whose first part it is installed under.
        what: needs it, as the error says it.

    Raises:
        ConfigError: it is not installed.
    """
    name = package.partition(".")[0]
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(f"{what} needs {name}: pip install {name} ({error})") from None
