"""Writing a folder of codes, so that a killed job goes on after its last finished shard and ends with the same bytes.

A shard is whole or absent, and it counts as finished only when its record lies in `.progress/`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel

from serving.manifest import CodeContract, sha256_of
from serving.shards import (
    MANIFEST,
    CodesManifest,
    FinishedShard,
    Job,
    Shard,
    ShardsError,
    SkippedItem,
    read_codes_manifest,
    read_record,
)

PROGRESS = ".progress"
JOB = "job.json"
SHARD_SIZE = 65536  # items


class ShardWriter:
    """Writes one job's shards into a folder, going on where an earlier run of the same job was stopped.

    Attributes:
        finished: records of the shards that are there.
        manifest: that of an earlier run which finished the same job; then there is nothing left to write.
    """

    def __init__(self, folder: Path, job: Job, code: CodeContract, *, overwrite: bool) -> None:
        self.folder = folder
        self.job = job
        self.code = code
        self.manifest: CodesManifest | None = None
        if overwrite:
            _clear(folder)
        elif (folder / MANIFEST).exists():
            self.manifest = read_codes_manifest(folder)
            _check_same(folder, "finished codes", self.manifest.job, job)
            shutil.rmtree(folder / PROGRESS, ignore_errors=True)  # of a run that was killed after its last write
        elif (folder / PROGRESS / JOB).exists():
            _check_same(folder, "unfinished codes", read_record(folder / PROGRESS / JOB, Job), job)
        elif any(_shard_files(folder)):
            raise ShardsError(f"{folder}: holds shards of unknown origin; give another folder, or overwrite them")
        self.finished = [] if self.manifest else list(self._finished_shards())
        if self.manifest is None:
            (folder / PROGRESS).mkdir(parents=True, exist_ok=True)
            self._write_json(folder / PROGRESS / JOB, job)

    @property
    def stop(self) -> int:
        """Entries of the input that are in finished shards, or skipped before them."""
        return self.finished[-1].stop if self.finished else 0

    @property
    def skipped(self) -> tuple[SkippedItem, ...]:
        """Items that were skipped so far."""
        if self.manifest is not None:
            return self.manifest.skipped
        return tuple(item for record in self.finished for item in record.skipped)

    def add(self, ids: list[str], codes: NDArray[Any], stop: int, skipped: Sequence[SkippedItem]) -> None:
        """Write the next shard: ids, n; codes (n, *code shape); and the items skipped up to entry `stop`."""
        file = f"part-{len(self.finished):05d}.parquet"
        flat = np.ascontiguousarray(codes, self.code.dtype).reshape(-1)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(flat), int(np.prod(self.code.shape)))
        partial = self._partial(self.folder / file)
        pq.write_table(pa.table({"id": pa.array(ids, pa.string()), "code": lists}), partial, use_dictionary=False)
        shard = Shard(file=file, count=len(ids), sha256=sha256_of(partial))
        _publish(partial, self.folder / file)
        record = FinishedShard(shard=shard, stop=stop, skipped=tuple(skipped))
        self._write_json(self._record_path(len(self.finished)), record)
        self.finished.append(record)

    def finish(self, source: str, last_skipped: Sequence[SkippedItem], seconds: float, encoded: int) -> CodesManifest:
        """Write the manifest and drop the records of progress."""
        manifest = CodesManifest(
            job=self.job,
            input=source,
            code=self.code,
            items=sum(record.shard.count for record in self.finished),
            shards=tuple(record.shard for record in self.finished),
            skipped=(*self.skipped, *last_skipped),
            seconds=seconds,
            items_per_second=encoded / seconds if seconds else 0.0,
        )
        self._write_json(self.folder / MANIFEST, manifest)
        shutil.rmtree(self.folder / PROGRESS)
        return manifest

    def _finished_shards(self) -> Iterator[FinishedShard]:
        """Give the records of finished shards in order, up to the first that is missing or not what its record says."""
        for index in range(sum(1 for _ in _shard_files(self.folder))):
            try:
                record = read_record(self._record_path(index), FinishedShard)
                if sha256_of(self.folder / record.shard.file) != record.shard.sha256:
                    return
            except (OSError, ShardsError):
                return
            yield record

    def _record_path(self, index: int) -> Path:
        return self.folder / PROGRESS / f"part-{index:05d}.json"

    def _partial(self, path: Path) -> Path:
        return self.folder / PROGRESS / f"{path.name}.{os.getpid()}"

    def _write_json(self, path: Path, record: BaseModel) -> None:
        partial = self._partial(path)
        partial.write_text(record.model_dump_json(indent=2) + "\n")
        _publish(partial, path)


def _publish(partial: Path, path: Path) -> None:
    """Give a file its name once its content is on the disk."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def _clear(folder: Path) -> None:
    """Remove what a job writes, and nothing else. The manifest goes first: without it nothing counts as finished."""
    (folder / MANIFEST).unlink(missing_ok=True)
    if (folder / PROGRESS).exists():
        shutil.rmtree(folder / PROGRESS)
    for path in _shard_files(folder):
        path.unlink()


def _shard_files(folder: Path) -> Iterator[Path]:
    return folder.glob("part-[0-9][0-9][0-9][0-9][0-9]*.parquet")


def _check_same(folder: Path, what: str, found: Job, wanted: Job) -> None:
    different = {
        "bundle": (found.bundle.digest[:12], wanted.bundle.digest[:12]),
        "input": (found.fingerprint[:12], wanted.fingerprint[:12]),
        "batch size": (found.batch_size, wanted.batch_size),
        "shard size": (found.shard_size, wanted.shard_size),
    }
    for name, (there, here) in different.items():
        if there != here:
            raise ShardsError(
                f"{folder}: holds {what} of another job ({name}: {there} there, {here} now); "
                "give another folder, or overwrite them"
            )
