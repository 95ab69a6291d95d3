"""Sets that are published as MNIST is: four idx files, images and labels to train on and to test with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from components.data.errors import DataError
from components.data.fetch import Way, fetch
from components.data.idx import read_idx
from components.data.raw import Outline, RawDataset, shuffled
from components.settings import SettingError
from items.spec import ItemSpec

COUNT = 60_000  # images to train on


@dataclass(frozen=True)
class PublishedSet:
    """A set as it is known before it is fetched.

    Attributes:
        title: what it is, and whose.
        files: the sha256 of each of the four raw files, unzipped, by the name that it is published under.
        classes: in the order of their labels.
        licence: under which it may be used.
    """

    title: str
    files: Mapping[str, str]
    classes: tuple[str, ...]
    licence: str

    def outline(self, validation: int) -> Outline:
        """Return what is known of the set; raises SettingError where `validation` leaves nothing to train on."""
        if validation >= COUNT:
            raise SettingError("validation", validation, f"at most {COUNT - 1} of the {COUNT} images")
        item = ItemSpec(kind="image", shape=(28, 28, 1), dtype="uint8")
        return Outline(item, len(self.classes), COUNT - validation)

    def load(self, name: str, validation: int, seed: int, ways: Sequence[Way], folder: Path) -> RawDataset:
        """Return uint8 items (28, 28, 1) with labels; the published test set is whole and in order.

        Args:
            name: the dataset's name in params.yaml, for errors.
            validation: how many training images are kept for validation.
            seed: decides which.
            ways: to the files, tried in this order.
            folder: where fetched files are kept.

        Raises:
            DataError: the files cannot be had, or are not what they should be.
            SettingError: `validation` leaves nothing to train on.
        """
        fetched = fetch(name, self.files, ways, folder)
        items, labels = _read(fetched.folder, "train")
        if validation >= len(items):
            raise SettingError("validation", validation, f"at most {len(items) - 1} of the {len(items)} images")
        order = shuffled(len(items), seed)
        test_items, test_labels = _read(fetched.folder, "t10k")
        return RawDataset(
            item=ItemSpec(kind="image", shape=items.shape[1:], dtype="uint8"),
            splits={
                "train": {"items": items[order[validation:]], "labels": labels[order[validation:]]},
                "validation": {"items": items[order[:validation]], "labels": labels[order[:validation]]},
                "test": {"items": test_items, "labels": test_labels},
            },
            classes=self.classes,
            source=f"{self.title}, by {fetched.way}",
            licence=self.licence,
        )


def _read(folder: Path, half: str) -> tuple[NDArray[Any], NDArray[Any]]:
    images = read_idx(folder / f"{half}-images-idx3-ubyte", dimensions=3)
    labels = read_idx(folder / f"{half}-labels-idx1-ubyte", dimensions=1)
    if len(images) != len(labels):
        raise DataError(f"{folder}: {len(images)} {half} images but {len(labels)} labels")
    return images[..., None], labels
