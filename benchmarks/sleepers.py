"""Trials that sleep, for :mod:`benchmarks.busy`: their workers load what those of real trials load, and no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Any

import pipelines.sweep.trial  # noqa: F401 - a real trial's worker waits for this, so these wait too

TRIALS, EPOCHS = 40, 6
SHORTEST, LONGEST = 3.0, 15.0  # seconds of a trial


class Sleepers:
    """A line-up of trials that sleep, the longest first; see :class:`pipelines.cluster.tuner.Lineup`."""

    def __init__(self) -> None:
        draw = Random(0)
        lengths = sorted((draw.uniform(SHORTEST, LONGEST) for _ in range(TRIALS)), reverse=True)
        self._left = [{"number": n, "seconds": s, "cpus": 1.0, "gpus": 0.0} for n, s in enumerate(lengths, 1)]

    def next(self) -> dict[str, Any] | None:
        """Return the next trial."""
        return self._left.pop(0) if self._left else None

    def finished(self) -> bool:
        """Return whether all trials were begun."""
        return not self._left

    def ended(self, config: dict[str, Any]) -> None:
        """Take no note: a trial that has ended has ended."""


def sleep(config: dict[str, Any], *, node: str, tell: Callable[[dict[str, Any]], None]) -> None:
    """Be a trial: sleep for each epoch."""
    for epoch in range(1, EPOCHS + 1):
        began = time.perf_counter()
        time.sleep(config["seconds"] / EPOCHS)
        tell({"epoch": epoch, "seconds": time.perf_counter() - began})
