"""The prepared dataset on disk: a folder with schema.json and one memory-mappable .npy file an array.

    data/mnist/schema.json   data/mnist/train-items.npy   data/mnist/train-labels.npy   ...

`prepare` writes it; every later stage opens it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from components.data.checks import Arrays, check_split
from components.data.errors import DataError
from components.data.schema import (
    SPLITS,
    ArrayFile,
    DatasetSchema,
    Split,
    SplitName,
    Splits,
    content_digest,
    read_schema,
    sparse_names,
)
from items.atomic import written_whole
from items.digests import sha256_of
from items.errors import ItemError, first_error
from items.npy import NpyFile
from items.sparse import SparseRows
from items.spec import ItemSpec

SCHEMA_FILE = "schema.json"
_STORED: tuple[Literal["uint8", "int32", "int64", "float32"], ...] = ("uint8", "int32", "int64", "float32")


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset opened from its folder. Small to copy to another process: arrays are mapped when asked for."""

    schema: DatasetSchema
    folder: Path

    def array(self, split: SplitName, name: str = "items") -> NDArray[Any]:
        """Return an array as a read-only memory map; `items`, where they are dense, is (count, *item.shape).

        Its sha256 is checked, once a process as long as the file stays what it was.

        Raises:
            DataError: the split has no such array, or its file is missing, truncated or not as the schema says.
        """
        arrays = self.schema.splits[split].arrays
        if name not in arrays:
            raise DataError(f"dataset {self.schema.name}, split {split}: no array {name}, has {', '.join(arrays)}")
        path, described = self.folder / arrays[name].file, arrays[name]
        mapped = _map(self.schema.name, path, described)
        if (found := _sha256(path)) != described.sha256:
            raise DataError(
                f"dataset {self.schema.name}: {path} is damaged, its sha256 is {found}, must be {described.sha256}; "
                f"`python -m pipelines.prepare {self.schema.name}` writes it anew"
            )
        return mapped

    def items(self, split: SplitName) -> NDArray[Any] | SparseRows:
        """Return the raw items (count, *item.shape) of item.dtype, memory-mapped: dense, or as sparse rows.

        Raises: see :meth:`array`.
        """
        item = self.schema.item
        return self.array(split) if item.layout == "dense" else self._rows(split, "items", item.values)

    def topics(self, split: SplitName) -> SparseRows | None:
        """Return 1 where an item is of a class, (count, classes); None where each has one label, or there are none."""
        if sparse_names("topics")[0] not in self.schema.splits[split].arrays:
            return None
        return self._rows(split, "topics", len(self.schema.classes or ()))

    def _rows(self, split: SplitName, name: str, width: int) -> SparseRows:
        indptr, indices, counts = (self.array(split, array) for array in sparse_names(name))
        return SparseRows(indptr, indices, counts, width)

    def labels(self, split: SplitName) -> NDArray[Any] | None:
        """Return the class index of each item, (count,) of integers, or None where the dataset has no classes."""
        return self.array(split, "labels") if "labels" in self.schema.splits[split].arrays else None

    def count(self, split: SplitName) -> int:
        """Items in the split."""
        return self.schema.splits[split].count


