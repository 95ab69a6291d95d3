"""The rate-distortion picture: what a code costs against what it loses."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from pipelines.style import INK, MARKERS, MUTED, PALETTE, save

if TYPE_CHECKING:
    from pipelines.entries import Entry

FRONT = "front: no other has less error for as few bits"
NAME_RINGS = (7, 16, 26, 38, 52, 68)  # points from a marker at which its name may stand
NAME_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


def draw_rate_distortion(entries: Sequence[Entry], path: Path) -> None:
    """Draw bits per item against squared error, a panel a dataset, with intervals, names and the Pareto front."""
    panels = [list(group) for _, group in itertools.groupby(entries, key=lambda entry: entry.dataset)]
    columns, lines = min(2, len(panels)), -(-len(panels) // 2)
    figure = Figure(figsize=(7.6 if columns == 1 else 11, 4.9 * lines), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    families = sorted({entry.family for entry in entries})
    drawn = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes, group in zip(drawn, panels, strict=False):
        draw_panel(axes, group, families)
    for axes in drawn[len(panels) :]:
        axes.remove()
    legends = [zip(*reversed(axes.get_legend_handles_labels()), strict=True) for axes in figure.axes]
    handles = dict(itertools.chain(*legends))
    shown = [*families, FRONT]
    figure.legend([handles[label] for label in shown], shown, loc="outside lower center", ncols=4, frameon=False)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # names are placed on the final axes and must not move them
    for axes, group in zip(figure.axes, panels, strict=True):
        place_names(axes, {entry.name.removeprefix(f"{entry.dataset}-"): point(entry) for entry in group})
    save(figure, path)


def draw_panel(axes: Any, entries: Sequence[Entry], families: Sequence[str]) -> None:
    """Draw one dataset's points and their front."""
    for entry in entries:
        bits, error = point(entry)
        style = families.index(entry.family) % len(PALETTE)
        look = {"color": PALETTE[style], "marker": MARKERS[style], "markersize": 8, "markeredgecolor": "white"}
        axes.plot([bits, bits], entry.interval("squared_error") or [error, error], color=PALETTE[style], lw=1.6)
        axes.plot([bits], [error], ls="none", zorder=3, label=entry.family, **look)
    points = [point(entry) for entry in entries]
    bounds = [bound for entry in entries for bound in (*(entry.interval("squared_error") or ()), point(entry)[1])]
    scale(axes.xaxis, axes.set_xscale, axes.set_xlim, [bits for bits, _ in points])
    scale(axes.yaxis, axes.set_yscale, axes.set_ylim, bounds)
    axes.plot(*zip(*front_outline(axes, points), strict=True), color=MUTED, lw=1.4, zorder=1, label=FRONT)
    axes.set(xlabel="bits per item", ylabel="squared error per item")
    axes.set_title(entries[0].dataset, loc="left", color=INK, fontsize=11)
    axes.grid(color=MUTED, alpha=0.3, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def point(entry: Entry) -> tuple[float, float]:
    """Return an experiment's place in the picture: bits per item and squared error."""
    return entry.metrics.bits_per_item, entry.figure("squared_error") or 0.0


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (bits, error) that no other beats in one figure without losing in the other, by rising bits."""
    front: list[tuple[float, float]] = []
    for bits, error in sorted(points):
        if not front or error < front[-1][1]:
            front.append((bits, error))
    return front


def front_outline(axes: Any, points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of the stairs below and left of which no experiment lies, from edge to edge of the axes."""
    front = pareto_front(points)
    corners = [(front[0][0], axes.get_ylim()[1]), front[0]]
    for bits, error in front[1:]:
        corners += [(bits, corners[-1][1]), (bits, error)]
    return [*corners, (axes.get_xlim()[1], front[-1][1])]


def scale(axis: Any, set_scale: Any, set_limits: Any, values: Sequence[float]) -> None:
    """Make an axis logarithmic, with plain numbers and room around the values; linear where one of them is 0."""
    low, high = min(values), max(values)
    if low <= 0:
        set_limits(-0.1 * (high or 1), 1.2 * (high or 1))
        return
    set_scale("log")
    margin = max((high / low) ** 0.12, 1.15)
    low, high = low / margin, high * margin
    set_limits(low, high)
    ticks: list[float] = []
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), tuple(x / 10 for x in range(10, 100, 2))):
        ticks = [d * 10.0**power for power in range(-12, 15) for d in digits if low <= d * 10.0**power <= high]
        if len(ticks) >= 4:
            break
    axis.set_major_locator(mpl.ticker.FixedLocator(ticks))
    axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(mpl.ticker.NullLocator())


def place_names(axes: Any, points: Mapping[str, tuple[float, float]]) -> None:
    """Write each name beside its point (bits, error), where it covers no marker, no other name and not the front."""
    pixels = axes.figure.dpi / 72
    anchors = dict(zip(points, axes.transData.transform(list(points.values())), strict=True))
    taken = [Bbox([anchor, anchor]).padded(6 * pixels) for anchor in anchors.values()]
    stairs = axes.transData.transform(front_outline(axes, points.values()))
    taken += [Bbox([np.minimum(*ends), np.maximum(*ends)]).padded(pixels) for ends in itertools.pairwise(stairs)]
    for name, anchor in anchors.items():
        note = axes.annotate(
            name, points[name], xytext=(0, 0), textcoords="offset points", fontsize=9, color=INK, ha="center",
            va="center", zorder=4, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.5},
        )  # fmt: skip
        size = note.get_window_extent()
        half = np.array([size.width, size.height]) / 2
        places = []
        for number, (ring, (right, up)) in enumerate(itertools.product(NAME_RINGS, NAME_DIRECTIONS)):
            shift = np.array([right, up]) * (ring * pixels + half)
            box = Bbox([anchor + shift - half, anchor + shift + half])
            covered = sum(intersection_area(box, other) for other in taken)
            outside = box.width * box.height - intersection_area(box, axes.bbox)
            places.append((round(covered + outside, 3), number, tuple(shift / pixels), box))
        _, order, offset, box = min(places, key=lambda place: place[:2])
        note.set_position(offset)
        if order >= len(NAME_DIRECTIONS):  # a name beside its marker needs no line to it
            line = axes.transData.inverted().transform([anchor, np.clip(anchor, box.min, box.max)])
            axes.plot(*line.T, color=MUTED, lw=0.8, zorder=1)
        taken.append(box)


def intersection_area(one: Bbox, other: Bbox) -> float:
    """Return how many square pixels two boxes share."""
    shared = Bbox.intersection(one, other)
    return 0.0 if shared is None else float(shared.width * shared.height)
