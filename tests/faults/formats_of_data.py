"""Formats that `prepare` reads and writes: prepared datasets, arrays, images, idx files."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import struct
import warnings
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from components.data import SPLITS, DataError, open_dataset, write_dataset
from components.data.array import ArraySettings
from components.data.fetch import fetch
from components.data.idx import read_idx
from components.data.images import ImagesSettings
from components.data.ways import FolderWay
from components.settings import SettingError
from items.spec import ItemSpec
from serving.batches import InputError, batches
from serving.inputs import open_input
from serving.manifest import BundleError
from serving.shards import ShardsError
from tests.faults.damage import Damage, damaged_bytes, damaged_json
from tests.faults.formats import Format, digest

PREPARE = (DataError, SettingError)
ENCODE = (BundleError, InputError, ShardsError, OSError)
SHAPE = (8, 8, 3)
ITEM = ItemSpec(kind="image", shape=SHAPE, dtype="uint8")
PICTURES = {
    "png": {}, "jpg": {"quality": 90}, "tif": {}, "gif": {}, "bmp": {}, "webp": {"lossless": True},
}  # fmt: skip


def pixels(count: int) -> np.ndarray:
    """Return made-up images, smooth enough for a JPEG."""
    steps = np.linspace(0, 255, 8)
    plane = (steps[:, None] + steps) / 2
    return np.stack([np.roll(plane, n, 1)[..., None] * [1, 0.5, 0.25] for n in range(count)]).astype(np.uint8)


def make_dataset(folder: Path) -> None:
    items, labels = pixels(15), np.arange(15) % 2
    rows = {"train": slice(8), "validation": slice(8, 11), "test": slice(11, 15)}
    splits = {split: {"items": items[rows[split]], "labels": labels[rows[split]]} for split in SPLITS}
    item = ItemSpec(kind="image", shape=SHAPE, dtype="uint8")
    write_dataset(folder / "made", "made", item, splits, ("even", "odd"), source="made up", licence="CC0")


def use_dataset(folder: Path) -> str:
    """Read all that stages read. The name, source and licence are not part of the digest."""
    data = open_dataset(folder / "made")
    arrays = [np.asarray(data.array(split, name)) for split in SPLITS for name in ("items", "labels")]
    return digest(data.schema.item, data.schema.classes, data.schema.digest, arrays)


def make_array(folder: Path) -> None:
    folder.mkdir()
    np.save(folder / "items.npy", np.linspace(-1, 1, 200, dtype=np.float32).reshape(20, 10))


def prepare_array(folder: Path) -> str:
    raw = ArraySettings(source=folder / "items.npy").load("mine", 0, folder, folder)
    items = [raw.splits[split]["items"] for split in SPLITS]
    return digest(sorted(row.tobytes() for rows in items for row in rows), items[0].dtype, sum(map(len, items)))


def npy(path: Path) -> np.ndarray:
    """Read an array with numpy, which takes no other space than the plain one to pad a header with."""
    content = path.read_bytes()
    return np.load(io.BytesIO(content[:128].translate(SPACES) + content[128:]))


SPACES = bytes.maketrans(b"\xa0\x85\x1c\x1d\x1e\x1f", b"      ")


def array_by_numpy(folder: Path) -> str:
    items = npy(folder / "items.npy")
    items = items.reshape(len(items), -1) if items.dtype.kind == "f" or items.ndim == 2 else items
    items = items.astype(np.float32) if items.dtype.kind == "f" else items
    return digest(sorted(row.tobytes() for row in items), items.dtype, len(items))


def make_input(folder: Path) -> None:
    folder.mkdir()
    np.save(folder / "items.npy", pixels(10))


def encode_array(folder: Path) -> str:
    return digest(*[part for b in batches(open_input(folder / "items.npy", ITEM), 4) for part in (b.items, b.skipped)])


def input_by_numpy(folder: Path) -> str:
    items = npy(folder / "items.npy")
    return digest(*[part for at in range(0, len(items), 4) for part in (items[at : at + 4], [])])


def make_pictures(suffix: str, folder: Path) -> None:
    folder.mkdir()
    for number, picture in enumerate(pixels(3)):
        image = Image.fromarray(picture)
        image.save(folder / f"{number}.{suffix}", **PICTURES[suffix])


def encode_pictures(folder: Path) -> str:
    """Read a folder as `encode` does, and stop at the first broken file."""
    warnings.simplefilter("ignore")
    rows = []
    for batch in batches(open_input(folder, ITEM, resize=True), 4):
        if batch.skipped:
            raise InputError(f"{batch.skipped[0].id}: {batch.skipped[0].reason}")
        rows += list(batch.items)
    return digest(sorted(row.tobytes() for row in rows))


def prepare_pictures(folder: Path) -> str:
    """Read the same folder as `prepare` does, with the shape of the bundle that is to encode it."""
    settings = ImagesSettings(source=folder, size=SHAPE[:2], channels=SHAPE[2], validation=0.34, test=0.34)
    raw = settings.load("mine", 0, folder / "scratch", folder)
    return digest(sorted(row.tobytes() for split in SPLITS for row in raw.splits[split]["items"]))


def use_pictures(folder: Path) -> str:
    """Read a folder both ways: what the one takes the other must take, and see the same in it."""
    try:
        prepared = prepare_pictures(folder)
    except DataError as error:
        prepared = str(error)
    try:
        encoded = encode_pictures(folder)
    except InputError:
        if prepared.startswith("dataset mine"):
            raise
        raise AssertionError("encode refuses what prepare takes") from None
    if encoded != prepared:
        raise AssertionError(f"encode takes what prepare reads otherwise: {prepared[:300]}")
    return encoded


def damaged_png(content: bytes, draw: random.Random) -> Damage:
    """Damage a PNG; half the time its chunks' checksums are made right again, so that it is read beyond them."""
    if draw.random() < 0.4:
        width, height = (draw.choice((0, 1, 8, 9, 4096, 65535, 2**20, 2**31 - 1, 2**32 - 1)) for _ in "wh")
        header = struct.pack(">IIBBBBB", width, height, *(draw.choice(pair) for pair in DEPTHS))
        return f"a header of {width}×{height}, {header[8:].hex()}", rechecked(content[:16] + header + content[29:])
    what, new = damaged_bytes(content, draw)
    return (f"{what}, checksums made right", rechecked(new)) if draw.random() < 0.5 else (what, new)


