"""What a source of data gives to `prepare`, and how items are dealt out to the splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.data.schema import SplitName
from components.items import ItemSpec


@dataclass(frozen=True)
class RawDataset:
    """A dataset in memory, ready to be written: the arguments of `write_dataset` that the source knows."""

    item: ItemSpec
    splits: Mapping[SplitName, Mapping[str, NDArray[Any]]]
    classes: tuple[str, ...] | None
    source: str
    licence: str


def shuffled(count: int, seed: int) -> NDArray[np.intp]:
    """Return the numbers 0 to count-1 in an order that `seed` alone decides: (count,) of integers.

    It is RandomState's, because numpy keeps that stream the same for ever (NEP 19): a newer numpy cuts the same splits.
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


def take(indices: Mapping[SplitName, NDArray[np.intp]], **arrays: NDArray[Any]) -> dict[SplitName, dict[str, Any]]:
    """Return the rows at each split's indices, of every array."""
    return {split: {name: array[rows] for name, array in arrays.items()} for split, rows in indices.items()}
