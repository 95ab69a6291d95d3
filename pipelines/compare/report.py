"""The report: what `compare` found as one HTML file that needs nothing else, and a page like it for every study."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.compare.experiments import FAMILIES, Family
from pipelines.compare.merits import bits, merits
from pipelines.compare.standings import COLUMNS, Column, Standing, ends, findings, standing, value, written

if TYPE_CHECKING:
    from markupsafe import Markup

    from pipelines.compare.experiments import Entry
    from pipelines.studies.results import Result

COSTS = ("bits_per_item", "parameters", "trial_seconds", "encode_items_per_second")
ALL_OPEN = 4  # sections that still read well unfolded

Mark = Literal["best", "near", ""]


@dataclass(frozen=True)
class Cell:
    """One figure of one experiment in words, and what stands below it: its interval, or the worst that went into it."""

    text: str
    below: str = ""
    mark: Mark = ""


def render_report(entries: Sequence[Entry], pictures: Mapping[str, Path], studies: Sequence[Result] = ()) -> str:
    """Return the report on entries that are sorted as the leaderboard is; `pictures` is by dataset."""
    datasets = {name: list(group) for name, group in groupby(entries, key=lambda entry: entry.dataset)}
    sound = {name: without_collapsed(group) for name, group in datasets.items()}
    return (
        environment()
        .get_template("index.html.j2")
        .render(
            entries=entries,
            datasets=datasets,
            findings={name: list(findings(group)) for name, group in sound.items()},
            costs={name: costs(group) for name, group in datasets.items()},
            boards={name: leaderboard(group) for name, group in datasets.items()},
            pictures=pictures,
            studies=studies,
            columns=measured(entries),
            sections={entry.name: section(entry) for entry in entries},
            unfolded=len(entries) <= ALL_OPEN,
        )
    )


def render_study(result: Result) -> str:
    """Return a study's page."""
    return environment().get_template("study.html.j2").render(result=result, study=result.study)


def environment() -> Environment:
    """Return the pages' templates."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "embed": embed,
        "width": width,
        "number": number,
        "words": words,
        "short": lambda digest: digest[:12],
    }
    return made


def measured(entries: Sequence[Entry]) -> list[Column]:
    """Return the columns in which anything was measured."""
    return [column for column in COLUMNS if any(value(entry, column.key) is not None for entry in entries)]


def costs(entries: Sequence[Entry]) -> tuple[list[Column], dict[Family, list[tuple[Entry, list[Cell], list[Markup]]]]]:
    """Return what each experiment costs and what it is good for, family by family, the smallest code first."""
    columns = sorted((c for c in measured(entries) if c.key in COSTS), key=lambda column: COSTS.index(column.key))
    ordered = sorted(entries, key=lambda entry: (FAMILIES.index(entry.family), bits(entry), entry.name))
    sound = without_collapsed(entries)
    lines = [(e, [cell(e, c, None) for c in columns], [] if e.collapsed else merits(e, sound)) for e in ordered]
    return columns, {family: list(group) for family, group in groupby(lines, key=lambda line: line[0].family)}


def without_collapsed(entries: Sequence[Entry]) -> list[Entry]:
    """Return the experiments that may be compared: a collapsed code has the least bits for no use."""
    return [entry for entry in entries if not entry.collapsed]


def leaderboard(entries: Sequence[Entry]) -> tuple[list[Column], list[tuple[Entry, list[Cell]]]]:
    """Return a dataset's table: the columns in which anything was measured, and each experiment's cells."""
    columns = [column for column in measured(entries) if column.key not in COSTS[1:]]
    leaders = {c.key: standing(without_collapsed(entries), c.key) for c in columns if c.marked}
    return columns, [(e, [cell(e, column, leaders.get(column.key)) for column in columns]) for e in entries]


def cell(entry: Entry, column: Column, leader: Standing | None) -> Cell:
    """Return a figure in words, marked `best` where it is apart from all others and `near` where it may be best."""
    figure, interval = value(entry, column.key), entry.interval(column.key)
    if figure is None:
        return Cell("–")
    mark: Mark = ""
    if leader and leader.runner_up and entry in (leader.best, *leader.near):
        mark = "near" if leader.near else "best"
    below = ends(interval, column.style)
    if (worst := value(entry, column.worst) if column.worst else None) is not None:
        below = f"worst {written(worst, column.style).removesuffix('%')}"
    return Cell(written(figure, column.style).removesuffix("%"), below, mark)


def section(entry: Entry) -> dict[str, Any]:
    """Return what an experiment's section shows beyond what its record says itself."""
    record, size, raw = entry.record, entry.metrics.bits_per_item, entry.schema.item.bits
    return {
        "facts": [
            (column, cell(entry, column, None))
            for column in COLUMNS
            if column.key in ("bits_per_item", "squared_error", "knn_accuracy") and value(entry, column.key) is not None
        ],
        "settings": dict(flatten(record.model.model_dump(mode="json"))),
        "trials": [(trial, trial.best(record.objective)) for trial in record.trials],
        "short_paths": short_paths(list(record.space)),
        "factor": raw / size if size > 0 else None,
        "command": (
            f"hourglass encode data/{entry.schema.name}/{entry.schema.splits.test.arrays['items'].file} "
            f"--model bundles/{entry.name} --out codes/{entry.name}"
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


def number(figure: object) -> str:
    """Return a number to four digits, other values as they are."""
    if not isinstance(figure, float):
        return str(figure)
    return f"{figure:.4g}" if math.isfinite(figure) else "not finite"


def words(name: str) -> str:
    """Return `vector_quantizer` as people write it."""
    return name.replace("_", " ")


def width(path: Path) -> int:
    """Return how wide a PNG of 150 dots an inch is shown, so that letters are of one size in all of them."""
    return int.from_bytes(path.read_bytes()[16:20]) * 2 // 3


def embed(path: Path) -> str:
    """Return a PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
