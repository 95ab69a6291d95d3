"""Encoded images (PNG, JPEG, …) as items: from a folder, or from a column of a Parquet file.

Files are decoded by a few threads ahead of whoever takes the batches, so that reading and inference overlap.
"""

from __future__ import annotations

import hashlib
import io
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
from PIL import Image, ImageOps, UnidentifiedImageError

from serving.batches import Chunk, InputError, fingerprint_of, stamp
from serving.manifest import ItemContract
from serving.sessions import available_cpus

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
MODES = {1: "L", 3: "RGB"}
GROUP = 32  # images that a thread decodes in one go

Encoded = tuple[str, Path | bytes | None]  # an id, and where its image is or the image itself


class ImageDecoder:
    """Decodes encoded images to uint8 arrays (height, width, channels) of one shape."""

    def __init__(self, item: ItemContract, resize: bool) -> None:
        if item.kind != "image" or item.dtype != "uint8" or len(item.shape) != 3 or item.shape[-1] not in MODES:
            raise InputError(
                f"image files give uint8 pixels (height, width, 1 or 3); the bundle takes {item.kind} items, "
                f"{item.dtype} {item.shape}: give them as an .npy array"
            )
        height, width, channels = item.shape
        if height is None or width is None or channels is None:
            raise InputError(f"the bundle takes images of any size, {item.shape}: give an .npy array of one size")
        self._size, self._channels = (width, height), channels
        self._resize = resize

    @property
    def settings(self) -> list[object]:
        """What the decoded pixels depend on beside the file."""
        return [*self._size, self._channels, self._resize]

    def decode(self, encoded: Path | bytes | None) -> NDArray[Any]:
        """Decode one image, of several frames the first, as the data that models are trained on is decoded.

        It is turned upright as its EXIF orientation says, put on white where it is transparent, brought to 8 bits a
        channel and, where `resize` was asked for, scaled so that it just covers the bundle's size and cut around its
        middle.

        Raises:
            InputError: there is no image, or it is of another size or depth.
            Exception: Pillow's, of many kinds, where the image is broken.
        """
        data = encoded.read_bytes() if isinstance(encoded, Path) else encoded
        if not data:
            raise InputError("it is empty")
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            count, limit = image.width * image.height, Image.MAX_IMAGE_PIXELS
            if limit is not None and count > limit:
                raise InputError(f"it has {count} pixels, at most {limit} are read")
            if image.mode == "F":
                raise InputError("its pixels are floating-point numbers, whose range nobody knows")
            image.load()
            upright = ImageOps.exif_transpose(image)
            pixels = _on_white(_from_sixteen_bits(upright) if image.mode[0] == "I" else upright)
            if pixels.size != self._size and not self._resize:
                raise InputError("it is {}×{} pixels, the bundle takes {}×{}".format(*pixels.size, *self._size))
            if pixels.mode != MODES[self._channels]:
                pixels = pixels.convert(MODES[self._channels])
            if pixels.size != self._size:
                pixels = ImageOps.fit(pixels, self._size, Image.Resampling.LANCZOS)
            return np.asarray(pixels, np.uint8).reshape(self._size[1], self._size[0], self._channels)

    def chunk(self, group: list[Encoded]) -> Chunk:
        """Decode several images; the broken ones are told."""
        rows: list[NDArray[Any]] = []
        broken: dict[int, str] = {}
        for place, (_, encoded) in enumerate(group):
            try:
                rows.append(self.decode(encoded))
            except Exception as error:  # Pillow's decoders raise what their parsers trip over
                broken[place] = str(error) if isinstance(error, InputError) else _reason(error)
        shape = (self._size[1], self._size[0], self._channels)
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

    def __init__(self, path: Path, item: ItemContract, resize: bool) -> None:
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

    def __init__(self, path: Path, item: ItemContract, resize: bool, column: str | None) -> None:
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


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    values: NDArray[Any] = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        told = f"{values.min()} to {values.max()}, at most 16 bits without a sign are read"
        raise InputError(f"its pixels go from {told}")
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))  # Pillow itself would cut at 255


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    over = image.convert("RGBA")
    white = Image.new("RGBA", over.size, (255, 255, 255, 255))
    white.alpha_composite(over)
    return white


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


def _reason(error: Exception) -> str:
    """Say in one line why Pillow gave up, without its buffer's address."""
    if isinstance(error, UnidentifiedImageError):
        return "it is not a whole image in a format that is read (" + ", ".join(FORMATS) + ")"
    return f"it cannot be read: {' '.join(str(error).split()) or type(error).__name__}"
