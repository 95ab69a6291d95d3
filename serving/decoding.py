"""The decode job: from shards of codes to image files, or to one array. The folder of results is whole or absent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from items.atomic import written_whole
from serving.bundle import BATCH_SIZE, Bundle
from serving.inputs import local_path
from serving.locks import locked
from serving.shards import CodesManifest, ShardsError, check_shards, read_codes, read_codes_manifest

INDEX = "index.jsonl"
ITEMS = "items.npy"
NAME_LENGTH = 100  # characters of a file's name that come from the item's id


def decode_from_shards(
    codes: str | Path,
    bundle: Bundle,
    out: str | Path,
    *,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int], None] = lambda items: None,
) -> int:
    """Decode a folder of codes into a new folder and return the number of items.

    Images become PNG files named by their ids. Other items become rows of `items.npy`, float32. `index.jsonl` has a
    line for each item, in order, with its id and its file or row.

    Args:
        codes: a folder that `encode_to_shards` has finished.
        bundle: the one that made the codes.
        out: a folder that does not exist, or is empty.
        batch_size: items in a batch.
        progress: called with the number of items done since the last call.

    Raises:
        ShardsError: the codes are damaged or of another bundle, or `out` is not empty.
        LockedError: another process is writing to `out`.
    """
    codes, out = local_path(codes), local_path(out).absolute()
    if not out.name:
        raise ShardsError(f"{out}: give a folder that does not exist or is empty")
    manifest = read_codes_manifest(codes)
    made_by = manifest.job.bundle
    if made_by.digest != bundle.manifest.digest:
        raise ShardsError(
            f"{codes}: made by bundle {made_by.name} {made_by.digest[:12]}, "
            f"this is {bundle.name} {bundle.manifest.digest[:12]}"
        )
    check_shards(codes, manifest)
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out.with_name(f".{out.name}.lock"), out):
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise ShardsError(f"{out}: is not empty; give a folder that does not exist or is empty")
        decoded = _decoded(codes, manifest, bundle, batch_size, progress)
        with written_whole(out) as new:
            if bundle.manifest.item.kind == "image":
                _write_pictures(new, decoded)
            else:
                _write_rows(new, decoded, manifest.items)
    return manifest.items


def _decoded(
    codes: Path, manifest: CodesManifest, bundle: Bundle, batch_size: int, progress: Callable[[int], None]
) -> Iterator[tuple[list[str], NDArray[Any]]]:
    for ids, shard in read_codes(codes, manifest):
        for start in range(0, len(ids), batch_size):
            batch = slice(start, start + batch_size)
            yield ids[batch], bundle.decode(shard[batch], batch_size)
            progress(len(ids[batch]))


def _write_pictures(folder: Path, decoded: Iterator[tuple[list[str], NDArray[Any]]]) -> None:
    row = 0
    with (folder / INDEX).open("w", encoding="utf-8") as index:
        for ids, items in decoded:
            pixels = np.rint(items.clip(0, 1) * 255).astype(np.uint8)
            for identity, picture in zip(ids, pixels, strict=True):
                file = _free_name(folder, identity, row)
                row += 1
                Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(folder / file)
                index.write(json.dumps({"id": identity, "file": file}) + "\n")


def _write_rows(folder: Path, decoded: Iterator[tuple[list[str], NDArray[Any]]], count: int) -> None:
    rows: NDArray[Any] | None = None
    done = 0
    with (folder / INDEX).open("w", encoding="utf-8") as index:
        for ids, items in decoded:
            if rows is None:
                shape = (count, *items.shape[1:])
                rows = np.lib.format.open_memmap(folder / ITEMS, mode="w+", dtype=np.float32, shape=shape)
            rows[done : done + len(ids)] = items
            index.writelines(json.dumps({"id": name, "row": done + i}) + "\n" for i, name in enumerate(ids))
            done += len(ids)


def _free_name(folder: Path, identity: str, row: int) -> str:
    """Return a file name for an id: in this folder, of plain characters, and not in use for another id."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", identity.removesuffix(".png"))[:NAME_LENGTH].lstrip(".-") or "item"
    while (folder / f"{name}.png").exists():
        name = f"{name}~{row}"
    return f"{name}.png"
