"""The report: all that `compare` found in one HTML file that needs nothing else, and a page for every study."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.compare.experiments import ExperimentResult
from pipelines.compare.leaderboard import best_by_metric, cell, costs, found, leaderboard
from pipelines.metrics.table import METRIC
from pipelines.studies.results import StudyResult

ALL_OPEN = 4  # sections that still read well unfolded
FACTS = (
    "bits_per_item",
    "squared_error",
    "word_perplexity",
    "knn_accuracy",
    "precision_at_10",
)  # beside an experiment's name, above its section


def render_report(
    results: Sequence[ExperimentResult], pictures: Mapping[str, Path], studies: Sequence[StudyResult] = ()
) -> str:
    """Return the report on experiments that are sorted by dataset; `pictures` is by dataset."""
    datasets = {name: list(group) for name, group in groupby(results, key=lambda result: result.dataset)}
    return (
        environment()
        .get_template("index.html.j2")
        .render(
            results=results,
            datasets=datasets,
            best={name: best_by_metric(group) for name, group in datasets.items()},
            boards={name: leaderboard(group) for name, group in datasets.items()},
            costs={name: costs(group) for name, group in datasets.items()},
            collapsed=[result for result in results if result.collapsed],
            pictures=pictures,
            studies=studies,
            metrics=found(results),
            sections={result.model: section(result) for result in results},
            unfolded=len(results) <= ALL_OPEN,
        )
    )


def render_study(result: StudyResult) -> str:
    """Return a study's page."""
    return environment().get_template("study.html.j2").render(result=result, study=result.study)


def environment() -> Environment:
    """Return the pages' templates."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "embed": embed,
        "width": width,
        "number": number,
        "words": words,
        "short": lambda digest: digest[:12],
    }
    return templates


def section(result: ExperimentResult) -> dict[str, Any]:
    """Return what an experiment's section shows beyond what its record holds."""
    record, raw = result.record, result.schema.item.bits
    return {
        "facts": [(METRIC[key], cell(result, METRIC[key], None)) for key in FACTS if result.value(key) is not None],
        "settings": dict(flatten(record.model)),
        "trials": [(trial, trial.best(record.objective)) for trial in record.trials],
        "short_paths": short_paths(list(record.space)),
        "factor": raw / result.bits if result.bits > 0 and result.schema.layout == "dense" else None,
        "command": (
            f"hourglass encode {result.schema.encodable} "
            f"--model bundles/{result.dataset}/{result.name} --out codes/{result.model}"
        ),
    }


def flatten(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield a settings tree as dotted paths and values."""
    for key, child in tree.items():
        if isinstance(child, Mapping):
            yield from flatten(child, f"{path}{key}.")
        else:
            yield f"{path}{key}", number(child) if isinstance(child, float | str) else json.dumps(child)


def short_paths(paths: Sequence[str]) -> dict[str, str]:
    """Return the last word of each dotted path, or all of it where two paths share that."""
    last = [path.rpartition(".")[2] for path in paths]
    return {path: words(word) if last.count(word) == 1 else path for path, word in zip(paths, last, strict=True)}


def number(value: object) -> str:
    """Return a number to four digits, other values as they are."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if math.isfinite(value) else "not finite"


def words(name: str) -> str:
    """Return `vector_quantizer` as people write it."""
    return name.replace("_", " ")


def width(path: Path) -> int:
    """Return the width at which a PNG of 150 dots an inch is shown, so that letters have one size in all of them."""
    return int.from_bytes(path.read_bytes()[16:20]) * 2 // 3


def embed(path: Path) -> str:
    """Return a PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
