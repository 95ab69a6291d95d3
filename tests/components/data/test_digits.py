from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from components.data import DigitsSettings, RawDataset, load
from components.data.raw import shuffled
from components.settings import SettingError


def load_seed(seed: int, **settings: int) -> RawDataset:
    return load(DigitsSettings(**settings), "digits", seed=seed, downloads=Path("none"), root=Path("none"))


def counted(splits: list[np.ndarray]) -> Counter[bytes]:
    return Counter(item.tobytes() for items in splits for item in items)


def test_the_splits_together_are_scikit_learns_digits_each_once() -> None:
    raw = load_seed(3, validation=100, test=200)
    assert {name: len(split["items"]) for name, split in raw.splits.items()} == {
        "train": 1497,
        "validation": 100,
        "test": 200,
    }
    # 16 × 15.9375 = 255; worked out in integers here, with halves going to the even neighbour
    grey = np.array([round(value * 255 / 16) for value in range(17)], np.uint8)
    expected = grey[load_digits().images.astype(int)]
    assert counted([split["items"] for split in raw.splits.values()]) == counted([expected])
    assert grey.max() == 255


def test_every_item_keeps_its_label() -> None:
    digits = load_digits()
    pairs = Counter(zip((image.tobytes() for image in digits.images), digits.target.tolist(), strict=True))
    raw = load_seed(3)
    found = Counter(
        (np.rint(item[..., 0] / (255 / 16)).astype(float).tobytes(), int(label))
        for split in raw.splits.values()
        for item, label in zip(split["items"], split["labels"], strict=True)
    )
    assert found == pairs


def test_the_seed_alone_decides_the_splits() -> None:
    first, again, other = (load_seed(seed).splits["test"]["items"] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_splits_of_a_seed_never_change() -> None:
    assert shuffled(10, seed=0).tolist() == [6, 1, 0, 5, 3, 8, 7, 9, 2, 4]


def test_too_many_held_out_is_named() -> None:
    with pytest.raises(SettingError, match="validation: 1437, with test: 360 must be under 1797 items"):
        load_seed(0, validation=1437)
    assert len(load_seed(0, validation=1436).splits["train"]["items"]) == 1
