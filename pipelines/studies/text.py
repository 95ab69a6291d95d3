"""Numbers and settings as the text of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.corruptions import Corruption, NoCorruption
from pipelines.metrics.significance import interval, paired_difference

Array = np.ndarray[Any, np.dtype[Any]]
Spread = tuple[float, float, float]  # a mean and the ends of its 95 % interval


def mean_text(values: Array, style: str = "{:.2f}") -> str:
    """Return the mean of values of items (n,) with its 95 % bootstrap interval: `13.87 (13.76–13.96)`."""
    low, high = interval(values)
    return f"{style.format(values.mean())} ({style.format(low).removesuffix('%')}–{style.format(high)})"


def difference_text(first: Array, second: Array, style: str = "{:+.2f}") -> str:
    """Return the difference of two means, of values (n,) of the same items, with its 95 % interval.

    It is significant where the interval does not hold 0: `+0.31 (+0.12 to +0.50)`.
    """
    low, high = paired_difference(first, second)
    return f"{style.format(first.mean() - second.mean())} ({style.format(low)} to {style.format(high)})"


def spread(values: Sequence[float]) -> Spread:
    """Return the mean of values of several seeds and its 95 % interval, by Student's t; NaN ends for a single seed."""
    from scipy import stats  # a second, and reading params.yaml imports this module

    mean = float(np.mean(values))
    half = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)) if len(values) > 1 else float("nan")
    return mean, mean - half, mean + half


def spread_text(values: Sequence[float], style: str = "{:.2f}", dash: str = "–") -> str:
    """Return the mean over seeds with its 95 % interval, `6.65 (6.21–7.09)`; for a single seed its value alone."""
    mean, low, high = spread(values)
    if np.isnan(low):
        return style.format(mean)
    return f"{style.format(mean)} ({style.format(low)}{dash}{style.format(high)})"


def differing_keys(first: Mapping[str, object], second: Mapping[str, object]) -> str:
    """Return which of their settings differ, by name: `bottleneck, corruption`; `nothing` where none does."""
    keys = first.keys() | second.keys()
    return ", ".join(key for key in sorted(keys) if first.get(key) != second.get(key)) or "nothing"


def corruption_text(corruption: Corruption) -> str:
    """Return what a corruption does to an item: `gaussian, sigma 0.5`. The share that it leaves clean is not in it."""
    if isinstance(corruption, NoCorruption):
        return "no noise"
    settings = corruption.model_dump(exclude={"clean"})
    kind = settings.pop("kind").replace("_", " ")
    return ", ".join([kind, *(f"{key} {value}" for key, value in settings.items())])
