"""Codes on disk: Parquet shards of one size, and a manifest that is written last.

part-00000.parquet …   columns `id` (string) and `code` (fixed-size list of the code's dtype, flattened); of texts also
                       `blank` (bool): no word of the text is known, and its code is that of no words at all
manifest.json          the job, the number of codes, the shards' digests, the items that were skipped
.progress/             while the job runs: the job, and a record of each finished shard
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from items.code import CodeSpec
from items.digests import json_digest, sha256_of
from items.errors import first_error, one_line

MANIFEST = "manifest.json"
VERSION = 2
SHARD_FILE = re.compile(r"part-\d{5,}\.parquet")

Count = Annotated[int, Field(ge=0, lt=1 << 48)]
Size = Annotated[int, Field(ge=1, lt=1 << 31)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ShardsError(ValueError):
    """A folder of codes cannot be read or written: the message names the file, what is wrong and what was expected."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Sealed(_Record):
    """A record with a digest of its content, by which any change to it is noticed."""

    UNSEALED: ClassVar[frozenset[str]] = frozenset({"digest"})

    digest: str = ""

    @classmethod
    def digest_of(cls, document: dict[str, Any]) -> str:
        """Return the sha256 of what is sealed in a record's file."""
        return json_digest({name: value for name, value in document.items() if name not in cls.UNSEALED})

    def sealed(self) -> Self:
        """Return the record with its digest."""
        return self.model_copy(update={"digest": self.digest_of(self.model_dump(mode="json"))})


class Bundled(_Record):
    """The bundle that encoded the items."""

    name: str
    digest: str


class Job(_Record):
    """Everything that decides the shards' bytes. Only the same job goes on with a job's shards."""

    bundle: Bundled
    fingerprint: str = Field(description="of the input; changes with it and with the way in which it is read")
    batch_size: Size
    shard_size: Size


class SkippedItem(_Record):
    """An item without a code, and the reason."""

    id: str
    reason: str


class Shard(_Record):
    """A Parquet file of `count` codes."""

    file: str
    count: Size
    stop: Count = Field(description="items before this position of the input are in this or earlier shards, or skipped")
    sha256: str


class FinishedShard(_Sealed):
    """The record of a finished shard while the job runs, with the items skipped since the shard before."""

    shard: Shard
    skipped: tuple[SkippedItem, ...]


class CodesManifest(_Sealed):
    """manifest.json, version 2. Its digest covers all but the times, which differ between runs."""

    UNSEALED: ClassVar[frozenset[str]] = frozenset({"digest", "seconds", "items_per_second"})

    format: Literal["hourglass/codes"] = "hourglass/codes"
    version: Literal[2] = 2
    job: Job
    input: str
    code: CodeSpec
    items: Count
    shards: Annotated[tuple[Shard, ...], Field(min_length=1)]
    skipped: tuple[SkippedItem, ...]
    seconds: Seconds = Field(description="of the run that finished the job")
    items_per_second: Seconds = Field(description="of the run that finished the job")

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        stop = 0
        for index, shard in enumerate(self.shards):
            if shard.stop - stop < shard.count:
                raise ValueError(f"{shard.file} counts {shard.count} items from position {stop} to {shard.stop}")
            stop = shard.stop
            if shard.file != shard_file(index):
                raise ValueError(f"shard {index} is {shard.file[:40]!r}, must be {shard_file(index)!r}")
            full = index < len(self.shards) - 1
            if shard.count > self.job.shard_size or (full and shard.count < self.job.shard_size):
                must = "must be" if full else "at most"
                raise ValueError(f"{shard.file} counts {shard.count} items, {must} {self.job.shard_size}")
        if (total := sum(shard.count for shard in self.shards)) != self.items:
            raise ValueError(f"items is {self.items}, the shards count {total}")
        if stop > self.items + len(self.skipped):
            raise ValueError(
                f"the shards end at position {stop}, after {self.items} items and {len(self.skipped)} skipped"
            )
        return self


def shard_file(index: int) -> str:
    """Return the file name of a shard by its number."""
    return f"part-{index:05d}.parquet"


def shard_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that have the name of a shard."""
    return (path for path in sorted(folder.iterdir()) if SHARD_FILE.fullmatch(path.name))


def read_codes_manifest(folder: Path) -> CodesManifest:
    """Read and check a folder's manifest.

    Raises:
        ShardsError: the folder holds no finished codes, or the manifest is not valid.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ShardsError(f"{folder}: has no {MANIFEST}, so it holds no finished codes")
    return read_record(path, CodesManifest)


