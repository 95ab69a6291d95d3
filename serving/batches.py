"""What it is to be an input: entries read in order, cut into batches of whole items, the broken ones told.

However many items there are, only a few batches are in memory. An item that cannot be read is told by its id and the
reason, and the rest goes on; whoever reads decides whether to stop.
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
    """An input that cannot be read at all, or an item of it: says which, and what is allowed."""


@dataclass(frozen=True)
class Skipped:
    """An item that cannot be encoded."""

    id: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """Items that follow one another in the input, whole; and those between them that cannot be read.

    Attributes:
        ids: of the whole items, n.
        items: (n, *item shape), of the item contract's dtype.
        skipped: the others, in the input's order.
        stop: the position in the input after the last item of this batch, whole or not.
    """

    ids: list[str]
    items: NDArray[Any]
    skipped: list[Skipped]
    stop: int


@dataclass(frozen=True)
class Chunk:
    """What a source reads at once: entry i of the input has ids[i], and a reason in `broken` or a row in `items`."""

    ids: list[str]
    items: NDArray[Any]
    broken: dict[int, str]

    def skipped(self, first: int, stop: int) -> list[Skipped]:
        """Tell the broken ones among entries `first` to `stop`."""
        return [Skipped(self.ids[place], why) for place, why in self.broken.items() if first <= place < stop]


class Source(Protocol):
    """An input that has been opened.

    Attributes:
        path: as it was given.
        total: entries, whole or not.
        fingerprint: changes when the input, or how it is read, does.
    """

    path: str
    total: int
    fingerprint: str

    def chunks(self, start: int, size: int) -> Iterator[Chunk]:
        """Read the entries from position `start` on, in order, at most `size` at once.

        Raises:
            InputError: the input was changed since it was opened.
        """

    def check_unchanged(self) -> None:
        """Raise InputError if what has been read may be something else than what was opened."""


def batches(source: Source, size: int, start: int = 0) -> Iterator[Batch]:
    """Cut a source into batches of exactly `size` whole items, in the input's order; only the last may be smaller.

    The last batch has no items where only broken ones were left. Broken entries are told with the next whole item.
    """
    ids: list[str] = []
    rows: list[NDArray[Any]] = []
    skipped: list[Skipped] = []
    position = start
    for chunk in source.chunks(start, size):
        whole = [place for place in range(len(chunk.ids)) if place not in chunk.broken]
        begin = told = 0  # of this chunk's whole items, and of its entries, what no batch has yet
        while begin < len(whole):
            taken = whole[begin : begin + size - len(ids)]
            ids += [chunk.ids[place] for place in taken]
            rows.append(chunk.items[begin : begin + len(taken)])
            begin += len(taken)
            if len(ids) == size:
                stop = taken[-1] + 1
                yield Batch(ids, np.concatenate(rows), skipped + chunk.skipped(told, stop), position + stop)
                ids, rows, skipped, told = [], [], [], stop
        skipped += chunk.skipped(told, len(chunk.ids))
        position += len(chunk.ids)
        rows = rows or [chunk.items[:0]]
    if ids or skipped:
        yield Batch(ids, np.concatenate(rows), skipped, position)


@dataclass(frozen=True)
class Stamp:
    """What shows that a file was written to or replaced: size in bytes, modification time in nanoseconds, inode."""

    size: int
    modified: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Return the stamp of a file with such a status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)

    @property
    def content(self) -> tuple[int, int]:
        """What stays the same in a copy that keeps the times."""
        return self.size, self.modified

    def check(self, path: Path) -> None:
        """Raise InputError if the file at `path` has another stamp by now."""
        try:
            now = Stamp.of(path.stat())
        except OSError as error:
            raise InputError(f"{path}: cannot be found any more while it is encoded: {error.strerror}") from error
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
