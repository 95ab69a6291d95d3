"""Inputs of every kind: an .npy array, a folder of images or texts, a table."""

from __future__ import annotations

from pathlib import Path

from items.spec import ItemSpec
from serving.arrays import ArrayFile
from serving.batches import Batch, InputError, Skipped, Source, batches
from serving.folders import FolderOfImages
from serving.tables import ParquetOfImages
from serving.texts import Texts

__all__ = ["Batch", "InputError", "Skipped", "Source", "batches", "open_input"]


def open_input(path: str | Path, item: ItemSpec, *, resize: bool | None = None, column: str | None = None) -> Source:
    """Open an input for a bundle.

    Args:
        path: an .npy file (n, *item shape); for images also a folder of image files, or a Parquet file with a column of
            encoded images; for texts a CSV, TSV, JSON-lines or Parquet file, or a folder of .txt files.
        item: the items that the bundle takes.
        resize: scale and crop images of another size (True), or call them broken (False); by default `item.fit`
            decides, which is set where the model was trained on image files.
        column: of images, where a Parquet file has several; of texts, by default `text`.

    Raises:
        InputError: the input is not there, is empty, or holds other items.
    """
    path = local_path(path)
    source: Source
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if item.kind == "text" and path.suffix != ".npy":
        source = Texts(path, item, column)
    elif path.is_dir():
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
