"""The rate-distortion-use picture: what a code costs against what it loses, and against what it is good for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from pipelines.compare.experiments import FAMILIES, Family
from pipelines.plots.labels import place_names, side_by_side
from pipelines.plots.style import ALARM, INK, MARKERS, MUTED, PALETTE, save

if TYPE_CHECKING:
    from pipelines.compare.experiments import Entry

FRONT, COLLAPSED = "front: nothing as small is better", "collapsed"


@dataclass(frozen=True)
class Panel:
    """A figure of the leaderboard against bits.

    A share of items that are told right is drawn as the share that is not, on an axis turned round: differences
    near 100 % are what matters, and both panels' fronts are then of what is small.
    """

    key: str
    label: str
    share: bool = False

    def interval(self, entry: Entry) -> tuple[float, float] | None:
        """Return the figure's interval as it is drawn."""
        ends = entry.interval(self.key)
        return (1 - ends[1], 1 - ends[0]) if ends and self.share else ends

    def point(self, entry: Entry) -> tuple[float, float]:
        """Return an experiment's place: bits per item, and the figure as it is drawn."""
        figure = entry.figure(self.key) or 0.0
        return entry.metrics.bits_per_item, 1 - figure if self.share else figure


DISTORTION = Panel("squared_error", "squared error per item\n(lower is better)")
USES = (
    Panel("knn_accuracy", "class told right by nearest neighbours\n(higher is better)", share=True),
    Panel("probe_accuracy", "class told right by a linear probe\n(higher is better)", share=True),
)


def panels_of(entries: Iterable[Entry]) -> list[Panel]:
    """Return what can be drawn of experiments: their distortion, and the first use that was measured."""
    measured = {panel.key for panel in (DISTORTION, *USES) for e in entries if e.figure(panel.key) is not None}
    uses = [panel for panel in USES if panel.key in measured]
    return [panel for panel in (DISTORTION, *uses[:1]) if panel.key in measured]


