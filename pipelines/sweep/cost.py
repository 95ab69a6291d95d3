"""The cost of an epoch, so that the longest trials are begun first. It decides no result."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from components.batches import Batches
from components.contract import Trainable
from pipelines.settings.spaces import corners
from pipelines.sweep.plan import Sweep

SHORTEST = 0.1  # seconds, of models that are fitted in closed form


def seconds_per_epoch(sweeps: Sequence[Sweep]) -> dict[str, float]:
    """Return about how long an epoch of each sweep takes on one core, by its name; two steps of each are timed."""
    return {sweep.name: _seconds(sweep) for sweep in sweeps}


def _seconds(sweep: Sweep) -> float:
    settings = sweep.settings.model_settings(next(corners(sweep.settings.space)))
    training = getattr(settings, "training", None)
    model = settings.build(sweep.data.schema.item)
    if training is None or not isinstance(model, Trainable):
        return SHORTEST
    items = Batches.of(sweep.data.items("train")).rows(slice(training.batch_size))
    took = float("inf")
    for _ in range(2):
        began = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            torch.stack(list(model.losses(items).values())).sum().backward()  # type: ignore[no-untyped-call]
        took = min(took, time.perf_counter() - began)
    return took * sweep.data.count("train") / len(items)
