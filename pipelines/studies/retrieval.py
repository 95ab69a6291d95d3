"""retrieval: the nearest images by pixels, by real codes and by bits, and how many are of the query's class.

Krizhevsky and Hinton, "Using Very Deep Autoencoders for Content-Based Image Retrieval", ESANN 2011: images found by the
Euclidean distance of codes, or of bits by Hamming distance, against the Euclidean distance of pixels. Queries are items
of the test split, and the training split is searched.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from components.data import PreparedDataset, open_dataset
from components.data.raw import Outline
from components.settings import SettingError
from pipelines.metrics import item_metrics
from pipelines.project import StageError
from pipelines.studies.bundles import evenly_spread, open_bundle
from pipelines.studies.contract import ExperimentName, Picture, Study, StudySettings, Table, write_page
from pipelines.studies.needs import BITS, REAL
from pipelines.studies.plan import StudyPlan
from pipelines.studies.text import difference_text, differing_keys, mean_text
from pipelines.sweep.record import read_record
from pipelines.units.unit import Unit
from serving.bundle import Bundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipelines.metrics.neighbours import Database, Neighbours

Array = np.ndarray[Any, np.dtype[Any]]

SHOWN = 8  # queries in the picture, and neighbours of each
TIMED, TIMED_RUNS = 500, 3  # queries, and how often they are searched for
LISTED = 30  # classes that a table can hold
SHARE, POINTS = "{:.1%}", "{:+.2%}"


class RetrievalSettings(StudySettings):
    """Nearest images by pixels, by real codes and by bits: which finds items of the query's class?

    Attributes:
        real: its codes are real numbers, compared by Euclidean distance. One with the network, noise and training of
            `binary` shows what bits cost; any other mixes that with the effect of the network.
        binary: its codes are bits, compared by Hamming distance.
        neighbours: how many each query is to find in the training split.
        queries: items of the test split that are searched for, evenly spread over it; null takes all.
    """

    kind: Literal["retrieval"] = "retrieval"
    real: Annotated[ExperimentName, REAL]
    binary: Annotated[ExperimentName, BITS]
    neighbours: int = Field(default=10, ge=1)
    queries: int | None = Field(default=None, ge=2)

    def errors(self, data: Outline) -> Iterator[SettingError]:
        """See :class:`StudySettings`."""
        if self.neighbours > data.train:
            yield SettingError("neighbours", self.neighbours, f"must be at most {data.train}, the training items")

    def units(self, plan: StudyPlan) -> Unit:
        """See :class:`StudySettings`."""
        inputs = {
            "data": plan.data,
            "real": plan.bundle(self.real),
            "binary": plan.bundle(self.binary),
            "real_run": plan.run(self.real),
            "binary_run": plan.run(self.binary),
        }
        return plan.page(
            self.kind,
            write,
            inputs,
            seconds=30,
            experiments=self.experiments(),
            neighbours=self.neighbours,
            count=self.queries,
        )


@dataclass(frozen=True)
class Search:
    """One way to search, and what it found.

    Attributes:
        name: of its metrics: pixels, real, binary.
        compared: what is compared, as text.
        distance: how.
        stored: bytes that an item takes.
        found: the queries' neighbours in the training split.
        seconds: the median time that 1,000 queries would take.
    """

    name: str
    compared: str
    distance: str
    stored: float
    found: Neighbours
    seconds: float

    @property
    def title(self) -> str:
        """What is compared, and how: `256 bits, Hamming`."""
        return f"{self.compared}, {self.distance}"


def write(
    out: Path,
    study: dict[str, str],
    experiments: dict[str, str],
    neighbours: int,
    count: int | None,
    data: Path,
    real: Path,
    binary: Path,
    real_run: Path,
    binary_run: Path,
) -> None:
    """Write the page."""
    dataset, numbers, bits = open_dataset(data), open_bundle(real), open_bundle(binary)
    queries = evenly_spread(dataset.count("test"), count)
    searches = search_all(dataset, queries, numbers, bits, neighbours)
    digests = {experiments["real"]: numbers.manifest.digest, experiments["binary"]: bits.manifest.digest}
    differing = differing_keys(*(read_record(run).model for run in (real_run, binary_run)))
    page = describe(study, dataset, queries, searches, digests, differing)
    write_page(out, page, {"neighbours.png": draw_neighbours(dataset, queries, searches)})


def search_all(data: PreparedDataset, queries: Array, real: Bundle, binary: Bundle, k: int) -> list[Search]:
    """Search the training split for items of the test split, at places `queries`, in three ways.

    Raises:
        StageError: an experiment's codes are not what the study compares.
    """
    from pipelines.metrics.neighbours import Database

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
    pixels = f"{item.values:,} {'pixels' if item.grid and item.shape[2] == 1 else 'raw values'}"
    return [
        _search("pixels", pixels, "Euclidean", item.bits / 8, Database.euclidean(raw[0]), raw[1], k),
        _search(
            "real", f"{numbers:,} real numbers", "Euclidean", 4 * numbers, Database.euclidean(codes[0]), codes[1], k
        ),
        _search("binary", f"{bits:,} bits", "Hamming", packed[0].shape[1], Database.hamming(packed[0]), packed[1], k),
    ]


def _search(
    name: str, compared: str, distance: str, stored: float, database: Database, queries: Array, k: int
) -> Search:
    took = []
    for _ in range(TIMED_RUNS):
        began = time.perf_counter()
        database.search(queries[:TIMED], k)
        took.append((time.perf_counter() - began) * 1000 / len(queries[:TIMED]))
    return Search(name, compared, distance, stored, database.search(queries, k), statistics.median(took))


def describe(
    study: dict[str, str],
    data: PreparedDataset,
    queries: Array,
    searches: list[Search],
    digests: dict[str, str],
    differing: str,
) -> Study:
    """Return the page; `differing` names the parts in which the two models differ."""
    k = searches[0].found.items.shape[1]
    precisions = precisions_of(data, queries, searches)
    overlaps = {s.name: item_metrics.overlaps(s.found.items, searches[0].found.items) for s in searches[1:]}
    found = {
        **{f"{name}_precision": float(values.mean()) for name, values in precisions.items()},
        **{f"{s.name}_bytes": s.stored for s in searches},
        **{f"{s.name}_tied": float(s.found.tied.mean()) for s in searches},
        **{f"{name}_overlap": float(values.mean()) for name, values in overlaps.items()},
        **{f"{s.name}_seconds_per_1000_queries": s.seconds for s in searches},
    }
    tables, caption = [costs(searches, overlaps)], "Queries (left) and their nearest training items, nearest first."
    shares, of = overlaps, f"Share of the {k} nearest by {searches[0].compared} that is found"
    if precisions:
        tables = [precision_table(searches, precisions, k), *by_class(data, queries, searches, precisions), *tables]
        caption = caption.removesuffix(".") + "; framed: of another class than the query."
        shares, of = precisions, f"Share of the {k} nearest that is of the query’s class"
    by = ", ".join(f"{s.compared} {shares[s.name].mean():.1%}" for s in searches if s.name in shares)
    return Study(
        **study,
        title="Similar-image search",
        question=f"Which of {data.count('train'):,} training items are nearest to each of {len(queries):,} test items? "
        f"Three exact searches: {'; '.join(s.title for s in searches)}. {' and '.join(digests)} differ in: "
        f"{differing}. The intervals are over queries, of these models; another training run would give other codes.",
        summary=f"{of}: {by}.",
        tables=tuple(tables),
        pictures=(Picture(file="neighbours.png", caption=caption),),
        metrics=found,
        made_from=digests,
    )


def precisions_of(data: PreparedDataset, queries: Array, searches: list[Search]) -> dict[str, Array]:
    """Return each query's precision by the search's name; nothing without classes."""
    train, test = data.labels("train"), data.labels("test")
    if train is None or test is None:
        return {}
    return {s.name: item_metrics.precisions(train[s.found.items], test[queries]) for s in searches}


def precision_table(searches: list[Search], precisions: dict[str, Array], k: int) -> Table:
    """Return the table of precisions, and of their differences over the same queries."""
    return Table(
        caption=f"Share of the {k} nearest training items of the query’s class; autoencoders saw no classes. "
        "95 % bootstrap intervals over queries; differences are of the same queries",
        columns=("Compared by", f"Precision at {k}", "Less that by pixels", "Less that by real numbers"),
        rows=tuple(
            (
                s.title,
                mean_text(precisions[s.name], SHARE),
                *(
                    difference_text(precisions[s.name], precisions[other.name], POINTS) if other in before else "–"
                    for other in searches[:2]
                ),
            )
            for s, before in ((s, searches[:place]) for place, s in enumerate(searches))
        ),
    )


def by_class(
    data: PreparedDataset, queries: Array, searches: list[Search], precisions: dict[str, Array]
) -> list[Table]:
    """Return the table of each class's mean precision; none where there are more classes than a reader takes in."""
    labels, classes = data.labels("test"), data.schema.classes
    if labels is None or classes is None or len(classes) > LISTED:
        return []
    rows = []
    for index, name in enumerate(classes):
        mine = labels[queries] == index
        if mine.any():
            rows.append((name, f"{mine.sum():,}", *(mean_text(precisions[s.name][mine], SHARE) for s in searches)))
    columns = ("Class", "Queries", *(s.title for s in searches))
    return [Table(caption="The same by the query’s class", columns=columns, rows=tuple(rows))]


