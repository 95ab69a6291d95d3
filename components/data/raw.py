"""Raw data: a source's answer to `prepare`, and the dealing of items to splits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.data.checks import Arrays
from components.data.errors import DataError
from components.data.schema import SplitName
from components.settings import SettingError
from items.sparse import SparseRows
from items.spec import ItemSpec

Fraction = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class RawDataset:
    """A dataset in memory, ready to be written: the arguments of `write_dataset` that the source knows."""

    item: ItemSpec
    splits: Mapping[SplitName, Arrays]
    classes: tuple[str, ...] | None
    source: str
    licence: str
    remarks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Outline:
    """A dataset as it is known before it is prepared.

    Attributes:
        item: what one item is.
        classes: how many there are; None without.
        train: items to train on, as far as headers and names show.
    """

    item: ItemSpec
    classes: int | None
    train: int


def check_fractions(validation: float, test: float) -> None:
    """Raise SettingError where the fractions of two splits leave nothing to train on."""
    if validation + test >= 1:
        raise SettingError("validation", validation, f"with test: {test} must be less than 1")


def split_sizes(name: str, count: int, validation: float, test: float) -> tuple[int, int]:
    """Return how many of `count` items are for validation and for test.

    Raises:
        DataError: a split would be empty.
    """
    sizes = round(count * validation), round(count * test)
    for split, size in {"validation": sizes[0], "test": sizes[1], "train": count - sum(sizes)}.items():
        if size <= 0:
            # More than half an item to round up for each of the two, and more than the one that rounding may take.
            enough = math.floor(max(0.5 / validation, 0.5 / test, 1 / (1 - validation - test))) + 1
            raise DataError(
                f"dataset {name}: {count} items are too few, split {split} would be empty "
                f"(validation: {validation}, test: {test}); {enough} are enough"
            )
    return sizes


def shuffled(count: int, seed: int) -> NDArray[np.intp]:
    """Return the numbers 0 to count-1 in an order that `seed` alone decides: (count,) of integers.

    It is RandomState's, because numpy keeps that stream the same for good (NEP 19): a newer numpy cuts the same splits.
    """
    generator = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    return generator.permutation(count)


def deal(count: int, validation: int, test: int, seed: int) -> dict[SplitName, NDArray[np.intp]]:
    """Return the shuffled indices of each split: `validation` and `test` of them, and the rest to train."""
    order = shuffled(count, seed)
    return {
        "train": order[validation + test :],
        "validation": order[:validation],
        "test": order[validation : validation + test],
    }


def take(
    indices: Mapping[SplitName, NDArray[np.intp]], **arrays: NDArray[Any] | SparseRows
) -> dict[SplitName, dict[str, Any]]:
    """Return the rows at each split's indices, of every array; sparse ones stay sparse."""

    def chosen(array: NDArray[Any] | SparseRows, rows: NDArray[np.intp]) -> NDArray[Any] | SparseRows:
        return array.take(rows) if isinstance(array, SparseRows) else array[rows]

    return {split: {name: chosen(array, rows) for name, array in arrays.items()} for split, rows in indices.items()}
