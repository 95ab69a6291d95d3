"""The 1,797 handwritten digits of 8×8 grey pixels that scikit-learn ships: no network needed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from components.data.raw import Outline, RawDataset, deal, take
from components.settings import SettingError, Settings
from items.spec import ItemSpec

COUNT = 1797


class DigitsSettings(Settings):
    """scikit-learn's digits, shuffled and dealt to the splits."""

    kind: Literal["digits"] = "digits"
    validation: int = Field(default=180, ge=1)
    test: int = Field(default=360, ge=1)

    def outline(self, name: str, root: Path) -> Outline:
        """Return what is known of the dataset; raises SettingError where nothing is left to train on."""
        if self.validation + self.test >= COUNT:
            raise SettingError("validation", self.validation, f"with test: {self.test} must be under {COUNT} items")
        item = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")
        return Outline(item, 10, COUNT - self.validation - self.test)

    def load(self, name: str, seed: int, downloads: Path, root: Path) -> RawDataset:
        """Return uint8 items (8, 8, 1) with labels 0 to 9; grey 0..16 becomes 0..255, to the nearest.

        Raises:
            SettingError: `validation` and `test` leave nothing to train on.
        """
        # Imported here: reading params.yaml needs this module, and scikit-learn takes a second.
        from sklearn.datasets import load_digits

        self.outline(name, root)
        digits = load_digits()
        count = len(digits.images)
        items = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        labels = digits.target.astype(np.uint8)
        return RawDataset(
            item=ItemSpec(kind="image", shape=items.shape[1:], dtype="uint8"),
            splits=take(deal(count, self.validation, self.test, seed), items=items, labels=labels),
            classes=tuple("0123456789"),
            source="Optical Recognition of Handwritten Digits (Alpaydin, Kaynak; UCI), the test part, by scikit-learn",
            licence="CC BY 4.0",
        )