def costs(searches: list[Search], overlaps: dict[str, Array]) -> Table:
    """Return the table of what a search costs and how it differs from that by pixels."""
    return Table(
        caption="Cost of a search. Time is the median of "
        f"{TIMED_RUNS} runs on this machine, for information. Draws are at the last place that is taken; the earlier "
        "item of the training split is taken then.",
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
                SHARE.format(s.found.tied.mean()),
                mean_text(overlaps[s.name], SHARE) if s.name in overlaps else "–",
            )
            for s in searches
        ),
    )


def draw_neighbours(data: PreparedDataset, queries: Array, searches: list[Search]) -> Figure:
    """Draw a few queries, one of each class first, and under each search their nearest training items."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    from pipelines.plots.pictures import draw_item, one_of_each
    from pipelines.plots.style import ACCENT, INK

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
        draw_item(axes, item, test[queries[query]], 0, row)
    for place, search in enumerate(searches):
        left = 1.5 + place * (columns + 0.5)
        axes.annotate(search.title, (left, -0.1), va="bottom", color=INK, fontsize=9)
        for row, query in enumerate(rows):
            for column, found in enumerate(search.found.items[query, :columns]):
                draw_item(axes, item, train[found], left + column, row)
                if mine is not None and train_labels is not None and train_labels[found] != mine[query]:
                    frame = Rectangle((left + column + 0.04, row + 0.04), 0.92, 0.92, ec=ACCENT, lw=2, fill=False)
                    axes.add_patch(frame)
    return figure
