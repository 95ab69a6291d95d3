"""Data: where it comes from, and the prepared dataset that every stage after `prepare` reads.

A source is one file with a settings model, tagged by `kind`, that loads it; add it to `DatasetSettings`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from components.data.array import ArraySettings
from components.data.contract import PreparedDataset, open_dataset, write_dataset
from components.data.digits import DigitsSettings
from components.data.errors import DataError
from components.data.fashion_mnist import FashionMnistSettings
from components.data.images import ImagesSettings
from components.data.mnist import MnistSettings
from components.data.raw import RawDataset
from components.data.reuters import ReutersSettings
from components.data.schema import SPLITS, DatasetSchema, SplitName
from components.data.text import TextSettings

__all__ = [
    "SPLITS",
    "ArraySettings",
    "DataError",
    "DatasetSchema",
    "DatasetSettings",
    "DigitsSettings",
    "FashionMnistSettings",
    "ImagesSettings",
    "MnistSettings",
    "PreparedDataset",
    "RawDataset",
    "ReutersSettings",
    "SplitName",
    "TextSettings",
    "load",
    "open_dataset",
    "write_dataset",
]

DatasetSettings = Annotated[
    MnistSettings
    | FashionMnistSettings
    | DigitsSettings
    | ReutersSettings
    | ArraySettings
    | ImagesSettings
    | TextSettings,
    Field(discriminator="kind"),
]


def load(settings: DatasetSettings, name: str, *, seed: int, downloads: Path, root: Path) -> RawDataset:
    """Return the dataset that `settings` describe.

    Args:
        settings: one of the union.
        name: the dataset's name in params.yaml, for errors.
        seed: decides which items go to which split.
        downloads: folder where fetched files are kept for the next time.
        root: the project's root, where relative paths start.

    Raises:
        DataError: the data cannot be had or used.
        SettingError: a setting does not fit the data; its key starts below the settings model.
    """
    return settings.load(name, seed, downloads, root)
