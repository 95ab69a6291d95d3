"""Encoded images (PNG, JPEG and others) as items.

Images are decoded by a few threads while earlier ones are encoded, so that reading and inference overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from items.ahead import map_ahead
from items.errors import ItemError, SizeError
from items.pixels import MODES, Fit, decode
from items.spec import ItemSpec
from serving.batches import Chunk, InputError

GROUP = 32  # images that a thread decodes at once
GROUP_BYTES = 1 << 25  # encoded images of one group in memory
AHEAD_BYTES = 1 << 27  # encoded images of all groups in memory

# An id; and the image, or a function that reads it. It may raise ItemError, or InputError to stop the whole job.
Encoded = tuple[str, Callable[[], bytes] | bytes | None]


class ImageDecoder:
    """Decodes images to uint8 arrays (height, width, channels) of one shape."""

    def __init__(self, item: ItemSpec, resize: bool | None) -> None:
        if item.kind != "image" or item.dtype != "uint8" or len(item.shape) != 3 or item.shape[-1] not in MODES:
            raise InputError(
                f"image files give uint8 pixels (height, width, 1 or 3); the bundle takes {item.kind} items, "
                f"{item.dtype} {item.shape}; give them as an .npy array"
            )
        height, width, channels = item.shape
        self._size, self._channels = (height, width), channels
        self._fit = item.fit if resize is None else (item.fit or Fit()) if resize else None

    @property
    def settings(self) -> list[object]:
        """Settings that decide the decoded pixels, as JSON-able values."""
        return [*self._size, self._channels, self._fit and self._fit.model_dump()]

    def chunk(self, group: list[Encoded]) -> Chunk:
        """Decode several images, and give the reasons of the broken ones."""
        rows: list[NDArray[Any]] = []
        broken: dict[int, str] = {}
        for place, (_, encoded) in enumerate(group):
            try:
                rows.append(
                    decode((encoded() if callable(encoded) else encoded) or b"", self._size, self._channels, self._fit)
                )
            except SizeError as error:
                broken[place] = f"{error}; with `--resize` it is scaled and cropped"
            except ItemError as error:
                broken[place] = str(error)
        shape = (*self._size, self._channels)
        return Chunk([name for name, _ in group], np.stack(rows) if rows else np.empty((0, *shape), np.uint8), broken)

    def ahead(self, images: Iterator[Encoded], size: int) -> Iterator[Chunk]:
        """Decode images in order by a few threads, at most two batches of `size` ahead, fewer where they are large."""
        group = min(GROUP, size)
        groups = iter(lambda: _some(images, group), ([], 0))
        return map_ahead(
            lambda some: self.chunk(some[0]),
            groups,
            count=2 * size // group,
            size_of=lambda some: some[1],
            total_size=AHEAD_BYTES,
        )


def _some(images: Iterator[Encoded], count: int) -> tuple[list[Encoded], int]:
    """Return up to `count` images, fewer where they are large, and the bytes of them that are in memory."""
    taken: list[Encoded] = []
    held = 0
    for identity, encoded in islice(images, count):
        taken.append((identity, encoded))
        held += len(encoded) if isinstance(encoded, bytes) else 0
        if held > GROUP_BYTES:
            break
    return taken, held
