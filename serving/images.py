"""Encoded images (PNG, JPEG, …) as items: from a folder, or from a column of a Parquet file.

Files are decoded by a few threads ahead of whoever takes the batches, so that reading and inference overlap.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from items.errors import ItemError, SizeError
from items.pixels import MODES, SUFFIXES, Fit, decode
from serving.batches import Chunk, InputError, fingerprint_of, stamp
from serving.manifest import ItemContract
from serving.sessions import available_cpus

GROUP = 32  # images that a thread decodes in one go

Encoded = tuple[str, Path | bytes | None]  # an id, and where its image is or the image itself


class ImageDecoder:
    """Decodes encoded images to uint8 arrays (height, width, channels) of one shape."""

    def __init__(self, item: ItemContract, resize: bool | None) -> None:
        if item.kind != "image" or item.dtype != "uint8" or len(item.shape) != 3 or item.shape[-1] not in MODES:
            raise InputError(
                f"image files give uint8 pixels (height, width, 1 or 3); the bundle takes {item.kind} items, "
                f"{item.dtype} {item.shape}: give them as an .npy array"
            )
        height, width, channels = item.shape
        if height is None or width is None or channels is None:
            raise InputError(f"the bundle takes images of any size, {item.shape}: give an .npy array of one size")
        self._size, self._channels = (height, width), channels
        self._fit = item.fit if resize is None else (item.fit or Fit()) if resize else None

    @property
    def settings(self) -> list[object]:
        """What the decoded pixels depend on beside the file."""
        return [*self._size, self._channels, self._fit and self._fit.model_dump()]

    def chunk(self, group: list[Encoded]) -> Chunk:
        """Decode several images; the broken ones are told."""
        rows: list[NDArray[Any]] = []
        broken: dict[int, str] = {}
        for place, (_, encoded) in enumerate(group):
            try:
                rows.append(decode(encoded or b"", self._size, self._channels, self._fit))
            except SizeError as error:
                broken[place] = f"{error}; with --resize it is scaled and cut to that"
            except ItemError as error:
                broken[place] = str(error)
        shape = (*self._size, self._channels)
        return Chunk([name for name, _ in group], np.stack(rows) if rows else np.empty((0, *shape), np.uint8), broken)

    def ahead(self, images: Iterator[Encoded], size: int) -> Iterator[Chunk]:
        """Decode images in order by a few threads, two batches of `size` ahead."""
        group = min(GROUP, size)
        pending: deque[Future[Chunk]] = deque()
        pool = ThreadPoolExecutor(available_cpus(), thread_name_prefix="decode")
        try:
            while some := list(islice(images, group)):
                pending.append(pool.submit(self.chunk, some))
                if len(pending) > 2 * size // group:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


class FolderOfImages:
    """Image files below a folder, sorted by path; a file's id is its path in the folder, with slashes."""

    def __init__(self, path: Path, item: ItemContract, resize: bool | None) -> None:
        self.path = str(path)
        self._decoder = ImageDecoder(item, resize)
        self.total = 0
        digest = hashlib.sha256(fingerprint_of(["folder", *self._decoder.settings]).encode())
        for identity, file in _image_files(path):
            self.total += 1
            digest.update(fingerprint_of([identity, *(stamp(file) if file.exists() else ())]).encode())
        self.fingerprint = digest.hexdigest()

    def chunks(self, start: int, size: int) -> Iterator[Chunk]:
        """Decode the files from the `start`-th on."""
        return self._decoder.ahead(islice(_image_files(Path(self.path)), start, None), size)


class ParquetOfImages:
    """Rows of a Parquet file with a column of encoded images: binary, or Hugging Face's struct<bytes, path>.

    A row's id is its `id` column's, where there is one, else its number.
    """

    def __init__(self, path: Path, item: ItemContract, resize: bool | None, column: str | None) -> None:
        self.path = str(path)
        self._decoder = ImageDecoder(item, resize)
        try:
            with pq.ParquetFile(path, memory_map=True) as file:
                self.total = file.metadata.num_rows
                schema = file.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: not a whole Parquet file: {error}") from error
        self._column = _image_column(path, schema, column)
        self._has_bytes_field = pa.types.is_struct(schema.field(self._column).type)
        self._has_id = "id" in schema.names
        self.fingerprint = fingerprint_of(["parquet", self._column, *self._decoder.settings, *stamp(path)])

    def chunks(self, start: int, size: int) -> Iterator[Chunk]:
        """Decode the rows from `start` on."""
        return self._decoder.ahead(self._rows(start, size), size)

    def _rows(self, start: int, size: int) -> Iterator[Encoded]:
        columns = [f"{self._column}.bytes" if self._has_bytes_field else self._column] + ["id"] * self._has_id
        try:
            with pq.ParquetFile(self.path, memory_map=True) as file:
                first, groups = _row_groups_from(file.metadata, start)
                row = first
                for table in file.iter_batches(size, row_groups=groups, columns=columns, use_threads=False):
                    images = table.column(self._column)
                    images = images.field("bytes") if self._has_bytes_field else images
                    ids = table.column("id").to_pylist() if self._has_id else range(row, row + len(images))
                    for offset, identity in enumerate(ids):
                        if row + offset >= start:
                            yield str(row + offset if identity is None else identity), images[offset].as_py()
                    row += len(images)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{self.path}: not a whole Parquet file: {error}") from error


def _image_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Walk a folder in the order of its files' paths, holding the names of one folder at a time."""
    with os.scandir(folder) as entries:
        # "/" after a folder's name sorts it as its files' paths are sorted. Links to folders could make a circle.
        found = sorted((entry.name + "/" * entry.is_dir(follow_symlinks=False), entry.path) for entry in entries)
    for name, path in found:
        if name.endswith("/"):
            yield from ((_readable(name) + below, file) for below, file in _image_files(Path(path)))
        elif Path(name).suffix.lower() in SUFFIXES:
            yield _readable(name), Path(path)


def _row_groups_from(metadata: pq.FileMetaData, start: int) -> tuple[int, list[int]]:
    """Return the first row of the row group that holds row `start`, and this and the later row groups."""
    first = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if first + rows > start:
            return first, list(range(group, metadata.num_row_groups))
        first += rows
    return first, []


def _image_column(path: Path, schema: pa.Schema, column: str | None) -> str:
    images = [field.name for field in schema if _holds_images(field.type)]
    found = images if column is None else [name for name in images if name == column]
    if len(found) != 1:
        wanted = "one column of encoded images" if column is None else f"the column of encoded images {column!r}"
        raise InputError(f"{path}: needs {wanted}; it has {images or 'none'} among {schema.names}")
    return str(found[0])


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_images(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _readable(name: str) -> str:
    """Return a file's name with bytes that are not UTF-8 written out as \\xNN: ids are text."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
