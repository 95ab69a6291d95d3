"""The encode job: from an input to shards of codes. At a broken item it stops, or lists the item and goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.batches import InputError, Source, batches
from serving.bundle import BATCH_SIZE, Bundle
from serving.inputs import local_path
from serving.locks import locked
from serving.shards import SHARD_FILE, Bundled, CodesManifest, Job, SkippedItem
from serving.writing import SHARD_SIZE, Content, ShardWriter

LOCK = ".lock"

OnError = Literal["stop", "skip"]

log = logging.getLogger(__name__)


def encode_to_shards(
    source: Source,
    bundle: Bundle,
    out: str | Path,
    *,
    on_error: OnError = "stop",
    batch_size: int = BATCH_SIZE,
    shard_size: int = SHARD_SIZE,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda count: None,
) -> CodesManifest:
    """Encode an input into a folder of shards. A job that was stopped goes on after its last finished shard.

    Codes are the same to the bit as those of `bundle.encode` for all whole items at once, in the input's order. Shards
    of an earlier run are checked by their digests, and encoded again where they are missing or damaged.

    Args:
        source: the input, from `open_input`.
        bundle: with the encoder.
        out: the folder of shards.
        on_error: at a broken item `stop`, or `skip` it and list it in the manifest.
        batch_size: items in a batch.
        shard_size: items in a shard, rounded up to whole batches.
        overwrite: replace the codes of another job in `out`.
        progress: called with the number of items, whole or broken, that were done since the last call.

    Returns:
        The manifest as it was written, by an earlier run if that finished the job.

    Raises:
        InputError: an item is broken and `on_error` is `stop`, all items are broken, or the input changed while it was
            encoded.
        ShardsError: `out` holds another job's codes and `overwrite` is not set.
        LockedError: another process is writing to `out`.
    """
    if batch_size < 1 or shard_size < 1:
        raise InputError(f"batch_size is {batch_size} and shard_size {shard_size}, at least 1 is needed")
    whole_batches = -(-shard_size // batch_size) * batch_size
    job = Job(
        bundle=Bundled(name=bundle.name, digest=bundle.manifest.digest),
        fingerprint=source.fingerprint,
        batch_size=batch_size,
        shard_size=whole_batches,
    )
    folder = local_path(out)
    read = Path(source.path).resolve()
    if read.parent == folder.resolve() and SHARD_FILE.fullmatch(read.name):
        raise InputError(
            f"{source.path}: is in {folder} and has the name of a shard; give another folder for the codes"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK, folder):
        writer = ShardWriter(folder, job, bundle.manifest.code, overwrite=overwrite)
        if on_error == "stop":
            _stop_at(writer.skipped)
        _repair(source, bundle, writer, progress)
        if writer.manifest is not None:
            progress(source.total - writer.stop)
            return writer.manifest
        return _encode(source, bundle, writer, on_error, progress)


@dataclass
class _Shard:
    """Items and codes of a shard that is not yet full."""

    ids: list[str] = field(default_factory=list)
    codes: list[NDArray[Any]] = field(default_factory=list)
    blank: list[NDArray[np.bool_]] = field(default_factory=list)
    skipped: list[SkippedItem] = field(default_factory=list)
    stop: int = 0

    @property
    def content(self) -> Content:
        """What is written."""
        return Content(self.ids, np.concatenate(self.codes), np.concatenate(self.blank) if self.blank else None)


def _repair(source: Source, bundle: Bundle, writer: ShardWriter, progress: Callable[[int], None]) -> None:
    """Check the shards that an earlier run finished, and encode again those that are missing or damaged."""
    start = 0
    for index, record in enumerate(writer.finished):
        if not writer.is_whole(index):
            # The broken items among them were skipped before.
            with closing(_encoded_shards(source, bundle, writer.job, start, "skip", lambda count: None)) as shards:
                shard = next(shards, _Shard())
            source.check_unchanged()
            if not shard.ids:
                raise InputError(
                    f"{source.path}: has no items from position {start} on, but {record.shard.file} holds codes of some"
                )
            writer.replace(index, shard.content)
            log.warning("%s was missing or damaged and was encoded again", writer.folder / record.shard.file)
        progress(record.shard.stop - start)
        start = record.shard.stop


def _encode(
    source: Source, bundle: Bundle, writer: ShardWriter, on_error: OnError, progress: Callable[[int], None]
) -> CodesManifest:
    began = time.perf_counter()
    encoded = 0
    shard = _Shard()
    with ThreadPoolExecutor(1, "write") as background:
        writing: Future[None] | None = None
        for shard in _encoded_shards(source, bundle, writer.job, writer.stop, on_error, progress):
            if writing is not None:
                writing.result()  # so that at most two shards are in memory
            source.check_unchanged()
            if shard.ids:
                writing = background.submit(writer.add, shard.content, shard.stop, shard.skipped)
                encoded += len(shard.ids)
        if writing is not None:
            writing.result()
    source.check_unchanged()
    if (read := max(shard.stop, writer.stop)) != source.total:
        raise InputError(f"{source.path}: {read} items could be read, it had {source.total} when it was opened")
    if not writer.finished:
        first = shard.skipped[0]
        raise InputError(f"{source.path}: none of its {source.total} items can be encoded; {first.id}: {first.reason}")
    return writer.finish(source.path, [] if shard.ids else shard.skipped, time.perf_counter() - began, encoded)


def _encoded_shards(
    source: Source, bundle: Bundle, job: Job, start: int, on_error: OnError, progress: Callable[[int], None]
) -> Generator[_Shard]:
    """Yield full shards of encoded items; the last may have fewer, or only skipped items."""
    shard = _Shard(stop=start)
    for batch in batches(source, job.batch_size, start):
        skipped = [SkippedItem(id=item.id, reason=item.reason) for item in batch.skipped]
        if on_error == "stop":
            _stop_at(skipped)
        shard.ids += batch.ids
        shard.codes.append(bundle.encode(batch.items, job.batch_size))
        if bundle.manifest.item.kind == "text":
            shard.blank.append(np.asarray(~batch.items.any(axis=1), np.bool_))
        shard.skipped += skipped
        progress(batch.stop - shard.stop)
        shard.stop = batch.stop
        if len(shard.ids) == job.shard_size:
            yield shard
            shard = _Shard(stop=batch.stop)
    if shard.ids or shard.skipped:
        yield shard


def _stop_at(skipped: Sequence[SkippedItem]) -> None:
    if skipped:
        raise InputError(f"{skipped[0].id}: {skipped[0].reason} (`--on-error skip` leaves such items out)")
