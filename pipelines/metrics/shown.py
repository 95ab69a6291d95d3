"""What pictures show of a code: what each unit does to a rebuilt item, and which training items are nearest."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.metrics.context import EvaluationContext
from pipelines.metrics.topics import of_length_one

Array = npt.NDArray[Any]

LOW, HIGH = 0.05, 0.95  # quantiles of a unit's values
SEARCHED = 20_000  # training items among which neighbours are shown


def traverse(context: EvaluationContext, count: int) -> tuple[Array, Array, Array]:
    """Return units of the code, and what the decoder makes of a typical code with each at a low and a high value.

    Typical is the mean of real units, and low and high are 5 % and 95 % quantiles, or the largest value where both are
    the same. Of discrete units the most common value is typical and low, and the next most common is high: they have no
    order. Values are those of the test items.

    Args:
        context: of a bundle that decodes.
        count: units at most; those come first whose values vary most.

    Returns:
        The places of the units in the flattened code, (units,), and items rebuilt, twice (units, *item.shape).
    """
    codes = context.codes.reshape(len(context.codes), -1)
    if context.discrete:
        ranked = [np.unique(column, return_counts=True) for column in codes.T]
        orders = [values[np.argsort(-counts, kind="stable")] for values, counts in ranked]
        typical = np.array([order[0] for order in orders])
        low, high = typical, np.array([order[min(1, len(order) - 1)] for order in orders])
        spread = np.array([1 - counts.max() / len(codes) for _, counts in ranked])
    else:
        typical, spread = codes.mean(0), codes.std(0)
        low, high = np.quantile(codes, [LOW, HIGH], axis=0)
        high = np.where(high > low, high, codes.max(0))
    units = np.argsort(-spread, kind="stable")[:count]
    chosen = np.arange(len(units))
    rebuilt = []
    for values in (low, high):
        changed = np.tile(typical, (len(units), 1))
        changed[chosen, units] = values[units]
        rebuilt.append(context.bundle.decode(changed.astype(codes.dtype).reshape(-1, *context.codes.shape[1:])))
    return units, rebuilt[0], rebuilt[1]


def nearest(context: EvaluationContext, queries: list[int], count: int) -> Array:
    """Return for each of some test items the training items with the nearest features, (queries, count).

    Features of texts are compared by angle and others by Euclidean distance, among the first SEARCHED training items.
    """
    from pipelines.metrics.neighbours import Database

    known, asked = context.features_of_first(SEARCHED), context.features[queries]
    if context.item.scale == "tf_idf":
        known, asked = of_length_one(known), of_length_one(asked)
    return Database.euclidean(known).search(asked, min(count, len(known))).items
