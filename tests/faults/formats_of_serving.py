"""Formats that serving reads and writes: bundles, tables of images, folders of codes."""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from items.spec import ItemSpec
from serving.batches import InputError, batches
from serving.bundle import Bundle, BundleError
from serving.decoding import decode_from_shards
from serving.encoding import encode_to_shards
from serving.inputs import open_input
from serving.shards import ShardsError, read_codes, read_codes_manifest
from tests.faults.damage import Damage, damaged_bytes, damaged_json
from tests.faults.formats import Format, digest
from tests.serving.tiny_bundles import SHAPE, write_quantized

REFUSALS = (BundleError, InputError, ShardsError, OSError)  # what serving.cli turns into a line
ITEM = ItemSpec(kind="image", shape=SHAPE, dtype="uint8")


def pictures(count: int = 20) -> np.ndarray:
    """Return made-up images as the tiny bundles take them."""
    return np.random.default_rng(1).integers(0, 256, (count, *SHAPE), np.uint8)


def use_bundle(folder: Path) -> str:
    """Load a bundle, and encode and decode by it."""
    bundle = Bundle.load(folder, threads=1)
    codes = bundle.encode(pictures())
    return digest(bundle.manifest, codes, bundle.embed(pictures()), bundle.decode(codes))


def make_table(folder: Path) -> None:
    folder.mkdir()
    images = []
    for picture in pictures(6):
        file = io.BytesIO()
        Image.fromarray(picture[..., 0]).save(file, "PNG")
        images.append({"bytes": file.getvalue(), "path": None})
    table = pa.table({"id": [f"item {n}" for n in range(6)], "image": images, "other": list(range(6))})
    pq.write_table(table, folder / "images.parquet", row_group_size=3)


def use_table(folder: Path) -> str:
    rows: list[Any] = []
    for batch in batches(open_input(folder / "images.parquet", ITEM), 4):
        if batch.skipped:
            raise InputError(f"images.parquet: {batch.skipped[0].id}: {batch.skipped[0].reason}")
        rows += [batch.ids, *batch.items]
    return digest(*rows)


def table_by_pyarrow(folder: Path) -> str:
    table = pq.read_table(folder / "images.parquet").to_pylist()
    rows: list[Any] = []
    for start in range(0, len(table), 4):
        some = table[start : start + 4]
        rows.append([str(start + n if row.get("id") is None else row["id"]) for n, row in enumerate(some)])
        rows += [np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("L"))[..., None] for row in some]
    return digest(*rows)


def damaged_parquet(content: bytes, draw: random.Random) -> Damage:
    """Damage a Parquet file: half the time its footer, which says where everything is."""
    size = int.from_bytes(content[-8:-4], "little")
    if draw.random() < 0.5:
        what, footer = damaged_bytes(content[-8 - size : -8], draw)
        return f"footer: {what}", content[: -8 - size] + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    return damaged_bytes(content, draw)


def make_codes(folder: Path) -> None:
    """Write a finished folder of codes, with its bundle and its input."""
    make_job(folder)
    encode(folder)


def make_job(folder: Path) -> None:
    write_quantized(folder / "bundle")
    np.save(folder / "items.npy", pictures())


def make_half(folder: Path) -> None:
    """Write what a job leaves that was killed after its second shard."""
    make_job(folder)
    bundle, source = Bundle.load(folder / "bundle", 1), open_input(folder / "items.npy", ITEM)
    whole = source.chunks

    def chunks(start: int, size: int) -> Iterator[Any]:
        for number, chunk in enumerate(whole(start, size)):
            if number == 4:
                raise KeyboardInterrupt
            yield chunk

    source.chunks = chunks  # type: ignore[method-assign]
    try:
        encode_to_shards(source, bundle, folder / "codes", batch_size=4, shard_size=8)
    except KeyboardInterrupt:
        return
    raise AssertionError("the job was not stopped")


def encode(folder: Path) -> None:
    source = open_input(folder / "items.npy", ITEM)
    encode_to_shards(source, Bundle.load(folder / "bundle", 1), folder / "codes", batch_size=4, shard_size=8)


def decode(folder: Path) -> str:
    """Read codes as `decode` does; the times and the input's path are not part of the digest."""
    codes, out = folder / "codes", folder / "out"
    manifest = read_codes_manifest(codes)
    read = list(read_codes(codes))
    count = decode_from_shards(codes, Bundle.load(folder / "bundle", 1), out)
    files = [(path.name, path.read_bytes()) for path in sorted(out.iterdir())]
    shutil.rmtree(out)
    return digest(read, count, files, manifest.items, manifest.code, manifest.skipped)


def encode_again(folder: Path) -> str:
    """Run the job once more: what it says is done must be there and right."""
    encode(folder)
    return digest(decode(folder), [path.read_bytes() for path in sorted((folder / "codes").glob("part-*"))])


Served = partial(Format, several=True)  # serving.cli makes one line of what is raised

FORMATS = (
    Served("bundle.json", "bundle.json", write_quantized, use_bundle, REFUSALS, damaged_json),
    Served("encoder.onnx, decoder.onnx", "*.onnx", write_quantized, use_bundle, REFUSALS),
    Served(
        "input .parquet", "*.parquet", make_table, use_table, REFUSALS, damaged_parquet, sealed=False,
        peer=table_by_pyarrow,
    ),
    Served("codes manifest.json", "codes/manifest.json", make_codes, decode, REFUSALS, damaged_json, named="codes"),
    Served("codes part-*.parquet", "codes/*.parquet", make_codes, decode, REFUSALS, damaged_parquet, named="codes"),
    Served(
        "finished codes, encoded again", "codes/*", make_codes, encode_again, REFUSALS, copied=True, named="codes"
    ),
    Served(
        "unfinished codes, encoded again", "codes/part-*", make_half, encode_again, REFUSALS, copied=True, named="codes"
    ),
    Served(
        ".progress/*.json", "codes/.progress/*.json", make_half, encode_again, REFUSALS, damaged_json, copied=True,
        named="codes",
    ),
)  # fmt: skip
