"""What a run remembers of its files: a digest of each, in a manifest that is sealed with its own."""

import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jbg.interfaces import ConfigError

SEAL, FILES = "seal", "files"
_MAKERS = {"evaluation.npz": "evaluate", "results.json": "evaluate"}


def digest_of_file(path: Path) -> str:
    """SHA-256 of what is in ``path``, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of a plain JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with a digest of all that is in it."""
    plain = {name: value for name, value in manifest.items() if name != SEAL}
    return plain | {SEAL: digest_of(plain)}


def unsealed(manifest: Any, path: Path) -> dict[str, Any]:
    """The manifest that ``path`` holds, without its seal.

    Raises:
        ConfigError: it is not as it was written, or of a version of jbg that sealed none.
    """
    if not isinstance(manifest, dict) or not isinstance(manifest.get("stages"), dict):
        raise ConfigError(f"{path}: damaged (no stages): choose another --out")
    if SEAL not in manifest:
        raise ConfigError(
            f"{path} has no seal: {_made_by(manifest)} began this run, which kept no checksums: go on with "
            "that version, or choose another --out"
        )
    found = sealed(manifest)
    if found.pop(SEAL) != manifest[SEAL]:
        raise ConfigError(
            f"{path}: damaged, or changed by hand (checksum): put it back as it was, or choose another --out"
        )
    return found


def _made_by(manifest: Mapping[str, Any]) -> str:
    versions, source = manifest.get("versions"), manifest.get("source")
    version = versions.get("jbg") if isinstance(versions, dict) else None
    commit = source.get("commit") if isinstance(source, dict) else None
    return f"jbg {version or 'of unknown version'}" + (f" (commit {commit})" if commit else "")


def began(path: Path, manifest: Mapping[str, Any], system: Any) -> str:
    """The command that began a run, as a user types it."""
    command = [str(word) for word in manifest.get("command") or []]
    if len(command) > 1 and command[1] in ("run", "simulate", "md", "continue"):
        return f"`{shlex.join(['jbg', *_with_out(command[1:], path)])}`"
    begin = "md" if system == "md" else f"run {system}"
    return f"`jbg {begin} --out {shlex.quote(str(path))}` with the options it was begun with"


def _with_out(words: list[str], path: Path) -> list[str]:
    """The words of a command with the run's folder as it is now: it may have been copied or moved."""
    given = next((i for i, word in enumerate(words) if word == "--out"), len(words))
    before = Path(words[given + 1]) if given + 1 < len(words) else None
    if before is not None and before.absolute() == path.absolute():
        return words
    return [*words[:given], "--out", str(path), *words[given + 2 :]]


def repair(path: Path, name: str, manifest: Mapping[str, Any], system: Any) -> str:
    """Advice about a file of a run that is missing, damaged or changed.

    Args:
        path: folder of the run.
        name: path of the file inside the folder.
        manifest: of the run, with the command that began it.
        system: name of the study, for the advice where the manifest does not hold such a command.
    """
    maker, here = _MAKERS.get(name), shlex.quote(str(path))
    if name == "metrics.jsonl" or name.startswith("stages/"):
        return f"delete {here}/checkpoints and run `jbg train {here}` to train again"
    config = manifest.get("config")
    if maker and isinstance(config, dict) and config.get("stages"):  # a run that has an evaluation
        return f"run `jbg {maker} {here}` to make it again"
    return f"delete it, then {began(path, manifest, system)} makes it again"


def merge(into: dict[str, Any], entries: Mapping[str, Any]) -> None:
    """Adds entries to a manifest, dictionaries to the dictionaries there."""
    for name, entry in entries.items():
        if isinstance(entry, dict) and isinstance(into.get(name), dict):
            merge(into[name], entry)
        else:
            into[name] = entry


def new_entry(digest: str, stage: str | None, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """The record of a file about to be replaced: its digest, then that of what it replaces.

    Both are good: a kill may fall before the replacement.
    """
    earlier = [old for old in (before or {}).get("sha256", [])[:1] if old != digest]
    return {"sha256": [digest, *earlier], "stage": stage}


def settle(path: Path, files: dict[str, Any], stage: str) -> None:
    """At the end of a stage: forgets those of its files that it deleted again."""
    for name in [name for name, entry in files.items() if entry.get("stage") == stage]:
        if not (path / name).exists():
            del files[name]


def missing(path: Path, files: Mapping[str, Any], stage: str) -> list[str]:
    """Files that a stage made and that are gone."""
    ours = (name for name, entry in files.items() if entry.get("stage") == stage)
    return [name for name in ours if not (path / name).exists()]


def require_same(path: Path, name: str, manifest: Mapping[str, Any], system: Any) -> None:
    """Check that a file of a run, which must exist, is the one that the run wrote.

    Args:
        path, name, manifest, system: as for `repair`.

    Raises:
        ConfigError: the run did not write this file, or its digest differs.
    """
    entry = manifest.get(FILES, {}).get(name)
    if entry is None:
        raise ConfigError(
            f"{path / name} is none that this run wrote ({_made_by(manifest)} began it): "
            f"{repair(path, name, manifest, system)}"
        )
    if digest_of_file(path / name) not in entry["sha256"]:
        raise ConfigError(
            f"{path / name}: damaged, or changed since this run wrote it (checksum): "
            f"{repair(path, name, manifest, system)}"
        )
