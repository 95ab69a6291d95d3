"""Images in a column of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from items.errors import ItemError
from items.files import IMAGE_BYTES, open_regular
from items.spec import ItemSpec
from serving.batches import Chunk, InputError, Stamp, fingerprint_of
from serving.images import Encoded, ImageDecoder

BATCH_BYTES = 1 << 27  # of the rows that are unpacked at once
EXPANSION = 100  # a column larger than that may unpack to 100 times its bytes; encoded images hardly compress
READ_BYTES = 1 << 20  # of a column that are read ahead; by default that is a whole row group


class ParquetOfImages:
    """Rows of a Parquet file with a column of encoded images: binary, or Hugging Face's struct<bytes, path>.

    A row's id comes from the column `id`; without one it is the row's number.
    """

    def __init__(self, path: Path, item: ItemSpec, resize: bool | None, column: str | None) -> None:
        self.path = str(path)
        self._decoder = ImageDecoder(item, resize)
        self._stamp = Stamp.of(path.stat())
        with self._opened() as file:
            metadata, schema = file.metadata, file.schema_arrow
            self._counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
            self.total = metadata.num_rows
        if sum(self._counts) != self.total or min(self._counts, default=0) < 0:
            raise InputError(f"{path}: its row groups hold {sum(self._counts)} rows, its footer says {self.total}")
        self._column = _image_column(path, schema, column)
        has_bytes = pa.types.is_struct(schema.field(self._column).type)
        self._leaf = f"{self._column}.bytes" if has_bytes else self._column
        self._columns = [self._leaf, *(["id"] if "id" in schema.names else [])]
        self.fingerprint = fingerprint_of(["parquet", self._column, *self._decoder.settings, *self._stamp.content])

    def chunks(self, start: int, size: int) -> Iterator[Chunk]:
        """Yield the images from row `start` on."""
        return self._decoder.ahead(self._rows(start, size), size)

    def check_unchanged(self) -> None:
        """Raise InputError if the file was written to or replaced since it was opened."""
        self._stamp.check(Path(self.path))

    def _rows(self, start: int, size: int) -> Iterator[Encoded]:
        with self._opened() as file:
            first = 0
            for group, count in enumerate(self._counts):
                if first + count > start:
                    yield from self._group(file, group, first, start, size)
                first += count

    def _group(self, file: pq.ParquetFile, group: int, first: int, start: int, size: int) -> Iterator[Encoded]:
        """Yield the images of a row group whose first row is `first`, from row `start` on."""
        at_once = self._rows_at_once(file.metadata.row_group(group), group, size)
        row = first
        for table in file.iter_batches(at_once, row_groups=[group], columns=self._columns, use_threads=False):
            images = table.column(self._column)
            images = images if self._leaf == self._column else images.field("bytes")
            ids = table.column("id").to_pylist() if "id" in self._columns else range(row, row + len(images))
            for offset, identity in enumerate(ids):
                if row + offset >= start:
                    yield str(row + offset if identity is None else identity), _content(images[offset])
            row += len(images)
        if row != first + self._counts[group]:  # pyarrow stops without an error where a file was cut
            self.check_unchanged()
            raise InputError(
                f"{self.path}: row group {group} gave {row - first} rows, its footer says {self._counts[group]}"
            )

    def _rows_at_once(self, row_group: pq.RowGroupMetaData, group: int, size: int) -> int:
        """Return a number of rows, at most `size`, that unpack to about BATCH_BYTES at most.

        Every row may repeat one value of a dictionary, or a prefix that values share.
        """
        mean = repeated = 0
        for chunk in map(row_group.column, range(row_group.num_columns)):
            if not any(f"{chunk.path_in_schema}.".startswith(f"{column}.") for column in self._columns):
                continue
            unpacked, packed = chunk.total_uncompressed_size, chunk.total_compressed_size
            if unpacked > BATCH_BYTES and unpacked > EXPANSION * packed:
                raise InputError(
                    f"{self.path}: row group {group}: {chunk.path_in_schema} unpacks {packed} bytes to {unpacked}, "
                    f"at most {EXPANSION} times as many are read"
                )
            mean += unpacked // max(1, row_group.num_rows)
            if "DELTA_BYTE_ARRAY" in chunk.encodings:
                repeated += unpacked
            elif chunk.has_dictionary_page:
                values = packed - (chunk.data_page_offset - chunk.dictionary_page_offset)
                repeated += max(0, unpacked - values)  # at least what the dictionary unpacks to
        return max(1, min(size, BATCH_BYTES // max(1, mean, repeated)))

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        # Not mapped: a mapped file that another process cuts would kill this process.
        try:
            open_regular(Path(self.path)).close()
            with pq.ParquetFile(Path(self.path).absolute(), buffer_size=READ_BYTES, pre_buffer=False) as file:
                yield file
        except InputError:
            raise
        except (ItemError, pa.ArrowException, OSError, ValueError, OverflowError) as error:
            self.check_unchanged()
            raise InputError(f"{self.path}: not a whole Parquet file: {error}") from error


def _content(value: pa.Scalar) -> bytes | partial[bytes]:
    buffer = value.as_buffer()
    if buffer is not None and buffer.size > IMAGE_BYTES:
        return partial(_refuse, buffer.size)
    return b"" if buffer is None else bytes(buffer.to_pybytes())


def _refuse(size: int) -> bytes:
    raise ItemError(f"it has {size} bytes, at most {IMAGE_BYTES} are read")


def _image_column(path: Path, schema: pa.Schema, column: str | None) -> str:
    images = [field.name for field in schema if _holds_images(field.type)]
    found = images if column is None else [name for name in images if name == column]
    if len(found) != 1:
        wanted = "one column of encoded images" if column is None else f"the column of encoded images {column!r}"
        raise InputError(f"{path}: must have {wanted}; it has {images or 'none'} among {schema.names}")
    return str(found[0])


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_images(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