def draw_rate_distortion(entries: Sequence[Entry], path: Path) -> None:
    """Draw one dataset's figures against bits per item, a panel below the other, with intervals, names and fronts."""
    panels = panels_of(entries)
    groups = [[entry for entry in entries if entry.figure(panel.key) is not None] for panel in panels]
    figure = Figure(figsize=(9.4, 0.5 + 4.4 * len(panels)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    drawn = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    bits = [entry.metrics.bits_per_item for group in groups for entry in group]
    scale(drawn[0].xaxis, drawn[0].set_xscale, drawn[0].set_xlim, bits)
    drawn[-1].set_xlabel("bits per item", color=INK)
    for axes, panel, group in zip(drawn, panels, groups, strict=True):
        frame(axes, panel, group)
    families = {entry.family for group in groups for entry in group}
    legend = {str(family): Line2D([], [], ls="none", **look(family)) for family in FAMILIES if family in families}
    if any(entry.collapsed for group in groups for entry in group):
        legend[COLLAPSED] = Line2D([], [], ls="none", marker="o", markersize=8, mfc="none", mec=ALARM)
    legend[FRONT] = Line2D([], [], color=MUTED, lw=1.4)
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=6, frameon=False)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what follows is placed on the final axes and must not move them
    for axes, panel, group in zip(drawn, panels, groups, strict=True):
        draw_points(axes, panel, group)
    save(figure, path)


def frame(axes: Any, panel: Panel, entries: Sequence[Entry]) -> None:
    """Draw a panel's axes, with room for every point and its interval."""
    bounds = [bound for entry in entries for bound in (panel.point(entry)[1], *(panel.interval(entry) or ()))]
    scale(axes.yaxis, axes.set_yscale, axes.set_ylim, bounds, share=panel.share)
    if panel.share:
        axes.invert_yaxis()
    axes.set_ylabel(panel.label, color=INK)
    axes.grid(color=MUTED, alpha=0.3, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def look(family: Family) -> dict[str, Any]:
    """Return how a family's markers look."""
    style = FAMILIES.index(family)
    return {"color": PALETTE[style], "marker": MARKERS[style], "markersize": 8, "markeredgecolor": "white"}


def draw_points(axes: Any, panel: Panel, entries: Sequence[Entry]) -> None:
    """Draw the points of a panel whose limits are final: side by side where they would hide each other, with names."""
    points = [panel.point(entry) for entry in entries]
    sound = [point for point, entry in zip(points, entries, strict=True) if not entry.collapsed]
    stairs = np.reshape(front_outline(axes, sound), (-1, 2))
    axes.plot(*stairs.T, color=MUTED, lw=1.4, zorder=1)
    inch = axes.figure.dpi_scale_trans
    anchors = (axes.transData + inch.inverted()).transform(points) * 72
    moved = side_by_side(anchors)
    corners = (axes.transData + inch.inverted()).transform(stairs) * 72
    lines = [[*np.minimum(*ends), *np.maximum(*ends)] for ends in itertools.pairwise(corners)]
    for entry, (bits, figure), aside, anchor in zip(entries, points, moved, anchors, strict=True):
        shifted = axes.transData + ScaledTranslation(aside / 72, 0, inch)
        ends = panel.interval(entry) or (figure, figure)
        style = look(entry.family) | ({"markerfacecolor": "none", "markeredgecolor": ALARM} if entry.collapsed else {})
        axes.plot([bits, bits], ends, color=style["color"], lw=1.6, zorder=2, transform=shifted)
        axes.plot([bits], [figure], ls="none", zorder=3, transform=shifted, **style)
        heights = sorted((shifted + inch.inverted()).transform([(bits, end) for end in ends])[:, 1] * 72)
        lines.append([anchor[0] + aside - 1, heights[0], anchor[0] + aside + 1, heights[1]])
    names = [entry.name.removeprefix(f"{entry.dataset}-") for entry in entries]
    place_names(axes, names, anchors + np.stack([moved, 0 * moved], axis=1), np.array(lines))


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (bits, loss) that no other beats in one figure without losing in the other, by rising bits."""
    front: list[tuple[float, float]] = []
    for bits, loss in sorted(points):
        if not front or loss < front[-1][1]:
            front.append((bits, loss))
    return front


def front_outline(axes: Any, points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of the stairs beyond which no experiment lies, from edge to edge of the axes."""
    front = pareto_front(points)
    if not front:
        return []
    corners = [(front[0][0], max(axes.get_ylim())), front[0]]
    for bits, loss in front[1:]:
        corners += [(bits, corners[-1][1]), (bits, loss)]
    return [*corners, (axes.get_xlim()[1], front[-1][1])]


def scale(axis: Any, set_scale: Any, set_limits: Any, values: Sequence[float], share: bool = False) -> None:
    """Make an axis logarithmic, with plain numbers and room around the values; linear where one of them is 0.

    Of a `share` that is wrong, the numbers tell the share that is right.
    """
    low, high = min(values), max(values)
    if share:
        axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{100 * (1 - value):.6g} %"))
    if low <= 0:
        set_limits(-0.1 * (high or 1), 1.2 * (high or 1))
        return
    set_scale("log")
    margin = max((high / low) ** 0.12, 1.15)
    low, high = low / margin, min(high * margin, 1.0) if share else high * margin
    set_limits(low, high)
    ticks: list[float] = []
    coarse = () if share else ((1,), (1, 3))
    for digits in (*coarse, (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), tuple(x / 10 for x in range(10, 100, 2))):
        ticks = [d * 10.0**power for power in range(-12, 15) for d in digits if low <= d * 10.0**power <= high]
        if len(ticks) >= 4:
            break
    axis.set_major_locator(mpl.ticker.FixedLocator(ticks))
    if share:
        axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{100 * (1 - value):.6g} %"))
    else:
        axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(mpl.ticker.NullLocator())
