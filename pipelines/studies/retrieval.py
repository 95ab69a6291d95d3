"""retrieval: the nearest images by pixels, by real codes and by bits, and how many are of the query's class.

python -m pipelines.studies.retrieval NAME

Krizhevsky and Hinton, "Using Very Deep Autoencoders for Content-Based Image Retrieval", ESANN 2011: images found by the
Euclidean distance of codes, or of bits by Hamming distance, against the Euclidean distance of pixels. Queries are items
of the test split, and the training split is searched.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from components import metrics
from components.data import PreparedDataset
from items.spec import ItemSpec
from pipelines.metrics.neighbours import Database, Neighbours
from pipelines.plots.pictures import one_of_each
from pipelines.plots.style import ACCENT, INK
from pipelines.project import Project, StageError, stage
from pipelines.settings.params import load_params
from pipelines.studies.contract import Picture, Study, Table, differences, publish
from pipelines.studies.measured import evenly, opened
from pipelines.studies.settings import RetrievalSettings
from serving.bundle import Bundle

Array = np.ndarray[Any, np.dtype[Any]]

SHOWN = 8  # queries in the picture, and neighbours of each
TIMED, TIMED_RUNS = 1000, 3  # queries, and how often they are searched for
LISTED = 30  # classes that a table can hold


@dataclass(frozen=True)
class Search:
    """One way to search, and what it found.

    Attributes:
        name: of its figures: pixels, real, binary.
        words: what is compared.
        distance: how.
        stored: bytes that an item takes.
        found: the queries' neighbours in the training split.
        seconds: the median time that 1,000 queries took.
    """

    name: str
    words: str
    distance: str
    stored: float
    found: Neighbours
    seconds: float

    @property
    def title(self) -> str:
        """What is compared, and how: `256 bits, Hamming`."""
        return f"{self.words}, {self.distance}"


def main(name: str) -> None:
    """Search for the same queries by pixels and by the codes of the experiments in `studies.retrieval.<name>`."""
    project = Project.here()
    params = load_params(project)
    settings = params.study(RetrievalSettings, f"retrieval.{name}")
    (real, data), (binary, _) = opened(project, settings.real), opened(project, settings.binary)
    queries = evenly(data.count("test"), settings.queries)
    searches = search_all(data, queries, real, binary, settings.neighbours)
    digests = {bundle.name: bundle.manifest.digest for bundle in (real, binary)}
    differing = differences(*(params.experiment(e).model for e in (settings.real, settings.binary)))
    publish(
        project,
        describe(name, data, queries, searches, digests, differing),
        {"neighbours.png": draw_neighbours(data, queries, searches)},
    )


def search_all(data: PreparedDataset, queries: Array, real: Bundle, binary: Bundle, k: int) -> list[Search]:
    """Search the training split for items of the test split, at places `queries`, in three ways.

    Raises:
        StageError: an experiment's codes are not what the study compares.
    """
    if real.discrete:
        raise StageError(f"{real.name}: its codes are not real numbers, which Euclidean distance compares")
    if binary.manifest.code.levels != 2:
        raise StageError(f"{binary.name}: its codes are not bits, which Hamming distance compares")
    item = data.schema.item
    train, test = np.asarray(data.array("train")), np.asarray(data.array("test"))[queries]
    numbers, bits = real.feature_dimensions, int(np.prod(binary.manifest.code.shape))
    raw = [item.scaled(items).reshape(len(items), -1) for items in (train, test)]
    codes = [real.embed(items) for items in (train, test)]
    packed = [np.packbits(binary.encode(items).reshape(len(items), -1), axis=1) for items in (train, test)]
    pixels = f"{item.values:,} {'pixels' if item.kind == 'image' and item.shape[2] == 1 else 'raw values'}"
    return [
        _search("pixels", pixels, "Euclidean", item.bits / 8, Database.euclidean(raw[0]), raw[1], k),
        _search(
            "real", f"{numbers:,} real numbers", "Euclidean", 4 * numbers, Database.euclidean(codes[0]), codes[1], k
        ),
        _search("binary", f"{bits:,} bits", "Hamming", packed[0].shape[1], Database.hamming(packed[0]), packed[1], k),
    ]


def _search(name: str, words: str, distance: str, stored: float, database: Database, queries: Array, k: int) -> Search:
    took = []
    for _ in range(TIMED_RUNS):
        began = time.perf_counter()
        database.search(queries[:TIMED], k)
        took.append((time.perf_counter() - began) * 1000 / len(queries[:TIMED]))
    return Search(name, words, distance, stored, database.search(queries, k), statistics.median(took))


def describe(
    name: str,
    data: PreparedDataset,
    queries: Array,
    searches: list[Search],
    digests: dict[str, str],
    differing: str,
) -> Study:
    """Put the figures into words and tables; `differing` names the parts in which the two models differ."""
    k = searches[0].found.items.shape[1]
    precisions = precisions_of(data, queries, searches)
    overlaps = {s.name: metrics.overlaps(s.found.items, searches[0].found.items) for s in searches[1:]}
    figures = {
        **{f"{s.name}_precision": float(precisions[s.name].mean()) for s in searches if precisions},
        **{f"{s.name}_bytes": s.stored for s in searches},
        **{f"{s.name}_tied": float(s.found.tied.mean()) for s in searches},
        **{f"{s.name}_overlap": float(overlaps[s.name].mean()) for s in searches[1:]},
        **{f"{s.name}_seconds_per_1000_queries": s.seconds for s in searches},
    }
    findings, tables = [], [costs(searches, overlaps)]
    if precisions:
        findings = compare(searches, precisions, k)
        tables = [
            Table(
                caption=f"Share of the {k} nearest of the query’s class, with 95 % bootstrap intervals over queries",
                columns=("Compared by", f"Precision at {k}", "Interval", "Against pixels, in points"),
                rows=tuple(_precision_row(s, precisions) for s in searches),
            ),
            *by_class(data, queries, searches, precisions),
            *tables,
        ]
    pixels, real, binary = searches
    findings += [
        f"Of the {k} nearest by {pixels.words}, {_percent(overlaps['real'].mean())} are among those by {real.words}, "
        f"and {_percent(overlaps['binary'].mean())} by {binary.words}.",
        f"An item takes {binary.stored:,.0f} bytes as bits, {real.stored:,.0f} as real numbers and "
        f"{pixels.stored:,.0f} raw.",
        f"By {binary.words}, {_percent(binary.found.tied.mean())} of the queries have a draw at place {k}, where the "
        f"earlier item of the training split is taken; by {pixels.words}, {_percent(pixels.found.tied.mean())}.",
    ]
    asked = (
        "Do codes of autoencoders, which saw no classes, find more items of the query’s class than distances between "
        "the raw values do?"
        if precisions
        else "These data have no classes, so nothing says which neighbours are right: what is measured is how many of "
        "the nearest by codes are among the nearest by raw values."
    )
    wrong = "" if data.labels("test") is None else "; framed: of another class than the query"
    return Study(
        kind="retrieval",
        name=name,
        dataset=data.schema.name,
        title="Similar-image search",
        question=f"Which of {data.count('train'):,} training items are nearest to each of {len(queries):,} test ones? "
        f"{asked} Three exact searches: {'; '.join(s.title for s in searches)}. "
        f"{' and '.join(digests)} differ in: {differing}. The intervals are over queries, of "
        "these models; another training run would give other codes.",
        findings=tuple(findings),
        tables=tuple(tables),
        pictures=(
            Picture(
                file="neighbours.png",
                caption=f"Queries (left) and their nearest training items by each distance, nearest first{wrong}.",
            ),
        ),
        figures=figures,
        made_from=digests,
    )


def precisions_of(data: PreparedDataset, queries: Array, searches: list[Search]) -> dict[str, Array]:
    """Return each query's precision by the search's name; nothing without classes."""
    train, test = data.labels("train"), data.labels("test")
    if train is None or test is None:
        return {}
    return {s.name: metrics.precisions(train[s.found.items], test[queries]) for s in searches}


def compare(searches: list[Search], precisions: dict[str, Array], k: int) -> list[str]:
    """Say which search finds more of the query's class, as far as the intervals of paired differences allow."""
    pixels, real, binary = searches
    shown = {s.name: _with_interval(precisions[s.name]) for s in searches}
    findings = [
        f"Of the {k} nearest by {binary.words}, {shown['binary']} are of the query’s class; by {real.words}, "
        f"{shown['real']}; by {pixels.words}, {shown['pixels']}."
    ]
    for first, second in ((binary, pixels), (real, pixels), (binary, real)):
        difference = 100 * (precisions[first.name] - precisions[second.name])
        low, high = metrics.bootstrap_interval(difference)
        told = f"{difference.mean():+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}"
        if low <= 0 <= high:
            findings.append(f"These queries cannot tell {first.words} from {second.words}: {told}.")
        else:
            word = "more" if low > 0 else "fewer"
            findings.append(f"{first.words} find {word} of the query’s class than {second.words}: {told}.")
    return findings


