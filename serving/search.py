"""Search in a folder of codes: the items whose codes are nearest to those of a query.

Every code is compared, a shard at a time, so memory holds one shard whatever the number of codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from items.errors import ItemError
from items.files import read_within
from items.spec import ItemSpec
from items.text import excerpt
from serving.bundle import Bundle
from serving.images import ImageDecoder
from serving.inputs import InputError, local_path, open_input
from serving.shards import CodesManifest, ShardsError, read_blank, read_codes, read_codes_manifest
from serving.texts import Texts

Distance = Literal["cosine", "Euclidean", "Hamming"]

SIDE = 96  # pixels of an image in a contact sheet
GAP = 4


@dataclass(frozen=True)
class Found:
    """An item near a query: its id, and the distance of its code."""

    id: str
    distance: float


def distance_of(bundle: Bundle) -> Distance:
    """Return how codes are compared: elements of discrete ones that differ, else by angle for texts or by length.

    The angle, since the code of a text grows with what it says about its topic, and not with the topic.
    """
    if bundle.discrete:
        return "Hamming"
    return "cosine" if bundle.manifest.item.scale == "tf_idf" else "Euclidean"


def query_items(query: str, item: ItemSpec, resize: bool | None = None) -> NDArray[Any]:
    """Return a query as raw items (1, *item.shape): for texts the text itself, else a file of one image or array.

    Raises:
        InputError: the file is not there, or holds something else.
    """
    if item.vocabulary is not None:
        counts = item.vocabulary.count([query])[:]
        if not counts.any():
            raise InputError(f"query {excerpt(query)!r}: none of its words is in the model's vocabulary")
        return counts
    path = local_path(query)
    if not path.is_file():
        raise InputError(f"{query}: no such file; the bundle takes {item.kind} items of shape {item.shape}")
    if path.suffix == ".npy":
        source = open_input(path, item)
        if source.total != 1:
            raise InputError(f"{path}: holds {source.total} items, a query is one")
        chunk = next(iter(source.chunks(0, 1)))
    else:
        try:
            content, _ = read_within(path.parent, path.name)
        except ItemError as error:
            raise InputError(f"{path}: {error}") from error
        chunk = ImageDecoder(item, resize).chunk([(path.name, content)])
    if chunk.broken:
        raise InputError(f"{path}: {chunk.broken[0]}")
    return chunk.items


def search(folder: str | Path, bundle: Bundle, items: NDArray[Any], count: int = 10) -> list[Found]:
    """Return the `count` items of a folder of codes that are nearest to a query, the nearest first.

    Of equally near ones the earlier comes first. Texts without a known word are left out.

    Args:
        folder: finished by `encode_to_shards`.
        bundle: the one that made the codes.
        items: the query, raw, (1, *item.shape).
        count: items that are wanted, at least 1.

    Raises:
        ShardsError: the codes are damaged, or of another bundle.
    """
    manifest = manifest_for(folder, bundle)
    kind, wanted = distance_of(bundle), bundle.encode(items)
    near: list[tuple[float, int, str]] = []
    first = 0
    for shard, (ids, codes) in zip(manifest.shards, read_codes(folder, manifest), strict=True):
        distances = _distances(kind, wanted, codes)
        distances = np.where(read_blank(Path(folder) / shard.file, len(ids)), np.inf, distances)
        best = np.argsort(distances, kind="stable")[:count]
        near = sorted([*near, *((float(distances[place]), first + int(place), ids[place]) for place in best)])[:count]
        first += len(ids)
    return [Found(identity, distance) for distance, _, identity in near if distance < np.inf]


def manifest_for(folder: str | Path, bundle: Bundle) -> CodesManifest:
    """Return the manifest of a folder of codes that a bundle made.

    Raises:
        ShardsError: the folder holds no codes, or another bundle made them.
    """
    manifest = read_codes_manifest(local_path(folder))
    made_by = manifest.job.bundle
    if made_by.digest != bundle.manifest.digest:
        raise ShardsError(
            f"{folder}: made by bundle {made_by.name} {made_by.digest[:12]}, "
            f"this is {bundle.name} {bundle.manifest.digest[:12]}"
        )
    return manifest


def excerpts(manifest: CodesManifest, bundle: Bundle, ids: list[str], column: str | None) -> dict[str, str]:
    """Return the first words of texts by their ids; none where the input is not the one that was encoded any more."""
    if bundle.manifest.item.kind != "text":
        return {}
    try:
        texts = Texts(Path(manifest.input), bundle.manifest.item, column)
        return texts.excerpts(ids) if texts.fingerprint == manifest.job.fingerprint else {}
    except (InputError, OSError):
        return {}


def draw_sheet(manifest: CodesManifest, query: NDArray[Any], ids: list[str], item: ItemSpec, path: Path) -> None:
    """Draw the query (height, width, channels) and the images that were found, from left to right, into a file.

    Raises:
        InputError: the items are no images, the folder is not as it was when it was encoded, or no picture can be
            written under this name.
    """
    decoder = ImageDecoder(item, _resizing(manifest, item))
    tiles = [query]
    for identity in ids:
        try:
            chunk = decoder.chunk([(identity, read_within(Path(manifest.input), identity)[0])])
        except ItemError as error:
            raise InputError(f"{manifest.input}/{identity}: {error}") from error
        tiles += [*chunk.items]
    sheet = Image.new("RGB", (len(tiles) * (SIDE + GAP) - GAP, SIDE), "white")
    for place, tile in enumerate(tiles):
        image = Image.fromarray(tile[..., 0] if tile.shape[-1] == 1 else tile).convert("RGB")
        sheet.paste(ImageOps.contain(image, (SIDE, SIDE)), (place * (SIDE + GAP), 0))
    try:
        sheet.save(path)
    except ValueError as error:
        raise InputError(f"{path}: {error}; it must end in .png, .jpg or another kind of picture") from error


def _resizing(manifest: CodesManifest, item: ItemSpec) -> bool | None:
    """Return the way in which a folder of images was brought to size when it was encoded; see `open_input`."""
    folder = Path(manifest.input)
    if item.kind == "image" and folder.is_dir():
        for resize in (None, True, False):
            if open_input(folder, item, resize=resize).fingerprint == manifest.job.fingerprint:
                return resize
    raise InputError(
        f"{manifest.input}: a contact sheet shows images of a folder that is as it was when it was encoded"
    )


def _distances(kind: Distance, wanted: NDArray[Any], codes: NDArray[Any]) -> NDArray[Any]:
    """Return the distance of each code (n, ...) from a wanted one (1, ...), (n,)."""
    rows, query = codes.reshape(len(codes), -1), wanted.reshape(1, -1)
    if kind == "Hamming":
        return np.asarray((rows != query).sum(1))
    rows, query = rows.astype(np.float32), query.astype(np.float32)
    if kind == "Euclidean":
        return np.asarray(np.linalg.norm(rows - query, axis=1))
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return np.asarray(1 - (rows @ query[0]) / np.maximum(lengths, 1e-12))
