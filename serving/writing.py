"""Writing a folder of codes, so that a killed job goes on after its last finished shard and ends with the same bytes.

A shard is whole or absent, and it counts as finished only when its record lies in `.progress/`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel

from items.atomic import publish
from items.code import CodeSpec
from items.digests import sha256_of
from serving.shards import (
    MANIFEST,
    CodesManifest,
    FinishedShard,
    Job,
    Shard,
    ShardsError,
    SkippedItem,
    check_no_others,
    check_shards,
    read_codes_manifest,
    read_record,
    rows_of,
    shard_file,
    shard_files,
)

PROGRESS = ".progress"
JOB = "job.json"
SHARD_SIZE = 65536  # items


class ShardWriter:
    """Writes one job's shards into a folder, going on where an earlier run of the same job was stopped.

    Attributes:
        finished: records of the shards that were finished; `is_whole` says whether one is still what it was.
        manifest: that of an earlier run which finished the same job; then there is nothing left to add.
    """

    def __init__(self, folder: Path, job: Job, code: CodeSpec, *, overwrite: bool) -> None:
        self.folder = folder
        self.job = job
        self.code = code
        self.manifest: CodesManifest | None = None
        self.finished: list[FinishedShard] = []
        if overwrite and not self._is_unfinished():
            self._disown()
        if (folder / MANIFEST).exists():
            self.manifest = read_codes_manifest(folder)
            _check_same(folder, "finished codes", self.manifest.job, job)
            check_no_others(folder, len(self.manifest.shards))
            shutil.rmtree(folder / PROGRESS, ignore_errors=True)  # of a run that was killed after its last write
            self.finished = [FinishedShard(shard=shard, skipped=()) for shard in self.manifest.shards]
        elif (folder / PROGRESS / JOB).exists():
            _check_same(folder, "unfinished codes", read_record(folder / PROGRESS / JOB, Job), job)
            self.finished = list(self._records())
            recorded = {record.shard.file for record in self.finished}
            for path in shard_files(folder):
                if path.name not in recorded:  # killed before it was recorded, or while old codes were replaced
                    path.unlink()
        else:
            check_no_others(folder, 0)
            self._write_json(folder / PROGRESS / JOB, job)

    @property
    def stop(self) -> int:
        """Entries of the input that are in finished shards, or skipped before them."""
        return self.finished[-1].shard.stop if self.finished else 0

    @property
    def skipped(self) -> tuple[SkippedItem, ...]:
        """Items that were skipped so far."""
        if self.manifest is not None:
            return self.manifest.skipped
        return tuple(item for record in self.finished for item in record.skipped)

    def is_whole(self, index: int) -> bool:
        """Return whether a finished shard is there and has the content that was written."""
        shard = self.finished[index].shard
        path = self.folder / shard.file
        return path.is_file() and sha256_of(path) == shard.sha256 and rows_of(path) == shard.count

    def add(self, ids: list[str], codes: NDArray[Any], stop: int, skipped: Sequence[SkippedItem]) -> None:
        """Write the next shard: ids, n; codes (n, *code shape); and the items skipped up to entry `stop`."""
        file = shard_file(len(self.finished))
        partial = self._partial_shard(file, ids, codes)
        shard = Shard(file=file, count=len(ids), stop=stop, sha256=sha256_of(partial))
        publish(partial, self.folder / file)
        record = FinishedShard(shard=shard, skipped=tuple(skipped)).sealed()
        self._write_json(self._record_path(len(self.finished)), record)
        self.finished.append(record)

    def replace(self, index: int, ids: list[str], codes: NDArray[Any]) -> None:
        """Write a finished shard once more, in place of a damaged one.

        Raises:
            ShardsError: the content is not what it was.
        """
        shard = self.finished[index].shard
        partial = self._partial_shard(shard.file, ids, codes)
        same = len(ids) == shard.count and sha256_of(partial) == shard.sha256
        if same:
            publish(partial, self.folder / shard.file)
        if self.manifest is not None:
            shutil.rmtree(self.folder / PROGRESS)
        if not same:
            raise ShardsError(
                f"{self.folder / shard.file}: missing or damaged, and its items give other bytes now, as they may with "
                "other versions of the libraries; encode all of them into another folder"
            )

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
        ).sealed()
        check_shards(self.folder, manifest)  # somebody may have removed what was written
        self._write_json(self.folder / MANIFEST, manifest)
        shutil.rmtree(self.folder / PROGRESS)
        return manifest

    def _is_unfinished(self) -> bool:
        """Return whether the folder holds this job already, so that a killed one goes on under the same command."""
        try:
            begun = read_record(self.folder / PROGRESS / JOB, Job)
        except (OSError, ShardsError):
            return False
        return begun == self.job and not (self.folder / MANIFEST).exists()

    def _disown(self) -> None:
        """Make the folder this job's, with no shard finished, in an order in which a kill does no harm."""
        for path in (self.folder / PROGRESS).glob("part-*"):
            path.unlink()
        self._write_json(self.folder / PROGRESS / JOB, self.job)
        (self.folder / MANIFEST).unlink(missing_ok=True)

    def _records(self) -> Iterator[FinishedShard]:
        """Give the records of finished shards in order, up to the first that is missing or cannot be right."""
        stop, size = 0, self.job.shard_size
        for index in count():
            try:
                record = read_record(self._record_path(index), FinishedShard)
            except (OSError, ShardsError):
                return
            shard = record.shard
            if shard.file != shard_file(index) or shard.stop - stop != shard.count + len(record.skipped):
                return
            yield record
            if shard.count != size:
                return  # the last one
            stop = shard.stop

    def _partial_shard(self, file: str, ids: list[str], codes: NDArray[Any]) -> Path:
        flat = np.ascontiguousarray(codes, self.code.dtype).reshape(-1)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(flat), int(np.prod(self.code.shape)))
        partial = self._partial(self.folder / file)
        with partial.open("wb") as out:
            pq.write_table(pa.table({"id": pa.array(ids, pa.string()), "code": lists}), out, use_dictionary=False)
        return partial

    def _record_path(self, index: int) -> Path:
        return self.folder / PROGRESS / f"part-{index:05d}.json"

    def _partial(self, path: Path) -> Path:
        (self.folder / PROGRESS).mkdir(exist_ok=True)
        return self.folder / PROGRESS / f"{path.name}.partial"

    def _write_json(self, path: Path, record: BaseModel) -> None:
        partial = self._partial(path)
        partial.write_text(record.model_dump_json(indent=2) + "\n")
        publish(partial, path)


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
