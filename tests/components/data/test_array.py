from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.data import ArraySettings, DataError, RawDataset, load
from components.settings import SettingError


def load_array(root: Path, items: np.ndarray, labels: np.ndarray | None = None, **settings: Any) -> RawDataset:
    np.save(root / "items.npy", items, allow_pickle=True)
    if labels is not None:
        np.save(root / "labels.npy", labels)
        settings["labels"] = "labels.npy"
    return load(ArraySettings(source="items.npy", **settings), "mine", seed=0, downloads=root, root=root)


@pytest.mark.parametrize(
    ("shape", "dtype", "kind", "item_shape", "stored"),
    [
        ((20, 4, 5), "uint8", "image", (4, 5, 1), "uint8"),
        ((20, 4, 5, 1), "uint8", "image", (4, 5, 1), "uint8"),
        ((20, 4, 5, 3), "uint8", "image", (4, 5, 3), "uint8"),
        ((20, 4, 5, 2), "uint8", "vector", (40,), "uint8"),
        ((20, 6), "uint8", "vector", (6,), "uint8"),
        ((20, 6), "float32", "vector", (6,), "float32"),
        ((20, 2, 3), "float64", "vector", (6,), "float32"),
    ],
)
def test_shape_and_dtype_say_what_an_item_is(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, kind: str, item_shape: tuple[int, ...], stored: str
) -> None:
    items = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    raw = load_array(tmp_path, items)
    assert (raw.item.kind, raw.item.shape, raw.item.dtype) == (kind, item_shape, stored)
    together = np.concatenate([split["items"] for split in raw.splits.values()])
    assert together.dtype == stored
    expected = items.astype(stored).reshape(20, -1)
    assert sorted(map(tuple, together.reshape(20, -1).tolist())) == sorted(map(tuple, expected.tolist()))


def test_the_fractions_are_of_all_items(tmp_path: Path) -> None:
    raw = load_array(tmp_path, np.zeros((40, 2), np.float32), validation=0.25, test=0.1)
    assert {name: len(split["items"]) for name, split in raw.splits.items()} == {
        "train": 26,
        "validation": 10,
        "test": 4,
    }


def test_any_integers_are_labels_and_stay_with_their_items(tmp_path: Path) -> None:
    labels = np.array([30, -5, 7] * 10, np.int16)
    raw = load_array(tmp_path, labels[:, None].astype(np.float32), labels)
    assert raw.classes == ("-5", "7", "30")
    for split in raw.splits.values():
        assert [int(raw.classes[label]) for label in split["labels"]] == split["items"][:, 0].astype(int).tolist()


def nan_at(index: int) -> np.ndarray:
    items = np.zeros((20, 3))
    items[index, 2] = np.nan
    return items


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (nan_at(17), "items.npy, item 17: holds NaN"),
        (np.full((20, 3), 1e300), "item 0: holds .* more than float32 can hold"),
        (np.zeros((0, 3), np.float32), r"shape \(0, 3\), must be"),
        (np.zeros((20, 0), np.float32), r"shape \(20, 0\), must be"),
        (np.zeros(20, np.float32), r"shape \(20,\), must be"),
        (np.zeros((20, 3), np.int64), "holds int64, must be uint8, float32 or float64"),
        (np.full((20, 3), "text", dtype=object), "cannot be read as a .npy array: .*pickled objects"),
        (np.zeros((4, 3), np.float32), "4 items are too few, split validation would be empty"),
    ],
)
def test_an_array_that_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, items: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_array(tmp_path, items)


@pytest.mark.parametrize("labels", [np.zeros(19, int), np.zeros((20, 1), int), np.zeros(20)])
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"labels.npy .* must be integers of shape \(20,\)"):
        load_array(tmp_path, np.zeros((20, 3), np.float32), labels)


def test_files_that_are_not_there_or_not_npy_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("1,2,3")
    for source, message in [("absent.npy", "absent.npy is not there"), ("text.npy", "text.npy cannot be read")]:
        with pytest.raises(DataError, match=message):
            load(ArraySettings(source=Path(source)), "mine", seed=0, downloads=tmp_path, root=tmp_path)


def test_fractions_that_leave_nothing_to_train_on_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"validation: 0\.5, with test: 0\.5 must be less than 1"):
        load_array(tmp_path, np.zeros((20, 3), np.float32), validation=0.5, test=0.5)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(DataError, match=r"pipe\.npy cannot be read as a \.npy array: it is a named pipe"):
        load(ArraySettings(source=Path("pipe.npy")), "mine", seed=0, downloads=tmp_path, root=tmp_path)
