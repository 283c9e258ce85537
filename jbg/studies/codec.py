"""One codec between settings, which are frozen dataclasses, and plain JSON values, driven by their type hints.

Where a field may hold one of several dataclasses, its JSON value names the class in ``kind``, in snake_case. There
are no defaults: a missing value is an error, so that a file never changes its meaning in a later version.
"""

import dataclasses
import difflib
import functools
import re
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

from jbg.interfaces import ConfigError

T = TypeVar("T")
KIND = "kind"


def encode(value: Any, **fields: Any) -> Any:
    """Plain JSON values of a dataclass; ``fields`` are as those of `decode`.

    Raises:
        TypeError: a field holds something that JSON has no value for.
    """
    return _encode(value, type(value), fields)


def decode(hint: type[T], value: Any, where: str, **fields: Any) -> T:
    """The dataclass ``hint`` whose `encode` is ``value``.

    Args:
        hint: type of the result.
        value: JSON values.
        where: names the file in errors.
        fields: types of those fields whose own hint is a type variable.

    Raises:
        ConfigError: a value is missing, unknown, of another type, or invalid for its class; names its place.
    """
    return _decode(hint, value, where, fields)


def decode_given(cls: type, value: Any, where: str) -> dict[str, Any]:
    """The fields of a dataclass that ``value`` names, each of its type; the others are left out.

    Raises:
        ConfigError: a field that is not known, or a value of another type.
    """
    given = _require_settings(value, where)
    hints = _hints(cls)
    _require_known(given, hints, where)
    return {name: _decode(hints[name], each, f"{where}.{name}", {}) for name, each in given.items()}


def filled(hint: Any, value: Any, **fields: Any) -> Any:
    """JSON values with the defaults of their dataclasses where they leave a field out, for settings that a user
    writes now; what no default stands for stays missing.

    Args:
        hint: type that `decode` will be asked for.
        value: JSON values.
        fields: as those of `decode`.
    """
    choices, members = _choices(hint), get_args(hint)
    if len(choices) > 1 and isinstance(value, dict) and value.get(KIND) in choices:
        rest = {name: entry for name, entry in value.items() if name != KIND}
        return {KIND: value[KIND]} | filled(choices[value[KIND]], rest)
    if len(choices) == 1 and isinstance(value, dict):
        (only,) = choices.values()
        return filled(only, value)
    if get_origin(hint) is tuple and isinstance(value, list) and members[1:] == (Ellipsis,):
        return [filled(members[0], entry) for entry in value]
    if not (isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, dict)):
        return value
    hints = {**_hints(hint), **fields}
    given = {name: filled(hints.get(name), entry) for name, entry in value.items()}
    return {**_defaults(hint), **given}


def _defaults(cls: type) -> dict[str, Any]:
    """The JSON values of the fields that have defaults."""
    found = {}
    for field in dataclasses.fields(cls):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if field.init and default is not dataclasses.MISSING:
            found[field.name] = _encode(default, _hints(cls)[field.name])
    return found


def kind_of(cls: type) -> str:
    """The name of a class in JSON."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _choices(hint: Any) -> dict[str, type]:
    """The dataclasses among the members of a union, by kind."""
    if get_origin(hint) not in (Union, types.UnionType):
        return {}
    members = [cls for cls in get_args(hint) if isinstance(cls, type)]
    return {kind_of(cls): cls for cls in members if dataclasses.is_dataclass(cls)}


def _encode(value: Any, hint: Any, fields: Mapping[str, Any] = types.MappingProxyType({})) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = {**_hints(type(value)), **fields}
        found = {name: _encode(getattr(value, name), hints[name]) for name in hints}
        return {KIND: kind_of(type(value))} | found if len(_choices(hint)) > 1 else found
    if isinstance(value, tuple | list):
        item = get_args(hint)[0] if get_args(hint) else Any
        return [_encode(entry, item) for entry in value]
    if isinstance(value, Mapping):
        return {str(name): _encode(entry, Any) for name, entry in value.items()}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"settings hold plain values, got {type(value).__name__}")


def _decode(hint: Any, value: Any, where: str, fields: Mapping[str, Any]) -> Any:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _decode_fields(hint, value, where, fields)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _decode_union(hint, value, where)
    if origin is typing.Annotated:
        return _decode(arguments[0], value, where, {})
    if origin is Literal:
        if value in arguments:
            return value
        raise ConfigError(f"{where} must be one of {', '.join(map(str, arguments))}, got {value!r}")
    if origin is tuple:
        return _decode_tuple(arguments, value, where)
    return _plain(hint, value, where)


def _decode_union(hint: Any, value: Any, where: str) -> Any:
    if value is None and type(None) in get_args(hint):
        return None
    choices = _choices(hint)
    if len(choices) > 1:
        kind = value.get(KIND) if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(kind, str) or kind not in choices:
            known = ", ".join(choices)
            raise ConfigError(f"{where}.{KIND} must be one of {known}, got {kind!r}")
        rest = {name: entry for name, entry in value.items() if name != KIND}
        return _decode_fields(choices[kind], rest, where, {})
    (member,) = (m for m in get_args(hint) if m is not type(None))
    return _decode(member, value, where, {})


def _decode_fields(cls: type, value: Any, where: str, fields: Mapping[str, Any]) -> Any:
    given = _require_settings(value, where)
    hints = {**_hints(cls), **fields}
    _require_known(given, hints, where)
    missing = sorted(hints.keys() - given.keys())
    if missing:
        raise ConfigError(f"{where}.{missing[0]} is missing")
    found = {name: _decode(hints[name], value[name], f"{where}.{name}", {}) for name in hints}
    try:
        return cls(**found)
    except ValueError as error:  # ConfigError among them
        raise ConfigError(f"{where}: {error}") from error


def _require_settings(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must hold settings, got {_short(value)}")
    return value


def _require_known(given: Mapping[str, Any], hints: Mapping[str, Any], where: str) -> None:
    unknown = sorted(given.keys() - hints.keys())
    if unknown:
        nearest = difflib.get_close_matches(unknown[0], hints, n=1, cutoff=0.5)
        hint = f": did you mean {nearest[0]}?" if nearest else ""
        raise ConfigError(f"{where}.{unknown[0]} is not known{hint}")


def _decode_tuple(items: tuple[Any, ...], value: Any, where: str) -> tuple:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where} must be a list, got {_short(value)}")
    if items[1:] == (Ellipsis,):
        items = items[:1] * len(value)
    if len(items) != len(value):
        raise ConfigError(f"{where} must have {len(items)} entries, got {len(value)}")
    pairs = enumerate(zip(items, value, strict=True))
    return tuple(_decode(item, entry, f"{where}[{i}]", {}) for i, (item, entry) in pairs)


def _plain(hint: Any, value: Any, where: str) -> Any:
    if hint is Path and isinstance(value, str):
        return Path(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number and abs(value) <= sys.float_info.max:
        return float(value)
    if hint is int and isinstance(value, int) and number:
        return value
    if hint in (bool, str) and isinstance(value, hint):
        return value
    names = {float: "a finite number", int: "a whole number", bool: "true or false"}
    raise ConfigError(f"{where} must be {names.get(hint, 'text')}, got {_short(value)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
