"""The user's own images: a folder of files, with or without a folder for each class."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BeforeValidator, Field

from components.data.errors import DataError
from components.data.raw import Fraction, Outline, RawDataset, check_fractions, shuffled, split_sizes
from components.data.schema import SplitName
from components.settings import Settings
from items.ahead import map_ahead
from items.cpus import available_cpus
from items.errors import ItemError
from items.files import names_below, path_within, read_within, readable
from items.pixels import SUFFIXES, Channels, Fit, channels_of, decode
from items.spec import ItemSpec

Side = Annotated[int, Field(ge=1, le=4096)]
Size = Annotated[tuple[Side, Side], BeforeValidator(lambda given: (given, given) if isinstance(given, int) else given)]

OUTLINED = 500  # files whose headers are read for an outline, to see whether there is colour
SHOWN = 5  # broken files that an error lists before it only counts
AHEAD = 4  # files a thread that are decoded before they are wanted
FIT = Fit()

log = logging.getLogger(__name__)


class ImagesSettings(Settings):
    """Image files below `source`, brought to one size and shuffled.

    `size` is one side or [height, width]: images are scaled to cover it and cut around their middle. `channels` is 1
    for grey and 3 for colour; by default 3 where any file is in colour. If every file lies in a folder below `source`
    and there are two such folders or more, the first folder on a file's way is its class. A file that cannot be read
    is an error, or with `on_error: skip` left out and named. A relative path starts at the project's root.
    """

    kind: Literal["images"] = "images"
    source: Path
    size: Size = (64, 64)
    channels: Channels | None = None
    validation: Fraction = 0.1
    test: Fraction = 0.1
    on_error: Literal["stop", "skip"] = "stop"
    licence: str = "not stated"

    def outline(self, name: str, root: Path) -> Outline:
        """Return the outline by file names and headers; raises as `load` does, but for files that cannot be decoded."""
        check_fractions(self.validation, self.test)
        folder = root / self.source.expanduser()
        files = find_images(name, folder)
        train = len(files) - sum(split_sizes(name, len(files), self.validation, self.test))
        channels = self.channels or _channels(folder, files[:: 1 + len(files) // OUTLINED])
        labelled = _labels(files)
        item = ItemSpec(kind="image", shape=(*self.size, channels), dtype="uint8")
        return Outline(item, len(labelled[1]) if labelled else None, train)

    def load(self, name: str, seed: int, downloads: Path, root: Path) -> RawDataset:
        """Return uint8 items (height, width, channels), in memory-mapped arrays, and labels where there are classes.

        Raises:
            DataError: the folder is not there or holds too few images, or some cannot be read.
            SettingError: the fractions leave nothing to train on.
        """
        check_fractions(self.validation, self.test)
        folder = root / self.source.expanduser()
        files = find_images(name, folder)
        split_sizes(name, len(files), self.validation, self.test)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images and odd metadata; what matters is an error
            channels = self.channels or _channels(folder, files)
            height, width = self.size
            # Decoded in the order of the splits, so that each split is one stretch of the mapped file and never copied.
            files = [files[index] for index in shuffled(len(files), seed)]
            items, good, broken = _decode_all(folder, files, (height, width), channels, downloads)
        self._judge(name, folder, broken, len(files))
        validation, test = split_sizes(name, len(good), self.validation, self.test)
        rows: dict[SplitName, slice] = {
            "train": slice(validation + test, None),
            "validation": slice(0, validation),
            "test": slice(validation, validation + test),
        }
        arrays, classes = {"items": items}, None
        if labelled := _labels(good):
            arrays["labels"], classes = labelled
        return RawDataset(
            item=ItemSpec(kind="image", shape=(height, width, channels), dtype="uint8", fit=FIT),
            splits={split: {key: array[part] for key, array in arrays.items()} for split, part in rows.items()},
            classes=classes,
            source=f"images in {self.source}" + (f", without {len(broken)} that cannot be read" if broken else ""),
            licence=self.licence,
        )

    def _judge(self, name: str, folder: Path, broken: dict[str, str], count: int) -> None:
        if self.on_error == "skip" and len(broken) < count:
            for file in sorted(broken):
                log.warning("dataset %s: skipped %s: %s", name, readable(file), broken[file])
        elif broken:
            lines = [f"  {readable(file)}: {broken[file]}" for file in sorted(broken)[:SHOWN]]
            lines += [f"  and {len(broken) - SHOWN} more"] * (len(broken) > SHOWN)
            lines += [f"With `datasets.{name}.on_error: skip` they are left out."] * (len(broken) < count)
            raise DataError(
                f"dataset {name}: {len(broken)} of {count} images in {folder} cannot be read:\n" + "\n".join(lines)
            )


def find_images(name: str, folder: Path) -> list[str]:
    """Return the paths of the image files below a folder, relative to it and sorted; links to folders are not followed.

    Raises:
        DataError: there is no such folder, or fewer than three images in it, one for each split.
    """
    if not folder.is_dir():
        raise DataError(f"dataset {name}: {folder} is {'no folder' if folder.exists() else 'not there'}")
    images = list(names_below(folder, SUFFIXES))
    if len(images) < 3:
        every = sum(len(files) for _, _, files in os.walk(folder))
        found = {0: "no image", 1: "one image"}.get(len(images), f"{len(images)} images")
        raise DataError(
            f"dataset {name}: {folder} holds {found} ({', '.join(sorted(SUFFIXES))}) among {every} files, "
            "must hold at least 3: one to train on, one for validation, one for the test"
        )
    return images


def _channels(folder: Path, files: Sequence[str]) -> Channels:
    def in_colour(name: str) -> bool:
        try:
            return channels_of(path_within(folder, name)) == 3
        except ItemError:  # it is named, with the reason, when it is read
            return False

    return 3 if any(map(in_colour, files)) else 1


def _decode_all(
    folder: Path, files: Sequence[str], size: tuple[int, int], channels: Channels, scratch: Path
) -> tuple[NDArray[np.uint8], list[str], dict[str, str]]:
    """Return the images, mapped from a file without a name that is gone when the process is; the good; the broken."""
    scratch.mkdir(parents=True, exist_ok=True)
    good: list[str] = []
    broken: dict[str, str] = {}
    file: Any
    with tempfile.TemporaryFile(dir=scratch) as file:
        for name, pixels in _ahead(folder, files, size, channels):
            if isinstance(pixels, ItemError):
                broken[name] = str(pixels)
            else:
                _write(file, pixels)
                good.append(name)
        file.flush()
        shape = (len(good), *size, channels)
        # The map outlives the file's handle.
        items = np.memmap(file, np.uint8, mode="r", shape=shape) if good else np.empty(shape, np.uint8)
    return items, good, broken


def _write(file: BinaryIO, pixels: NDArray[np.uint8]) -> None:
    try:
        file.write(pixels.tobytes())
    except OSError as error:
        raise DataError(f"the decoded images cannot be kept: {error}") from error


def _ahead(
    folder: Path, files: Sequence[str], size: tuple[int, int], channels: Channels
) -> Iterator[tuple[str, NDArray[np.uint8] | ItemError]]:
    """Decode in order by threads, a few files ahead."""

    def one(name: str) -> tuple[str, NDArray[np.uint8] | ItemError]:
        try:
            return name, decode(read_within(folder, name)[0], size, channels, FIT)
        except ItemError as error:
            return name, error

    Image.init()  # not by several threads at once
    return map_ahead(one, files, count=AHEAD * available_cpus())


def _labels(files: Sequence[str]) -> tuple[NDArray[Any], tuple[str, ...]] | None:
    """Return each file's class and the classes' names, or None where the folders say nothing."""
    firsts = [file.partition("/")[0] if "/" in file else None for file in files]
    classes = sorted({first for first in firsts if first is not None})
    if None in firsts or len(classes) < 2:
        return None
    index = {name: label for label, name in enumerate(classes)}
    labels = np.array([index[first] for first in firsts if first is not None], np.int64)
    return labels, tuple(map(readable, classes))
