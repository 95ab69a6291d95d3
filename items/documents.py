"""Texts in files: a CSV or JSON-lines or Parquet table with a column of them, or a folder of text files."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from items.errors import ItemError, one_line
from items.files import names_below, open_regular, read_within, readable

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
TEXT = (".txt",)
LARGEST = 1 << 30  # bytes of one text file
BATCH = 1024  # rows of a Parquet file that are unpacked at once


@dataclass(frozen=True)
class Row:
    """A text with what stands beside it.

    Attributes:
        place: where it is, as an error should name it: `line 7`, `row 3`, or a file's path.
        values: by column; a folder's files have `id`, their path, `text`, and `folder`, the first on that path. The
            text of a file that cannot be read is the error, which :meth:`text` raises.
    """

    place: str
    values: dict[str, Any]

    def text(self, column: str) -> str:
        """Return a column's text; nothing is the empty text.

        Raises:
            ItemError: it is something else.
        """
        value = self.values[column]
        if value is None:
            return ""
        if isinstance(value, ItemError):
            raise value
        if not isinstance(value, str):
            raise ItemError(f"{self.place}: {column} is {one_line(value, 50)}, must be text")
        return value

    def names(self, column: str) -> tuple[str, ...]:
        """Return a column's names of classes: one, several in a list, or none where it is empty."""
        value = self.values[column]
        if value is None or value == "":
            return ()
        return tuple(map(str, value)) if isinstance(value, list) else (str(value),)


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a table, or the text files below a folder, sorted by path.

    Args:
        path: the table or folder.
        columns: that every row must have; others may be left out, but for `id`.

    Raises:
        ItemError: it is of no known kind, a row of it cannot be read or lacks a column; names the row, and the columns
            that are there.
    """
    for row in _all_rows(path, columns):
        check_columns(row, columns)
        yield row


def _all_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    if path.is_dir():
        return _files(path)
    if path.suffix.lower() == ".parquet":
        return _parquet(path, {*columns, "id"})
    readers = {".csv": _delimited, ".tsv": _delimited, ".jsonl": _json_lines}
    if path.suffix.lower() not in readers:
        raise ItemError(f"it must be a folder of {', '.join(TEXT)} files, or a file that ends in {', '.join(SUFFIXES)}")
    return readers[path.suffix.lower()](path)


def check_columns(row: Row, columns: Sequence[str]) -> None:
    """Raise ItemError where a row lacks a column; it names those that are there."""
    for column in columns:
        if column not in row.values:
            raise ItemError(f"{row.place}: has no column {column}, its columns are {', '.join(row.values)}")


def _lines(path: Path) -> Iterator[str]:
    """Yield a file's lines with their ends."""
    with open_regular(path) as raw:
        for number, line in enumerate(io.BufferedReader(raw), start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ItemError(f"line {number}: is no UTF-8: {error.reason} at byte {error.start}") from None


def _delimited(path: Path) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # a text may be of any length
    reader = csv.reader(_lines(path), delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
    header: list[str] = []
    try:
        for fields in reader:
            place = f"line {reader.line_num}"
            if not header:
                header = fields
                if len(set(header)) < len(header):
                    raise ItemError(f"{place}: the columns {', '.join(header)} must differ from each other")
            elif len(fields) != len(header):
                if fields:
                    raise ItemError(f"{place}: has {len(fields)} fields, the header has {len(header)}")
            else:
                yield Row(place, dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise ItemError(f"line {reader.line_num}: {error}") from error


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ItemError(f"line {number}: is no JSON: {one_line(error, 100)}") from error
        if not isinstance(values, dict):
            raise ItemError(f"line {number}: is {one_line(values, 50)}, must be an object")
        # An escape may stand for half of a character, as in a text that was cut, which nothing could write.
        yield Row(f"line {number}", _whole(values) if "\\ud" in line.lower() else values)


def _whole(value: Any) -> Any:
    """Return a JSON value with the sign of a lost character in the place of each half of one."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return {_whole(key): _whole(each) for key, each in value.items()} if isinstance(value, dict) else value


def _parquet(path: Path, wanted: AbstractSet[str]) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise ItemError(f"the columns {', '.join(names)} must differ from each other")
            kept, number = [name for name in names if name in wanted], 0
            if not wanted - {"id"} <= set(names):
                yield Row("row 0", dict.fromkeys(names))  # which names the columns that are there
            for batch in file.iter_batches(BATCH, columns=kept):
                for values in batch.to_pylist():
                    yield Row(f"row {number}", values)
                    number += 1
    except ItemError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise ItemError(f"not a whole Parquet file: {one_line(error, 200)}") from error


def _files(folder: Path) -> Iterator[Row]:
    text: str | ItemError
    for name in names_below(folder, TEXT):
        shown = readable(name)
        try:
            content, _ = read_within(folder, name, LARGEST)
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            text = ItemError(f"{shown}: is no UTF-8: {error.reason} at byte {error.start}")
        except ItemError as error:
            text = "" if str(error) == "it is empty" else ItemError(f"{shown}: {error}")
        first = shown.partition("/")[0] if "/" in shown else None
        yield Row(shown, {"id": shown, "text": text, "folder": first})
