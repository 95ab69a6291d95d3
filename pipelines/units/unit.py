"""A unit of a stage's work, and its result: a folder of files under a key."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from items.atomic import written_whole
from pipelines.units.storage import Files, Storage

RESULT = "unit.json"  # beside a result's files: the key that it was made under, and each file's sha256


@dataclass(frozen=True, eq=False)
class Unit:
    """One piece of a stage's work, done in a worker process on any node.

    Attributes:
        name: what progress and errors call it, such as `mnist-deep`.
        key: a digest of all that decides its result; see :mod:`pipelines.units.key`.
        work: a module's function, called as `work(out, **arguments, **inputs)`. It writes the result's files, without
            folders, into the empty folder `out`.
        place: the folder of its result. One that is there under the same key is left alone.
        arguments: JSON-able.
        inputs: files and folders on this machine, or units, whose results they are. `work` is given paths that hold
            the same wherever it runs; a tuple of them for a tuple of units.
        seconds: about how long it takes on one core; the longest are begun first.
        cpus, gpus: its share of a node.
    """

    name: str
    key: str
    work: Callable[..., None]
    place: Path | Storage
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Path | Unit | tuple[Unit, ...]] = field(default_factory=dict)
    seconds: float = 1.0
    cpus: float = 1.0
    gpus: float = 0.0

    @property
    def needs(self) -> tuple[Unit, ...]:
        """The units that must be done before it."""
        found: list[Unit] = []
        for given in self.inputs.values():
            found += [given] if isinstance(given, Unit) else given if isinstance(given, tuple) else []
        return tuple(found)

    @property
    def storage(self) -> Storage:
        """The folder of its result."""
        return self.place if isinstance(self.place, Storage) else Storage(self.place)

    def done(self) -> bool:
        """Return whether its result is there: under its key, every file whole."""
        return result_key(self.storage) == self.key


def result_key(place: Storage) -> str | None:
    """Return the key of the result in a folder; None where there is none, or one of its files is damaged."""
    try:
        known = json.loads(place.read(RESULT))
        key: str = known["key"]
        whole = all(_sha256(place.read(name)) == digest for name, digest in known["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return key if whole else None


def read_folder(folder: Path) -> Files:
    """Return the files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def write_result(place: Storage, key: str, files: Files) -> None:
    """Write a result: whole, or not at all."""
    digests = {name: _sha256(content) for name, content in files.items()}
    sealed = {**files, RESULT: json.dumps({"key": key, "files": digests}, indent=1).encode()}
    if place.local is None:
        place.write_folder(sealed, last=RESULT)
        return
    with written_whole(place.local) as made:
        for name, content in sealed.items():
            (made / name).write_bytes(content)


def delete_others(folder: Path, names: Iterable[str]) -> None:
    """Delete from a stage's folder what no experiment or study of these names has put there."""
    kept = set(names)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.partition(".")[0] not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
