"""evaluate: what a bundle's codes are worth, measured on the whole test split through ONNX Runtime.

python -m pipelines.evaluate EXPERIMENT
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from components import metrics
from components.data import PreparedDataset, open_dataset
from items.atomic import written_whole
from items.spec import ItemSpec
from pipelines.metrics.collapse import distinct_codes, reasons
from pipelines.plots import pictures
from pipelines.project import Project, StageError
from pipelines.settings.params import load_params
from serving.bundle import Bundle

Array = np.ndarray[Any, np.dtype[Any]]
Figures = dict[str, float | Array]  # a figure, or one value an item whose mean is the figure

TIMED_RUNS = 3
PROBED = 20_000  # training items that the probe learns from: more move its accuracy by less than its interval


def main(name: str) -> None:
    """Evaluate one experiment's bundle."""
    project = Project.here()
    params = load_params(project)
    bundle = Bundle.load(project.bundle(name))
    dataset = open_dataset(project.data(params.experiment(name).dataset))
    test = np.asarray(dataset.array("test"))

    codes, seconds = encode_timed(bundle, test)
    rebuilt = bundle.decode(codes) if bundle.manifest.decoder else None
    features = bundle.embed(test)
    figures: Figures = {"bits_per_item": bundle.manifest.code.bits_per_item}
    scaled = dataset.schema.item.scaled(test)
    figures |= fidelity(dataset.schema.item, scaled, rebuilt)
    figures |= usefulness(bundle, dataset, features)
    figures |= code_use(bundle, codes)
    figures["encode_items_per_second"] = len(test) / seconds
    errors = figures.get("squared_error")
    why = reasons(scaled, codes, bundle.manifest.code, None if errors is None else np.asarray(errors))
    document = describe(figures, why, params.seed, bundle, codes)
    draw(project.plots(name), bundle, dataset, test, rebuilt, features, codes)
    write_metrics(project.metrics(name), document)
    shown = [f"{key} {value:.4g}" for key, value in document.items() if isinstance(value, float)]
    shown += [f"collapsed: {reason}" for reason in why]
    sys.stdout.write(f"{name}: {', '.join(shown)}\n")


def encode_timed(bundle: Bundle, items: Array) -> tuple[Array, float]:
    """Return the codes of raw items and the median seconds that encoding them took, in memory."""
    bundle.encode(items[:1])  # opens the session
    took = []
    for _ in range(TIMED_RUNS):
        began = time.perf_counter()
        codes = bundle.encode(items)
        took.append(time.perf_counter() - began)
    return codes, statistics.median(took)


def fidelity(item: ItemSpec, scaled: Array, rebuilt: Array | None) -> Figures:
    """Measure what a code keeps of scaled items; nothing where they cannot be rebuilt."""
    if rebuilt is None:
        return {}
    squared = metrics.squared_errors(scaled, rebuilt)
    figures: Figures = {"squared_error": squared, "mse": squared / item.values}
    if item.kind == "image":
        figures["psnr"] = metrics.psnrs(squared / item.values)
        if (ssims := metrics.ssims(scaled, rebuilt)) is not None:
            figures["ssim"] = ssims
    return figures


def usefulness(bundle: Bundle, dataset: PreparedDataset, features: Array) -> Figures:
    """Measure what codes are good for: classes by nearest neighbours and by a linear probe.

    Nothing without classes, and nothing where all that is learned from is of one: it would be told by chance alone.
    """
    train_labels, test_labels = dataset.labels("train"), dataset.labels("test")
    probed = slice(PROBED)
    if train_labels is None or test_labels is None or len(np.unique(train_labels[probed])) < 2:
        return {}
    train = bundle.embed(np.asarray(dataset.array("train")))
    return {
        "knn_accuracy": metrics.knn_correct(train, train_labels, features, test_labels),
        "probe_accuracy": metrics.probe_correct(train[probed], train_labels[probed], features, test_labels),
    }


def code_use(bundle: Bundle, codes: Array) -> Figures:
    """Measure how the test split uses a code: its codebooks' entries, or the units of real codes."""
    code = bundle.manifest.code
    if code.levels is None:
        return {"active_fraction": metrics.active_fractions(codes)}
    bits, distinct = metrics.position_entropies(codes), distinct_codes(codes, code)
    return {
        **metrics.codebook_figures(codebook_counts(bundle, codes, code.levels)),
        "distinct_codes": float(distinct),
        "distinct_code_share": distinct / len(codes),
        "entropy_per_position": float(bits.mean()),
        "entropy_per_item": float(bits.sum()),
    }


def codebook_counts(bundle: Bundle, codes: Array, levels: int) -> Array:
    """Return how often the entries of each codebook, variable or bit are used, (alphabets, levels).

    Raises:
        StageError: the bundle is of an earlier version, which does not say how many there are.
    """
    alphabets = bundle.manifest.code.alphabets
    if alphabets is None:
        raise StageError(
            f"{bundle.name}: the bundle does not say which elements share a codebook; "
            f"run `python -m pipelines.export {bundle.name}`"
        )
    return metrics.code_counts(codes, levels, alphabets)


def describe(figures: Figures, collapsed: list[str], seed: int, bundle: Bundle, codes: Array) -> dict[str, Any]:
    """Return the metrics file's content: figures, why the code is called collapsed, 95 % intervals, what was measured.

    All but the figures are lists, which `dvc metrics` leaves out of its tables.
    """
    per_item = {name: values for name, values in figures.items() if isinstance(values, np.ndarray)}
    means = {name: float(values.mean()) for name, values in per_item.items()}
    single = {name: float(value) for name, value in figures.items() if not isinstance(value, np.ndarray)}
    digest = hashlib.sha256(np.ascontiguousarray(codes).tobytes()).hexdigest()
    return {
        **means,
        **single,
        "collapsed": collapsed,
        "intervals": {name: list(metrics.bootstrap_interval(values, seed)) for name, values in per_item.items()},
        "evidence": [{"bundle": bundle.manifest.digest, "items": len(codes), "codes_sha256": digest}],
    }


def draw(
    folder: Path,
    bundle: Bundle,
    dataset: PreparedDataset,
    items: Array,
    rebuilt: Array | None,
    features: Array,
    codes: Array,
) -> None:
    """Write an experiment's pictures into `folder`."""
    with written_whole(folder) as made:
        item = dataset.schema.item
        if rebuilt is not None:
            chosen = pictures.one_of_each(dataset.labels("test"), len(items))
            pictures.draw_rebuilt(item, item.scaled(items[chosen]), rebuilt[chosen], made / "reconstructions.png")
        pictures.draw_codes(features, dataset.labels("test"), dataset.schema.classes, made / "codes.png")
        if bundle.manifest.code.levels is not None:
            counts = codebook_counts(bundle, codes, bundle.manifest.code.levels)
            pictures.draw_codebook(counts, made / "codebook.png")


def write_metrics(path: Path, document: dict[str, Any]) -> None:
    """Write the metrics file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1))
    partial.replace(path)
