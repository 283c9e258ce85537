"""Force-field files that users bring: parameters only.

OpenMM runs the Python of ``<Script>`` and ``<InitializationScript>`` elements and evaluates one attribute. In the
files that it ships this is how some forces are built; nobody expects it of a file of parameters from elsewhere.
"""

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.parsers import expat

from openmm import app

from jbg.interfaces import ConfigError

_RUN = ("Script", "InitializationScript")  # elements
_EVALUATED = "useDispersionCorrection"  # attribute
_PLAIN = ("True", "False", "0", "1")


def shipped_files() -> list[Path]:
    """The force-field files of OpenMM and of packages that register theirs with it."""
    folders = map(Path, app.forcefield._getDataDirectories())
    return [path for folder in folders for path in folder.rglob("*.xml")]


def require_parameters_only(names: Sequence[str]) -> None:
    """Refuses files, and what they include, that OpenMM does not ship and that it would run code of.

    Raises:
        ConfigError: a script, an attribute that is an expression, a document type (of which entities are made), or
            no XML at all.
    """
    for path in _with_included(names):
        _check(path)


def _with_included(names: Sequence[str]) -> Iterator[Path]:
    """Files not shipped, in the order and at the places where OpenMM looks for them."""
    shipped = shipped_files()
    places = {path.resolve() for path in shipped}
    sizes = {path.stat().st_size for path in shipped}
    queue, seen = [str(name) for name in names], set()
    while queue:
        name = queue.pop(0)
        path = _found(name)
        if path is None or path.resolve() in seen or path.resolve() in places:
            continue
        seen.add(path.resolve())
        content = _read(path)
        if len(content) in sizes and any(
            content == other.read_bytes()
            for other in shipped
            if other.stat().st_size == len(content)
        ):
            continue  # a copy
        yield path
        for included in _included(path, content):
            beside = path.parent / included
            queue.append(str(beside) if beside.is_file() else included)


def _found(name: str) -> Path | None:
    """Where OpenMM finds it: here, or among its own; None where it does not."""
    folders = ("", *app.forcefield._getDataDirectories())
    paths = (Path(os.path.join(folder, name)) for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"forcefield: {path} cannot be read: {error.strerror or error}") from None


def _included(path: Path, content: bytes) -> list[str]:
    found = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "Include" and "file" in attributes:
            found.append(attributes["file"])

    _parse(path, content, start)
    return found


def _check(path: Path) -> None:
    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "System":
            raise ConfigError(
                f"forcefield: {path} is an OpenMM System, not a force field: give it with --system and --pdb"
            )
        if name in _RUN:
            raise ConfigError(
                f"forcefield: {path} holds Python code (<{name}>), which OpenMM would run; of files that do not "
                "come with OpenMM only parameters are read: remove that element"
            )
        value = attributes.get(_EVALUATED)
        if value is not None and value not in _PLAIN:
            raise ConfigError(
                f"forcefield: {path}: {_EVALUATED} must be one of {', '.join(_PLAIN)}, got {value[:40]!r}, which "
                "OpenMM would run as Python code"
            )

    _parse(path, _read(path), start)


def _parse(path: Path, content: bytes, start) -> None:
    def refuse(*_) -> None:
        raise ConfigError(
            f"forcefield: {path} declares a document type, of which entities are made: remove <!DOCTYPE ...>"
        )

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.ParseFile(io.BytesIO(content))
    except (expat.ExpatError, LookupError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"forcefield: {path} is no force field file: not XML ({error})") from None
