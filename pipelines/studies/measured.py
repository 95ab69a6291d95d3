"""An experiment's bundle as studies measure it: through ONNX Runtime, on the test split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from components import metrics
from components.data import PreparedDataset, open_dataset
from pipelines.project import Project, StageError
from pipelines.settings.params import load_params
from serving.bundle import Bundle

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Measured:
    """An experiment, its bundle and its data.

    Attributes:
        name: the experiment's.
        bundle: what is served.
        data: what it was trained on.
        errors: squared errors of the test items, (n,).
    """

    name: str
    bundle: Bundle
    data: PreparedDataset
    errors: Array

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self.data.schema.name

    @property
    def squared_error(self) -> float:
        """Mean over test items."""
        return float(self.errors.mean())


def measure(project: Project, experiment: str) -> Measured:
    """Load an experiment's bundle and measure how it rebuilds the test split.

    Raises:
        StageError: it cannot rebuild items.
        BundleError: the bundle is missing or damaged.
    """
    bundle, data = opened(project, experiment)
    test = np.asarray(data.array("test"))
    errors = metrics.squared_errors(data.schema.item.scaled(test), rebuilt(bundle, test))
    return Measured(experiment, bundle, data, errors)


def opened(project: Project, experiment: str) -> tuple[Bundle, PreparedDataset]:
    """Return an experiment's bundle and the dataset that it was trained on."""
    dataset = load_params(project).experiment(experiment).dataset
    return Bundle.load(project.bundle(experiment)), open_dataset(project.data(dataset))


def rebuilt(bundle: Bundle, items: Array) -> Array:
    """Return what a bundle makes of raw items (n, *item.shape), float32, images in 0-1."""
    if bundle.manifest.decoder is None:
        raise StageError(f"{bundle.name}: cannot rebuild items")
    return bundle.decode(bundle.encode(items))


def in_words(values: Array, style: str = "{:.2f}") -> str:
    """Return a mean over items (n,) with its 95 % bootstrap interval: `13.87 (13.76–13.96)`."""
    low, high = metrics.bootstrap_interval(values)
    return f"{style.format(values.mean())} ({style.format(low).removesuffix('%')}–{style.format(high)})"


def compared(first: Array, second: Array) -> int:
    """Return 1 where the first mean is above the second by more than chance, -1 where it is below, else 0.

    By the 95 % bootstrap interval of the difference, which is paired: both hold a value of each of the same items.
    """
    low, high = metrics.bootstrap_interval(first - second)
    return int(low > 0) - int(high < 0)


def evenly(count: int, wanted: int | None) -> Array:
    """Return `wanted` places spread evenly over `count`, all of them where there are no more."""
    wanted = min(count, wanted or count)
    return np.arange(wanted) * count // wanted