DEPTHS = ((8, 8, 16, 1, 3), (2, 0, 3, 4, 6, 7), (0, 0, 1), (0, 0, 1), (0, 0, 1, 2))


def rechecked(content: bytes) -> bytes:
    """Return a PNG with right checksums for as many chunks as can be found."""
    at, parts = 8, [content[:8]]
    while at + 12 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        if at + 12 + size > len(content):
            break
        body = content[at + 4 : at + 8 + size]
        parts += [content[at : at + 4], body, zlib.crc32(body).to_bytes(4, "big")]
        at += 12 + size
    return b"".join(parts) + content[at:]


def make_idx(folder: Path) -> None:
    folder.mkdir()
    (folder / "images-idx3-ubyte").write_bytes(idx())


def idx() -> bytes:
    """Return five grey images in the idx format."""
    grey = pixels(5)[..., 0]
    return bytes([0, 0, 8, 3]) + struct.pack(">III", *grey.shape) + grey.tobytes()


def use_idx(folder: Path) -> str:
    return digest(read_idx(folder / "images-idx3-ubyte", dimensions=3))


def idx_by_numpy(folder: Path) -> str:
    content = (folder / "images-idx3-ubyte").read_bytes()
    shape = struct.unpack(">III", content[4:16])
    return digest(np.frombuffer(content, np.uint8, offset=16).reshape(shape))


def make_gzipped(folder: Path) -> None:
    folder.mkdir()
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as file:
        file.write(idx())
    (folder / "images-idx3-ubyte.gz").write_bytes(packed.getvalue())


def use_gzipped(folder: Path) -> str:
    """Take the file as the user's own copy of a published set."""
    files = {"images-idx3-ubyte": hashlib.sha256(idx()).hexdigest()}
    fetched = fetch("made", files, [FolderWay(folder, Path())], folder / "cache")
    try:
        return use_idx(fetched.folder)
    finally:
        (fetched.folder / "images-idx3-ubyte").unlink()


def make_fetched(folder: Path) -> None:
    make_idx(folder)
    (folder / "fetched-from.txt").write_text("npm made-up@1.0.0\n")


def use_fetched(folder: Path) -> str:
    """Find a published set in the cache; the way it came is not part of the digest."""
    files = {"images-idx3-ubyte": hashlib.sha256(idx()).hexdigest()}
    way = fetch("made", files, [], folder).way
    if len(way) > 310 or len(way.splitlines()) > 1:
        raise AssertionError("the way is no short line")
    return digest(way)


def _pictures(suffix: str, damage: Callable[[bytes, random.Random], Damage] = damaged_bytes) -> Format:
    return Format(
        f"images .{suffix}", f"*.{suffix}", partial(make_pictures, suffix), use_pictures, ENCODE, damage, sealed=False
    )


FORMATS = (
    Format("prepared schema.json", "made/schema.json", make_dataset, use_dataset, PREPARE, damaged_json),
    Format("prepared .npy", "made/*.npy", make_dataset, use_dataset, PREPARE),
    Format("source .npy", "*.npy", make_array, prepare_array, PREPARE, sealed=False, peer=array_by_numpy),
    Format("input .npy", "*.npy", make_input, encode_array, ENCODE, sealed=False, peer=input_by_numpy),
    _pictures("png", damaged_png),
    *(_pictures(suffix) for suffix in PICTURES if suffix != "png"),
    Format("fetched-from.txt", "*.txt", make_fetched, use_fetched, PREPARE, sealed=False),
    Format("idx", "images*", make_idx, use_idx, PREPARE, sealed=False, peer=idx_by_numpy),
    Format(
        "idx.gz", "images*", make_gzipped, use_gzipped, PREPARE, several=True, named="images-idx3-ubyte"
    ),
)  # fmt: skip
