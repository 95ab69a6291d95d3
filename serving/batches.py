"""Inputs as batches of items, in order and a few at a time, with the broken items beside them.

An item that cannot be read is reported with its id and the reason; the caller decides whether to stop there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

ENCODE_AGAIN = "encode it again, with --overwrite, when nothing writes to it"


class InputError(ValueError):
    """An input, or an item of it, cannot be read: the message says which, why, and what is allowed."""


@dataclass(frozen=True)
class Skipped:
    """An item that cannot be encoded."""

    id: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """Consecutive items of an input: those that could be read, and those between them that could not.

    Attributes:
        ids: of the whole items, n.
        items: (n, *item shape), of the item's dtype.
        skipped: the broken items, in the input's order.
        stop: the position in the input after this batch's last item, whole or broken.
    """

    ids: list[str]
    items: NDArray[Any]
    skipped: list[Skipped]
    stop: int


@dataclass(frozen=True)
class Chunk:
    """Consecutive items of an input as a source reads them.

    Attributes:
        ids: of all items.
        items: the whole ones, (n, *item shape).
        broken: the reasons of the others, by their position in `ids`.
    """

    ids: list[str]
    items: NDArray[Any]
    broken: dict[int, str]

    def skipped(self, first: int, stop: int) -> list[Skipped]:
        """Return the broken items among those from position `first` to `stop`."""
        return [Skipped(self.ids[place], why) for place, why in self.broken.items() if first <= place < stop]


class Source(Protocol):
    """An input that has been opened.

    Attributes:
        path: as it was given.
        total: items, whole or broken.
        fingerprint: changes with the input and with the way in which it is read.
    """

    path: str
    total: int
    fingerprint: str

    def chunks(self, start: int, size: int) -> Iterator[Chunk]:
        """Yield the items from position `start` on, in order, at most `size` at once.

        Raises:
            InputError: the input has changed since it was opened.
        """

    def check_unchanged(self) -> None:
        """Raise InputError if the input may have changed since it was opened."""


def batches(source: Source, size: int, start: int = 0) -> Iterator[Batch]:
    """Yield a source's items in batches of exactly `size` whole ones, in the input's order; the last may be smaller.

    A broken item is in the batch of the next whole one. The last batch has no items where only broken ones were left.
    """
    ids: list[str] = []
    rows: list[NDArray[Any]] = []
    skipped: list[Skipped] = []
    position = start
    for chunk in source.chunks(start, size):
        whole = [place for place in range(len(chunk.ids)) if place not in chunk.broken]
        begin = reported = 0  # the first whole item, and the first of all, that no batch has yet
        while begin < len(whole):
            taken = whole[begin : begin + size - len(ids)]
            ids += [chunk.ids[place] for place in taken]
            rows.append(chunk.items[begin : begin + len(taken)])
            begin += len(taken)
            if len(ids) == size:
                stop = taken[-1] + 1
                yield Batch(ids, np.concatenate(rows), skipped + chunk.skipped(reported, stop), position + stop)
                ids, rows, skipped, reported = [], [], [], stop
        skipped += chunk.skipped(reported, len(chunk.ids))
        position += len(chunk.ids)
        rows = rows or [chunk.items[:0]]
    if ids or skipped:
        yield Batch(ids, np.concatenate(rows), skipped, position)


@dataclass(frozen=True)
class Stamp:
    """Marks of a file's state: its size in bytes, modification time in nanoseconds, and inode."""

    size: int
    modified: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Return the stamp of a file by its status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)

    @property
    def content(self) -> tuple[int, int]:
        """Those marks that a copy has too, if it keeps the times."""
        return self.size, self.modified

    def check(self, path: Path) -> None:
        """Raise InputError if the file at `path` has another stamp now."""
        try:
            now = Stamp.of(path.stat())
        except OSError as error:
            raise InputError(f"{path}: was removed while it was encoded: {error.strerror}") from error
        if now != self:
            how = (
                f"it had {self.size} bytes and has {now.size} now"
                if now.size != self.size
                else "it was written to"
                if now.inode == self.inode
                else "it was replaced by another file"
            )
            raise InputError(f"{path}: changed while it was encoded: {how}; {ENCODE_AGAIN}")


def fingerprint_of(parts: list[Any]) -> str:
    """Return the sha256 of a list of strings and numbers."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
