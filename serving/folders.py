"""Images in files below a folder."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from items.errors import ItemError
from items.files import names_below, read_within, readable
from items.pixels import SUFFIXES
from items.spec import ItemSpec
from serving.batches import ENCODE_AGAIN, Chunk, InputError, Stamp, fingerprint_of
from serving.images import Encoded, ImageDecoder


class FolderOfImages:
    """Image files below a folder, sorted by path. A file's id is its path in the folder, with slashes."""

    def __init__(self, path: Path, item: ItemSpec, resize: bool | None) -> None:
        self.path = str(path)
        self._folder = path
        self._decoder = ImageDecoder(item, resize)
        self._seen = array("q")  # hashes of the files' names and stamps
        digest = hashlib.sha256(fingerprint_of(["folder", *self._decoder.settings]).encode())
        for name in names_below(path, SUFFIXES):
            stamp = self._stamp(name)
            digest.update(fingerprint_of([readable(name), *stamp]).encode())
            self._seen.append(hash((name, stamp)))
        self.total = len(self._seen)
        self.fingerprint = digest.hexdigest()

    def chunks(self, start: int, size: int) -> Iterator[Chunk]:
        """Yield the images from position `start` on."""
        return self._decoder.ahead(self._files(start), size)

    def check_unchanged(self) -> None:
        """Do nothing: each file is checked after it was read."""

    def _files(self, start: int) -> Iterator[Encoded]:
        count = 0
        for name in names_below(self._folder, SUFFIXES):
            if count >= start:
                yield readable(name), partial(self._read, count, name)
            count += 1
        if count != self.total:
            raise InputError(
                f"{self.path}: changed while it was encoded: it held {self.total} images and holds {count} now; "
                f"{ENCODE_AGAIN}"
            )

    def _read(self, position: int, name: str) -> bytes:
        """Return the content of the file that was at this position when the folder was opened.

        Raises:
            ItemError: it cannot be read.
            InputError: it is another file now, or was written to.
        """
        try:
            content, status = read_within(self._folder, name)
        except ItemError:
            self._check(position, name, self._stamp(name))
            raise
        self._check(position, name, Stamp.of(status).content)
        return content

    def _check(self, position: int, name: str, stamp: tuple[int, ...]) -> None:
        if position >= self.total or hash((name, stamp)) != self._seen[position]:
            raise InputError(
                f"{self.path}: changed while it was encoded: {readable(name)} was written to, added or replaced, "
                f"or a file before it removed; {ENCODE_AGAIN}"
            )

    def _stamp(self, name: str) -> tuple[int, ...]:
        try:
            return Stamp.of((self._folder / name).stat()).content
        except OSError:
            return ()  # reading it gives the reason