def by_class(
    data: PreparedDataset, queries: Array, searches: list[Search], precisions: dict[str, Array]
) -> list[Table]:
    """Return the table of each class's mean precision; none where there are more classes than a reader takes in."""
    labels, classes = data.labels("test"), data.schema.classes
    if labels is None or classes is None or len(classes) > LISTED:
        return []
    rows = []
    for index, word in enumerate(classes):
        mine = labels[queries] == index
        if mine.any():
            rows.append((word, f"{mine.sum():,}", *(_with_interval(precisions[s.name][mine]) for s in searches)))
    columns = ("Class", "Queries", *(s.title for s in searches))
    return [Table(caption="The same by the query’s class", columns=columns, rows=tuple(rows))]


def costs(searches: list[Search], overlaps: dict[str, Array]) -> Table:
    """Return the table of what a search costs and how it differs from that by pixels."""
    return Table(
        caption="What a search costs. Time is the median of "
        f"{TIMED_RUNS} runs on this machine, for information; draws are at the last place that is taken.",
        columns=(
            "Compared by",
            "Bytes an item",
            "Seconds for 1,000 queries",
            "Queries with a draw",
            "Found by pixels too",
        ),
        rows=tuple(
            (
                s.title,
                f"{s.stored:,.0f}",
                f"{s.seconds:.2f}",
                _percent(s.found.tied.mean()),
                _percent(overlaps[s.name].mean()) if s.name in overlaps else "–",
            )
            for s in searches
        ),
    )


