"""Texts in a table, or in text files below a folder."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from items.documents import TEXT, Row, rows_of
from items.errors import ItemError
from items.files import names_below, readable
from items.spec import ItemSpec
from items.text import excerpt
from serving.batches import Chunk, InputError, Stamp, fingerprint_of

COLUMN = "text"  # where none is named


class Texts:
    """The texts of one column. A row's id comes from the column `id`; without one it is the row's number.

    A text without a known word has the code of no words at all, and is no error.
    """

    def __init__(self, path: Path, item: ItemSpec, column: str | None) -> None:
        if item.vocabulary is None:
            raise InputError(f"{path}: holds texts; the bundle takes {item.kind} items of shape {item.shape}")
        self.path, self._vocabulary, self._column = str(path), item.vocabulary, column or COLUMN
        names = names_below(path, TEXT) if path.is_dir() else [""]
        self._stamps = {name: stamp for name in names if (stamp := _stamp(path / name)) is not None}
        self.total = sum(1 for _ in self._rows())
        content = [[readable(name), *stamp.content] for name, stamp in self._stamps.items()]
        self.fingerprint = fingerprint_of(["texts", self._column, *content])

    def chunks(self, start: int, size: int) -> Iterator[Chunk]:
        """Yield the texts from position `start` on, as counts of words."""
        rows = enumerate(self._rows())
        for _ in islice(rows, start):
            pass
        while some := list(islice(rows, size)):
            texts, broken = [], {}
            for place, (_, row) in enumerate(some):
                try:
                    texts.append(row.text(self._column))
                except ItemError as error:
                    broken[place] = str(error)
            ids = [_id(number, row) for number, row in some]
            yield Chunk(ids, self._vocabulary.count(texts)[:], broken)

    def excerpts(self, ids: Collection[str]) -> dict[str, str]:
        """Return the first words of the texts that have these ids."""
        found: dict[str, str] = {}
        for number, row in enumerate(self._rows()):
            identity = _id(number, row)
            if identity in ids and identity not in found:
                with suppress(ItemError):
                    found[identity] = excerpt(row.text(self._column))
            if len(found) == len(set(ids)):
                break
        return found

    def check_unchanged(self) -> None:
        """Raise InputError if a file was written to, replaced or removed since it was opened."""
        for name, stamp in self._stamps.items():
            stamp.check(Path(self.path, name) if name else Path(self.path))

    def _rows(self) -> Iterator[Row]:
        try:
            yield from rows_of(Path(self.path), [self._column])
        except (ItemError, OSError) as error:
            self.check_unchanged()
            raise InputError(f"{self.path}: {error}") from error


def _id(number: int, row: Row) -> str:
    given = row.values.get("id")
    return str(number if given is None else given)


def _stamp(path: Path) -> Stamp | None:
    """Return a file's stamp; None where it is not there, and reading it gives the reason."""
    try:
        return Stamp.of(path.stat())
    except OSError:
        return None
