"""Writing of a folder of codes: a killed job goes on after its last finished shard and ends with the same bytes.

A shard is whole or absent, and is finished when its record is in `.progress/`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Content:
    """The content of a shard.

    Attributes:
        ids: of the items, n.
        codes: (n, *code shape).
        blank: whether nothing is known of an item, (n,): a text without a known word; None where that cannot be.
    """

    ids: list[str]
    codes: NDArray[Any]
    blank: NDArray[np.bool_] | None = None


class ShardWriter:
    """Writes the shards of a job into a folder, from where an earlier run of the same job was stopped.

    Attributes:
        finished: records of the finished shards; see `is_whole`.
        manifest: of an earlier run that finished the job; then nothing is left to add.
    """

    def __init__(self, folder: Path, job: Job, code: CodeSpec, *, overwrite: bool) -> None:
        self.folder = folder
        self.job = job
        self.code = code
        self.manifest: CodesManifest | None = None
        self.finished: list[FinishedShard] = []
        if overwrite and not self._is_unfinished():
            self._claim()
        if (folder / MANIFEST).exists():
            self.manifest = read_codes_manifest(folder)
            _check_same(folder, "finished codes", self.manifest.job, job)
            check_no_others(folder, len(self.manifest.shards))
            shutil.rmtree(folder / PROGRESS, ignore_errors=True)  # of a run that was killed after it wrote the manifest
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
        """The position in the input after the last finished shard."""
        return self.finished[-1].shard.stop if self.finished else 0

    @property
    def skipped(self) -> tuple[SkippedItem, ...]:
        """Items that were skipped so far."""
        if self.manifest is not None:
            return self.manifest.skipped
        return tuple(item for record in self.finished for item in record.skipped)

    def is_whole(self, index: int) -> bool:
        """Return whether a finished shard is there, with the content that was written."""
        shard = self.finished[index].shard
        path = self.folder / shard.file
        return path.is_file() and sha256_of(path) == shard.sha256 and rows_of(path) == shard.count

    def add(self, content: Content, stop: int, skipped: Sequence[SkippedItem]) -> None:
        """Write the next shard, and note the items skipped up to position `stop`."""
        file, ids = shard_file(len(self.finished)), content.ids
        partial = self._partial_shard(file, content)
        shard = Shard(file=file, count=len(ids), stop=stop, sha256=sha256_of(partial))
        publish(partial, self.folder / file)
        record = FinishedShard(shard=shard, skipped=tuple(skipped)).sealed()
        self._write_json(self._record_path(len(self.finished)), record)
        self.finished.append(record)

    def replace(self, index: int, content: Content) -> None:
        """Write a finished shard again, in place of a missing or damaged one.

        Raises:
            ShardsError: the content is not the same as before.
        """
        shard = self.finished[index].shard
        partial = self._partial_shard(shard.file, content)
        same = len(content.ids) == shard.count and sha256_of(partial) == shard.sha256
        if same:
            publish(partial, self.folder / shard.file)
        if self.manifest is not None:
            shutil.rmtree(self.folder / PROGRESS)
        if not same:
            raise ShardsError(
                f"{self.folder / shard.file}: missing or damaged, and its items give other bytes now, as they may with "
                "other versions of the libraries; encode the whole input into another folder"
            )

    def finish(self, source: str, last_skipped: Sequence[SkippedItem], seconds: float, encoded: int) -> CodesManifest:
        """Write the manifest and remove the records of progress."""
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
        check_shards(self.folder, manifest)  # another process may have removed some
        self._write_json(self.folder / MANIFEST, manifest)
        shutil.rmtree(self.folder / PROGRESS)
        return manifest

    def _is_unfinished(self) -> bool:
        """Return whether the folder holds this job, not finished: then it goes on, even with `--overwrite`."""
        try:
            begun = read_record(self.folder / PROGRESS / JOB, Job)
        except (OSError, ShardsError):
            return False
        return begun == self.job and not (self.folder / MANIFEST).exists()

    def _claim(self) -> None:
        """Give the folder to this job, with no shard finished. The order of the steps makes a kill harmless."""
        for path in (self.folder / PROGRESS).glob("part-*"):
            path.unlink()
        self._write_json(self.folder / PROGRESS / JOB, self.job)
        (self.folder / MANIFEST).unlink(missing_ok=True)

    def _records(self) -> Iterator[FinishedShard]:
        """Yield the records of finished shards in order, up to the first that is missing or not valid."""
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

    def _partial_shard(self, file: str, content: Content) -> Path:
        flat = np.ascontiguousarray(content.codes, self.code.dtype).reshape(-1)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(flat), int(np.prod(self.code.shape)))
        partial = self._partial(self.folder / file)
        with partial.open("wb") as out:
            table = pa.table({"id": pa.array(content.ids, pa.string()), "code": lists})
            if content.blank is not None:
                table = table.append_column("blank", pa.array(content.blank))
            pq.write_table(table, out, use_dictionary=False)
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


def _check_same(folder: Path, codes: str, found: Job, wanted: Job) -> None:
    different = {
        "bundle": (found.bundle.digest[:12], wanted.bundle.digest[:12]),
        "input": (found.fingerprint[:12], wanted.fingerprint[:12]),
        "batch size": (found.batch_size, wanted.batch_size),
        "shard size": (found.shard_size, wanted.shard_size),
    }
    for name, (there, here) in different.items():
        if there != here:
            raise ShardsError(
                f"{folder}: holds {codes} of another job ({name}: {there} there, {here} now); "
                "give another folder, or use `--overwrite`"
            )