def _precision_row(search: Search, precisions: dict[str, Array]) -> tuple[str, ...]:
    mine = precisions[search.name]
    difference = 100 * (mine - precisions["pixels"])
    low, high = metrics.bootstrap_interval(difference)
    against = "–" if search.name == "pixels" else f"{difference.mean():+.2f} ({low:+.2f} to {high:+.2f})"
    return (
        search.title,
        _percent(mine.mean()),
        "{}–{}".format(*map(_percent, metrics.bootstrap_interval(mine))),
        against,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _with_interval(shares: Array) -> str:
    return "{:.1f} % ({:.1f}–{:.1f})".format(*(100 * x for x in (shares.mean(), *metrics.bootstrap_interval(shares))))


def draw_neighbours(data: PreparedDataset, queries: Array, searches: list[Search]) -> Figure:
    """Draw a few queries, one of each class first, and under each search their nearest training items."""
    labels, train_labels = data.labels("test"), data.labels("train")
    mine = None if labels is None else labels[queries]
    rows = one_of_each(mine, len(queries))[:SHOWN]
    columns = min(SHOWN, searches[0].found.items.shape[1])
    width = 1.4 + len(searches) * (columns + 0.5)
    figure = Figure(figsize=(0.4 * width, 0.4 * (len(rows) + 1)), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(0, width), ylim=(len(rows), -0.7), aspect="equal")
    axes.axis("off")
    axes.annotate("query", (0.5, -0.1), ha="center", va="bottom", color=INK, fontsize=9)
    item, test, train = data.schema.item, data.array("test"), data.array("train")
    for row, query in enumerate(rows):
        _draw_item(axes, item, test[queries[query]], 0, row)
    for place, search in enumerate(searches):
        left = 1.5 + place * (columns + 0.5)
        axes.annotate(search.title, (left, -0.1), va="bottom", color=INK, fontsize=9)
        for row, query in enumerate(rows):
            for column, found in enumerate(search.found.items[query, :columns]):
                _draw_item(axes, item, train[found], left + column, row)
                if mine is not None and train_labels is not None and train_labels[found] != mine[query]:
                    frame = Rectangle((left + column + 0.04, row + 0.04), 0.92, 0.92, ec=ACCENT, lw=2, fill=False)
                    axes.add_patch(frame)
    return figure


def _draw_item(axes: Axes, item: ItemSpec, raw: Array, left: float, top: int) -> None:
    """Draw one item into the unit square at (left, top): an image as such, other items as a band of values."""
    values = item.scaled(raw[None])[0]
    if item.kind != "image":
        values = values.reshape(1, -1)
    elif item.shape[2] == 1:
        values = values[..., 0]
    height, width = values.shape[:2] if item.kind == "image" else (1, 1)
    tall, wide = 0.94 * height / max(height, width), 0.94 * width / max(height, width)
    x, y = left + (1 - wide) / 2, top + (1 - tall) / 2
    low, high = (0.0, 1.0) if item.kind == "image" else (float(values.min()), float(values.max()))
    axes.imshow(values, cmap="gray", vmin=low, vmax=high, extent=(x, x + wide, y + tall, y), aspect="equal")


if __name__ == "__main__":
    stage(main)
