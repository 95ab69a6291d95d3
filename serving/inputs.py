"""Inputs of every kind: an .npy array, a folder of images, a Parquet file."""

from __future__ import annotations

from pathlib import Path

from items.spec import ItemSpec
from serving.arrays import ArrayFile
from serving.batches import Batch, InputError, Skipped, Source, batches
from serving.folders import FolderOfImages
from serving.tables import ParquetOfImages

__all__ = ["Batch", "InputError", "Skipped", "Source", "batches", "open_input"]


def open_input(path: str | Path, item: ItemSpec, *, resize: bool | None = None, column: str | None = None) -> Source:
    """Open an input for a bundle.

    Args:
        path: an .npy file (n, *item shape); for images also a folder of image files, or a Parquet file with a column of
            encoded images.
        item: the items that the bundle takes.
        resize: scale and crop images of another size (True), or call them broken (False); by default `item.fit`
            decides, which is set where the model was trained on image files.
        column: the Parquet file's column of images, where it has several.

    Raises:
        InputError: the input is not there, is empty, or holds other items.
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
        raise InputError(f"{path}: must be a folder of images, an .npy file or a .parquet file")
    if source.total == 0:
        raise InputError(f"{path}: holds no items")
    return source


def local_path(path: str | Path) -> Path:
    """Return a path on this machine.

    Raises:
        InputError: it is a URL.
    """
    if "://" in str(path):
        raise InputError(f"{path}: is a URL, must be a file or folder on this machine")
    return Path(path)
