"""An experiment's evaluation: a unit's work, done through ONNX Runtime, so that what is served is what is evaluated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.data.contract import PreparedDataset, open_dataset
from pipelines.evaluate.results import VALUES, write_values
from pipelines.metrics.collapse import reasons
from pipelines.metrics.context import Array, EvaluationContext
from pipelines.metrics.shown import nearest, traverse
from pipelines.metrics.significance import interval
from pipelines.metrics.table import METRICS
from pipelines.plots import pictures
from pipelines.project import StageError
from serving.bundle import Bundle

SHOWN = 9  # topics that have a colour of their own
DOCUMENT = "metrics.json"  # of metrics/<dataset>/<experiment>.json all but the throughput


def evaluate(out: Path, *, bundle: Path, data: Path, seed: int, threads: int = 1) -> None:
    """Write a bundle's metrics on the test split, their values of each item, and pictures.

    Args:
        out: an empty folder.
        bundle: a bundle's folder.
        data: the folder of its prepared dataset.
        seed: of the intervals' resamples.
        threads: of ONNX Runtime.

    Raises:
        StageError: a metric is no finite number.
        BundleError: the bundle is damaged.
        DataError: the dataset is damaged.
    """
    context = EvaluationContext(Bundle.load(bundle, threads), open_dataset(data))
    computed = [
        (metric, np.asarray(metric.compute(context), np.float64))
        for metric in METRICS
        if metric.compute and metric.applies(context)
    ]
    values = {metric.key: found for metric, found in computed if metric.per_item}
    metrics = {metric.key: float(found.mean()) for metric, found in computed}
    check_finite(context.bundle.name, metrics, values)
    write_values(out / VALUES, values)
    (out / DOCUMENT).write_text(json.dumps(describe(context, metrics, values, seed), indent=1))
    draw(context, out)


def check_finite(name: str, metrics: dict[str, float], values: dict[str, Array]) -> None:
    """Raise StageError where a metric or one of its values is no finite number."""
    for key, metric in metrics.items():
        if not np.isfinite(metric) or (key in values and not np.isfinite(values[key]).all()):
            raise StageError(f"{key} of {name} is {metric}, must be a finite number for every test item")


def describe(
    context: EvaluationContext, metrics: dict[str, float], values: dict[str, Array], seed: int
) -> dict[str, Any]:
    """Return the content of metrics.json; see :class:`pipelines.evaluate.results.Metrics`."""
    digest = hashlib.sha256(np.ascontiguousarray(context.codes).tobytes()).hexdigest()
    return {
        **metrics,
        "collapsed": reasons(context.scaled, context.codes, context.code, context.error),
        "intervals": {key: interval(column, seed) for key, column in values.items()},
        "evidence": [
            {"bundle": context.bundle.manifest.digest, "items": len(context.items), "codes_sha256": digest},
        ],
    }


def draw(context: EvaluationContext, out: Path) -> None:
    """Write reconstructions.png, units.png, neighbours.png, codes.png and codebook.png, those that there can be."""
    labels, classes = shown_classes(context.dataset)
    chosen = pictures.one_of_each(labels, len(context.items))
    if context.bundle.manifest.decoder is not None:
        pictures.draw_rebuilt(
            context.item, context.scaled[chosen], context.rebuilt[chosen], out / "reconstructions.png"
        )
        values = ("most common", "next") if context.discrete else ("low", "high")
        units, low, high = traverse(context, pictures.COLUMNS)
        pictures.draw_units(context.item, units, dict(zip(values, (low, high), strict=True)), out / "units.png")
    near = nearest(context, chosen, pictures.neighbours_shown(context.item))
    found = context.item.scaled(context.dataset.items("train")[near.reshape(-1)])
    found = found.reshape(*near.shape, *context.item.shape)
    pictures.draw_neighbours(context.item, context.scaled[chosen], found, out / "neighbours.png")
    pictures.draw_codes(context.features, labels, classes, out / "codes.png")
    if context.discrete:
        pictures.draw_codebook(context.code_counts, out / "codebook.png")


def shown_classes(dataset: PreparedDataset) -> tuple[Array | None, Sequence[str] | None]:
    """Return a class for each test item to be coloured by, and the classes' names.

    Of several topics an item is shown as the one that most test items have, if that is among the SHOWN most common.
    """
    topics, names = dataset.topics("test"), dataset.schema.classes
    if topics is None or names is None:
        return dataset.labels("test"), names
    dense = topics[:]
    common = np.argsort(-dense.sum(0), kind="stable")[:SHOWN]
    first = dense[:, common].argmax(1)
    labels = np.where(dense[:, common].any(1), first, len(common))
    return labels, [*(names[place] for place in common), "other"]
