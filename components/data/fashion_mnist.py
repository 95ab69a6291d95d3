"""Fashion-MNIST: 70,000 articles of clothing of 28×28 grey pixels (Xiao, Rasul, Vollgraf, arXiv 1708.07747)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from components.data.errors import DataError
from components.data.fetch import Way
from components.data.published_idx import PublishedSet
from components.data.raw import Outline, RawDataset
from components.data.ways import DebianWay, FolderWay, TorchvisionWay
from components.settings import Settings

FASHION_MNIST = PublishedSet(
    title="Fashion-MNIST articles of clothing (Xiao, Rasul, Vollgraf; Zalando)",
    files={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    licence="MIT",
)


class FashionMnistSettings(Settings):
    """The published 60,000 training images, less `validation` of them, and the published test set, whole and in order.

    With `source`, a folder that holds the four published files, nothing is downloaded.
    """

    kind: Literal["fashion_mnist"] = "fashion_mnist"
    validation: int = Field(default=5000, ge=1)
    source: Path | None = None

    def outline(self, name: str, root: Path) -> Outline:
        """Return what is known of the dataset; raises DataError where `source` is given and is no folder."""
        if self.source is not None and not (folder := root / self.source.expanduser()).is_dir():
            raise DataError(f"dataset {name}: {folder} is {'no folder' if folder.exists() else 'not there'}")
        return FASHION_MNIST.outline(self.validation)

    def load(self, name: str, seed: int, downloads: Path, root: Path) -> RawDataset:
        """See :meth:`PublishedSet.load`."""
        return FASHION_MNIST.load(name, self.validation, seed, self._ways(root), downloads / "fashion-mnist")

    def _ways(self, root: Path) -> Sequence[Way]:
        # A folder that was named is the only way: a slip in its path must not become a silent download.
        if self.source:
            return [FolderWay(root, self.source)]
        return [
            TorchvisionWay("FashionMNIST"),
            DebianWay("dataset-fashion-mnist", inside="usr/share/datasets/fashion-mnist"),
        ]