def write_dataset(
    folder: Path,
    name: str,
    item: ItemSpec,
    splits: Mapping[SplitName, Arrays],
    classes: Sequence[str] | None,
    source: str,
    licence: str,
    remarks: Mapping[str, int] | None = None,
) -> DatasetSchema:
    """Write a prepared dataset to `folder`, whole or not at all; one that is there is replaced.

    Args:
        folder: where the dataset goes; absent, empty, or a prepared dataset.
        name: the dataset's name in params.yaml.
        item: what one item is.
        splits: train, validation and test, each as :func:`check_split` says.
        classes: the classes' names in the order of their labels, or None.
        source: what the data is and which way it came.
        licence: under which it may be used.
        remarks: what was counted on the way.

    Raises:
        DataError: an array is not as said above, or `folder` holds something else.
    """
    if set(splits) != set(SPLITS):
        raise DataError(f"dataset {name}: has the splits {sorted(splits)}, must have {sorted(SPLITS)}")
    for split in SPLITS:
        where = f"dataset {name}, split {split}"
        check_split(where, splits[split], item, None if classes is None else len(classes))
    if folder.exists() and not _may_be_replaced(folder):
        raise DataError(f"{folder}: is not a prepared dataset, so it is not overwritten; remove it first")

    with written_whole(folder) as new:
        written = Splits(**{split: _write_split(new, split, splits[split]) for split in SPLITS})
        schema = _describe(name, item, written, classes, source, licence, dict(remarks or {}))
        (new / SCHEMA_FILE).write_text(schema.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return schema


def open_dataset(folder: Path, verify: bool = False) -> PreparedDataset:
    """Open a prepared dataset and check it: the schema, and each file's presence, header and length.

    What the files hold is checked when it is asked for.

    Args:
        folder: that holds schema.json.
        verify: check each file's sha256 at once, which reads all of the data.

    Raises:
        DataError: says which file is wrong and how.
    """
    dataset = PreparedDataset(read_schema(folder / SCHEMA_FILE), folder)
    for split in SPLITS:
        for name, described in dataset.schema.splits[split].arrays.items():
            if verify:
                dataset.array(split, name)
            else:
                _map(dataset.schema.name, folder / described.file, described)
    return dataset


def _may_be_replaced(folder: Path) -> bool:
    return folder.is_dir() and ((folder / SCHEMA_FILE).is_file() or not any(folder.iterdir()))


def _write_split(folder: Path, split: SplitName, arrays: Arrays) -> Split:
    files = {}
    for name, array in _stored(arrays):
        path = folder / f"{split}-{name}.npy"
        # Labels may come as any integer, for example int8 or uint32; int64 holds every class index.
        dtype = next((stored for stored in _STORED if stored == array.dtype.name), "int64")
        stored = np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("<"))
        np.save(path, stored, allow_pickle=False)
        files[name] = ArrayFile(file=path.name, shape=array.shape, dtype=dtype, sha256=sha256_of(path))
    return Split(count=len(arrays["items"]), arrays=files)


def _stored(arrays: Arrays) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays as they are stored, with their names: sparse rows are three."""
    for name, array in arrays.items():
        if isinstance(array, SparseRows):
            yield from zip(sparse_names(name), (array.indptr, array.indices, array.counts), strict=True)
        else:
            yield name, array


def _describe(
    name: str,
    item: ItemSpec,
    splits: Splits,
    classes: Sequence[str] | None,
    source: str,
    licence: str,
    remarks: dict[str, int],
) -> DatasetSchema:
    names = None if classes is None else tuple(classes)
    digest = content_digest(item, item.layout, splits, names)
    try:
        return DatasetSchema(
            name=name,
            item=item,
            layout=item.layout,
            splits=splits,
            classes=names,
            source=source,
            licence=licence,
            remarks=remarks,
            digest=digest,
        )
    except ValidationError as error:
        raise DataError(f"dataset {name}: {first_error(error)}") from error


def _sha256(path: Path) -> str:
    status = path.stat()
    return _cached_sha256(path, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache
def _cached_sha256(path: Path, size: int, modified: int, inode: int) -> str:
    return sha256_of(path)


def _map(name: str, path: Path, described: ArrayFile) -> NDArray[Any]:
    where = f"dataset {name}: {path}"
    try:
        array = NpyFile(path).mapped()
    except FileNotFoundError:
        raise DataError(f"{where} is not there") from None
    except (ItemError, OSError) as error:
        raise DataError(f"{where} is truncated or is no .npy file: {error}") from error
    if array.shape != described.shape or array.dtype != np.dtype(described.dtype).newbyteorder("<"):
        raise DataError(
            f"{where} holds {array.dtype} of shape {array.shape}, "
            f"but the schema says {described.dtype} of shape {described.shape}"
        )
    if not array.flags.c_contiguous:
        raise DataError(f"{where} is in Fortran order, must be in C order")
    return array
