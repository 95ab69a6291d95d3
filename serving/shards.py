"""The codes' contract on disk: Parquet shards of one size, and a manifest that is written last.

part-00000.parquet …   columns `id` (string) and `code` (fixed-size list of the code's dtype, flattened)
manifest.json          what the codes are of, how many, the shards' digests, the items that were skipped
.progress/             while the job runs: what it is, and what each finished shard holds
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from items.errors import first_mistake
from serving.manifest import CodeContract, sha256_of

MANIFEST = "manifest.json"


class ShardsError(ValueError):
    """A folder of codes that cannot be read or written: says which file, what is wrong and what was expected."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bundled(_Record):
    """The bundle that made the codes."""

    name: str
    digest: str


class Job(_Record):
    """What decides every byte of the shards. Another job never goes on with this one's shards."""

    bundle: Bundled
    fingerprint: str = Field(description="of the input: changes when it, or how it is read, does")
    batch_size: int
    shard_size: int


class SkippedItem(_Record):
    """An item that has no code, and why."""

    id: str
    reason: str


class Shard(_Record):
    """One Parquet file of `count` codes."""

    file: Annotated[str, Field(pattern=r"^part-\d{5,}\.parquet$")]
    count: int
    sha256: str


class FinishedShard(_Record):
    """A finished shard's record, while the job runs: the input's entries up to `stop` are in shards or skipped."""

    shard: Shard
    stop: int
    skipped: tuple[SkippedItem, ...]


class CodesManifest(_Record):
    """manifest.json, version 1."""

    format: Literal["hourglass/codes"] = "hourglass/codes"
    version: Literal[1] = 1
    job: Job
    input: str
    code: CodeContract
    items: int
    shards: tuple[Shard, ...]
    skipped: tuple[SkippedItem, ...]
    seconds: float = Field(description="of the run that finished the job")
    items_per_second: float = Field(description="of the run that finished the job")


def read_codes_manifest(folder: Path) -> CodesManifest:
    """Read and check a folder's manifest.

    Raises:
        ShardsError: the folder holds no finished codes, or the manifest does not meet the contract.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ShardsError(f"{folder}: no {MANIFEST} there, so it holds no finished codes")
    return read_record(path, CodesManifest)


def read_codes(folder: str | Path) -> Iterator[tuple[list[str], NDArray[Any]]]:
    """Read a folder of codes, a shard at a time: ids, n, and codes (n, *code shape).

    Raises:
        ShardsError: the manifest or a shard is missing, or is not what the manifest says.
    """
    folder = Path(folder)
    manifest = read_codes_manifest(folder)
    for shard in manifest.shards:
        path = folder / shard.file
        if not path.is_file():
            raise ShardsError(f"{path}: the manifest names this file, and it is not there")
        if (found := sha256_of(path)) != shard.sha256:
            raise ShardsError(f"{path}: sha256 is {found}, the manifest says {shard.sha256}")
        try:
            table = pq.read_table(path, columns=["id", "code"])
        except (pa.ArrowException, OSError) as error:
            raise ShardsError(f"{path}: not a shard of codes: {error}") from error
        codes = table.column("code").combine_chunks().flatten().to_numpy()
        yield table.column("id").to_pylist(), codes.reshape(len(table), *manifest.code.shape)


Record = TypeVar("Record", bound=_Record)


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a JSON file of a folder of codes.

    Raises:
        ShardsError: it does not meet the contract.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ShardsError(f"{path}: {first_mistake(error)}") from error
    if isinstance(record, _Sealed) and record.digest != (found := record.computed_digest()):
        raise ShardsError(f"{path}: it was changed: digest is {record.digest[:64]!r}, of its content {found!r}")
    return record
