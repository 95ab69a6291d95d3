"""Inputs by what they are: an .npy array, a folder of images, a Parquet file."""

from __future__ import annotations

from pathlib import Path

from items.spec import ItemSpec
from serving.arrays import ArrayFile
from serving.batches import Batch, InputError, Skipped, Source, batches
from serving.folders import FolderOfImages
from serving.tables import ParquetOfImages

__all__ = ["Batch", "InputError", "Skipped", "Source", "batches", "open_input"]


def open_input(path: str | Path, item: ItemSpec, *, resize: bool | None = None, column: str | None = None) -> Source:
    """Open an input for a bundle that takes such items.

    Args:
        path: an .npy file (n, *item shape) of any items; for images also a folder of image files, or a Parquet file
            with a column of encoded images.
        item: what the bundle takes.
        resize: bring images of another size to the item's (True), or call them broken (False); by default they are
            brought to it where the model was trained on image files, by `item.fit`.
        column: the Parquet file's column of images, where it has several.

    Raises:
        InputError: the input is not there, holds nothing, or holds something else.
    """
    path = local_path(path)
    source: Source
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        source = FolderOfImages(path, item, resize)
    elif path.suffix == ".npy":
        source = ArrayFile(path, item)
    elif path.suffix in (".parquet", ".pq"):
        source = ParquetOfImages(path, item, resize, column)
    else:
        raise InputError(f"{path}: a folder of images, an .npy or a .parquet file can be read, not *{path.suffix}")
    if source.total == 0:
        raise InputError(f"{path}: no items there")
    return source


def local_path(path: str | Path) -> Path:
    """Return a path on this machine.

    Raises:
        InputError: it is a URL.
    """
    if "://" in str(path):
        raise InputError(f"{path}: is a URL, must be a file or folder of this machine")
    return Path(path)
