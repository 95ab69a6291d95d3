"""Collapse: a code that says almost nothing about its item."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from items.code import CodeSpec
from pipelines.metrics import item_metrics

Array = np.ndarray[Any, np.dtype[Any]]

LEAST = 0.01  # share of what a code could do that it must do at least
RESOLUTION = 1e-5  # of a real unit's largest value: one that varies less varies by rounding alone


def reasons(items: Array, codes: Array, code: CodeSpec, error: tuple[Array, float] | None) -> list[str]:
    """Return why a code is called collapsed, a reason for each rule that it breaks.

    1. Few distinct codes: at most one, or at most 1 % of as many as there could be. That is the number of different
       items, or of possible codes where those are fewer. The rule finds a codebook of which one vector is in use, a
       dead layer, or bits that never change, but not a small codebook in good use.
    2. What is rebuilt explains at most 1 % of the items' variance. A decoder that learns nothing from the code gives
       the mean item, which explains none. A variational autoencoder whose posterior has collapsed does that: none of
       its units is active (Burda et al., arXiv 1509.00519, section 5.2), and the decoder has learned to ignore them.

    Args:
        items: scaled items (n, ...).
        codes: their codes (n, ...).
        code: what codes are.
        error: of each rebuilt item (n,), and the mean if all were replaced by the mean item; None where nothing is.
    """
    different, found = item_metrics.distinct(items), distinct_codes(codes, code)
    possible = different if code.levels is None else min(different, code.levels ** math.prod(code.shape))
    broken = []
    if possible > 1 and found <= max(1, LEAST * possible):
        broken.append(f"{found:,} code{'s' if found > 1 else ''} for {different:,} different items")
    if different > 1 and error is not None:
        mean, blind = float(error[0].mean()), error[1]
        if mean >= (1 - LEAST) * blind:
            broken.append(f"error {mean:.4g}, and {blind:.4g} if every item is replaced by the mean item")
    return broken


def distinct_codes(codes: Array, code: CodeSpec) -> int:
    """Return how many different codes there are, not counting differences in real units that vary by rounding alone."""
    if code.levels is None:
        constant = np.ptp(codes, 0) <= RESOLUTION * np.abs(codes).max(0)
        codes = np.where(constant, 0.0, codes)
    return item_metrics.distinct(codes)