def check_shards(folder: Path, manifest: CodesManifest) -> None:
    """Check a folder's shards against its manifest: their names, and the number of rows of each.

    Raises:
        ShardsError: a shard is missing, has another number of rows, or is not in the manifest.
    """
    check_no_others(folder, len(manifest.shards))
    for shard in manifest.shards:
        path = folder / shard.file
        if not path.is_file():
            raise ShardsError(f"{path}: the manifest names this file, and it is not there")
        if (rows := rows_of(path)) != shard.count:
            raise ShardsError(f"{path}: holds {rows} codes, the manifest says {shard.count}")


def check_no_others(folder: Path, count: int) -> None:
    """Raise ShardsError if the folder holds other shards than the first `count`."""
    known = {shard_file(index) for index in range(count)}
    for path in shard_files(folder):
        if path.name not in known:
            raise ShardsError(
                f"{path}: is a shard of another job; remove it, give another folder, or use `--overwrite`"
            )


def rows_of(path: Path) -> int:
    """Return the number of rows of a shard, from its footer.

    Raises:
        ShardsError: it is not a Parquet file.
    """
    try:
        return int(pq.read_metadata(path.absolute()).num_rows)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ShardsError(f"{path}: not a shard of codes: {error}") from error


def read_codes(folder: str | Path, manifest: CodesManifest | None = None) -> Iterator[tuple[list[str], NDArray[Any]]]:
    """Yield the codes of a folder, a shard at a time: ids, n, and codes (n, *code shape).

    Args:
        folder: finished by `encode_to_shards`.
        manifest: of the folder, if it was read before.

    Raises:
        ShardsError: the manifest or a shard is missing or damaged.
    """
    folder = Path(folder)
    manifest = manifest or read_codes_manifest(folder)
    check_shards(folder, manifest)
    for shard in manifest.shards:
        path = folder / shard.file
        if (found := sha256_of(path)) != shard.sha256:
            raise ShardsError(f"{path}: sha256 is {found}, the manifest says {shard.sha256}")
        yield _codes(path, manifest.code)


def _codes(path: Path, code: CodeSpec) -> tuple[list[str], NDArray[Any]]:
    size = math.prod(code.shape)
    try:
        with path.open("rb") as file:
            table = pq.read_table(file, columns=["id", "code"])
        wanted = pa.schema({"id": pa.string(), "code": pa.list_(pa.from_numpy_dtype(code.dtype), size)})
        if table.schema.types != wanted.types or any(column.null_count for column in table.columns):
            raise ShardsError(f"{path}: holds {table.schema.types}, must be {wanted.types} without nulls")
        values = table.column("code").combine_chunks().flatten().to_numpy()
    except (pa.ArrowException, OSError) as error:
        raise ShardsError(f"{path}: not a shard of codes: {error}") from error
    return table.column("id").to_pylist(), values.reshape(len(table), *code.shape)


def read_blank(path: Path, count: int) -> NDArray[np.bool_]:
    """Return which of the `count` items of a shard are blank: none where it has no such column.

    Raises:
        ShardsError: it cannot be read.
    """
    try:
        with pq.ParquetFile(path.absolute()) as file:
            if "blank" not in file.schema_arrow.names:
                return np.zeros(count, np.bool_)
            return np.asarray(file.read(["blank"])["blank"].to_numpy(), np.bool_)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ShardsError(f"{path}: not a shard of codes: {error}") from error


Record = TypeVar("Record", bound=_Record)


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a JSON file of a folder of codes.

    Raises:
        ShardsError: it is not valid, or was changed after it was written.
    """
    content = path.read_bytes()
    try:
        record = kind.model_validate_json(content)
        # Of the file, not of the record: what an earlier version wrote lacks some fields.
        found = record.digest_of(json.loads(content)) if isinstance(record, _Sealed) else None
    except ValidationError as error:
        raise ShardsError(f"{path}: {first_error(error)}") from error
    except ValueError as error:
        raise ShardsError(f"{path}: {one_line(error)}") from error
    if isinstance(record, _Sealed) and record.digest != found:
        raise ShardsError(
            f"{path}: it was changed, its digest is {record.digest[:64]!r}, that of its content {found!r}"
        )
    return record
