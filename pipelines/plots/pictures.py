"""Pictures of what a model does: items below their originals, codes in two dimensions, a codebook's use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from items.spec import ItemSpec
from pipelines.plots.style import ACCENT, INK, MUTED, save

Array = np.ndarray[Any, np.dtype[Any]]

COLUMNS = 12
SCATTERED = 3000  # points that do not hide each other yet
HEAVIEST = 9  # words of a text that are written
NEIGHBOURS, TEXTS = 4, 2  # that are shown beside a query; words need more room
BAND = 12  # rows of pixels of an item that is no image


def one_of_each(labels: Array | None, count: int) -> list[int]:
    """Return which items to show: the first of each class, then the first of all, COLUMNS in sum where there are."""
    first = [] if labels is None else [int(np.flatnonzero(labels == c)[0]) for c in np.unique(labels)[:COLUMNS]]
    return (first + [i for i in range(count) if i not in first])[:COLUMNS]


def draw_rebuilt(item: ItemSpec, originals: Array, rebuilt: Array, path: Path) -> None:
    """Draw originals (n, *item.shape) above what was rebuilt; of texts, the heaviest words side by side."""
    save(draw_rows(item, {"original": originals, "rebuilt": rebuilt}), path)


def draw_units(item: ItemSpec, units: Array, rebuilt: Mapping[str, Array], path: Path) -> None:
    """Draw what is rebuilt with each unit of a code at two values, each (units, *item.shape), by the values' names.

    For texts, the words are written that become most likely at each value compared with the other.
    """
    (one, first), (other, second) = rebuilt.items()
    drawn = rebuilt if item.vocabulary is None else {one: first - second, other: second - first}
    save(draw_rows(item, drawn, [f"unit {unit + 1}" for unit in units], "no word"), path)


def neighbours_shown(item: ItemSpec) -> int:
    """Return how many neighbours of an item :func:`draw_neighbours` has room for."""
    return NEIGHBOURS if item.vocabulary is None else TEXTS


def draw_neighbours(item: ItemSpec, queries: Array, found: Array, path: Path) -> None:
    """Draw items (n, *item.shape) and the items near each, (n, neighbours, *item.shape)."""
    near = {("nearest" if place == 0 else f"{place + 1}."): found[:, place] for place in range(found.shape[1])}
    save(draw_rows(item, {"query": queries} | near), path)


def draw_rows(
    item: ItemSpec, rows: Mapping[str, Array], names: Sequence[str] = (), no_words: str = "no known word"
) -> Figure:
    """Draw rows of scaled items (n, *item.shape), a word beside each; of texts, their heaviest words in columns.

    Args:
        item: what they are.
        rows: the items by the word beside them.
        names: of the columns of items, or of the lines of words.
        no_words: what stands for a text without any.
    """
    return _draw_tiles(item, rows, names) if item.vocabulary is None else _draw_words(item, rows, names, no_words)


def _draw_words(item: ItemSpec, rows: Mapping[str, Array], names: Sequence[str], no_words: str) -> Figure:
    """Write the heaviest words of texts (n, words), a line a text and a column a row of `rows`."""
    assert item.vocabulary is not None  # noqa: S101
    count = max(map(len, rows.values()))
    figure = Figure(figsize=(5.6 * len(rows), 0.3 * count + 0.4), layout="constrained")
    axes = figure.add_subplot()
    for column, (title, texts) in enumerate(rows.items()):
        axes.text(column, 0, title, color=MUTED, va="center", fontsize=9)
        for line, weights in enumerate(texts, start=1):
            heaviest = [place for place in np.argsort(-weights)[:HEAVIEST] if weights[place] > 0]
            words = ", ".join(item.vocabulary.words[place] for place in heaviest) or no_words
            axes.text(column, line, words.replace("$", r"\$"), color=INK, va="center", fontsize=8)
    for line, name in enumerate(names, start=1):
        axes.text(-0.02, line, name, color=MUTED, va="center", ha="right", fontsize=8)
    axes.set(xlim=(-0.12 if names else 0, len(rows)), ylim=(count + 0.7, -0.7))
    axes.set_axis_off()
    return figure


def _draw_tiles(item: ItemSpec, rows: Mapping[str, Array], names: Sequence[str]) -> Figure:
    """Draw rows of items below each other: images as such, others as bands."""
    columns = max(len(items) for items in rows.values())
    longest = max(len(word) for word in rows)
    low, high = (0.0, 1.0)
    if item.grid is None:
        low, high = min(float(one.min()) for one in rows.values()), max(float(one.max()) for one in rows.values())
    figure = Figure(figsize=(columns + 0.09 * longest, 1.05 * len(rows) + 0.2), layout="constrained")
    axes = figure.add_subplot()  # one for all items: each of its own takes longer than all else
    tiles = [[_tile(item, values, low, high) for values in items] for items in rows.values()]
    sheet, downs, rights = _sheet(tiles, columns)
    axes.imshow(sheet, cmap="gray", vmin=low, vmax=high, aspect="equal" if item.grid else "auto")
    axes.set_yticks(downs, rows, color=INK)
    axes.set_xticks(rights[: len(names)], names, color=INK, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _tile(item: ItemSpec, values: Array, low: float, high: float) -> Array:
    """Return one item as pixels (height, width) or (height, width, 3)."""
    if item.grid is None:
        return np.repeat(values.reshape(1, -1), BAND, axis=0)
    shown = values.clip(low, high)
    return shown[..., 0] if item.shape[2] == 1 else shown


def draw_item(axes: Axes, item: ItemSpec, raw: Array, left: float, top: int) -> None:
    """Draw one item into the unit square at (left, top): an image as such, other items as a band of values."""
    values = item.scaled(raw[None])[0]
    low, high = (0.0, 1.0) if item.grid else (float(values.min()), float(values.max()))
    height, width = item.grid or (1, 1)
    tall, wide = 0.94 * height / max(height, width), 0.94 * width / max(height, width)
    x, y = left + (1 - wide) / 2, top + (1 - tall) / 2
    pixels, extent = _tile(item, values, low, high), (x, x + wide, y + tall, y)
    axes.imshow(pixels, cmap="gray", vmin=low, vmax=high, extent=extent, aspect="equal")


def _sheet(rows: Sequence[Sequence[Array]], columns: int) -> tuple[Array, list[float], list[float]]:
    """Return tiles side by side with white between them, and the middle of each row and each column, in pixels."""
    height, width, *channels = rows[0][0].shape
    down, right = (size + max(1, size // 12) for size in (height, width))
    white = 1.0 if channels else np.nan  # of grey pixels, what is no number is left out
    sheet = np.full((len(rows) * down - (down - height), columns * right - (right - width), *channels), white)
    for line, tiles in enumerate(rows):
        for place, tile in enumerate(tiles):
            sheet[line * down : line * down + height, place * right : place * right + width] = tile
    downs = [line * down + (height - 1) / 2 for line in range(len(rows))]
    return sheet, downs, [place * right + (width - 1) / 2 for place in range(columns)]


def draw_codes(features: Array, labels: Array | None, classes: Sequence[str] | None, path: Path) -> None:
    """Draw codes (n, dimensions) along their two principal directions, coloured by class."""
    shown = features[:SCATTERED].astype(np.float64)
    shown = shown - shown.mean(0)
    if shown.shape[1] > 2:
        _, vectors = np.linalg.eigh(shown.T @ shown)
        shown = shown @ vectors[:, :-3:-1]
    points = np.zeros((len(shown), 2))
    points[:, : shown.shape[1]] = shown
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    scatter_classes(axes, points, labels, classes)
    if classes is not None and len(classes) <= 20:
        axes.legend(frameon=False, markerscale=3, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set(xlabel="first direction", ylabel="second direction", xticks=[], yticks=[])
    save(figure, path)


def scatter_classes(axes: Any, points: Array, labels: Array | None, classes: Sequence[str] | None) -> None:
    """Draw points (n, 2) on a pair of axes in the colours of their classes; `labels` may be of more items than n."""
    axes.spines[["top", "right"]].set_visible(False)
    if labels is None or classes is None:
        axes.scatter(points[:, 0], points[:, 1], s=5, color=INK, alpha=0.5, lw=0)
        return
    palette = mpl.colormaps["tab10" if len(classes) <= 10 else "turbo"]
    for index, name in enumerate(classes):
        color = palette(index if len(classes) <= 10 else index / (len(classes) - 1))
        mine = points[labels[: len(points)] == index]
        axes.scatter(mine[:, 0], mine[:, 1], s=6, alpha=0.7, lw=0, color=color, label=name)


def draw_codebook(counts: Array, path: Path) -> None:
    """Draw how often the vectors of codebooks (codebooks, vectors) were used, most used first, beside an even use.

    Of several codebooks the mean of their ranked shares is filled, and a line is the most uneven.
    """
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    ranked = 100 * np.sort(counts)[:, ::-1] / counts.sum(1, keepdims=True)
    shares = ranked.mean(0)
    if len(ranked) > 1:
        worst = ranked[np.square(ranked).sum(1).argmax()]
        axes.step(np.arange(1, len(shares) + 1), worst, where="mid", color=INK, lw=1, label="most uneven")
        axes.legend(frameon=False)
    axes.fill_between(np.arange(1, len(shares) + 1), shares, step="mid", color=ACCENT, alpha=0.8, lw=0)
    axes.axhline(100 / len(shares), color=MUTED, ls="--", lw=1)
    axes.annotate("even use", (len(shares), 100 / len(shares)), ha="right", va="bottom", color=INK, fontsize=8)
    axes.set(xlabel="codebook vector, most used first", ylabel="% of the codebook's use", xlim=(1, len(shares)), ylim=0)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)
