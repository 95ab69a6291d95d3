"""The rate-distortion picture: bits per item against what a code loses, and against what it can be used for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from pipelines.compare.experiments import FAMILIES, ExperimentResult, Family
from pipelines.metrics.table import METRIC, Metric
from pipelines.plots.labels import place_names, side_by_side
from pipelines.plots.style import ALARM, INK, MARKERS, MUTED, PALETTE, save

FRONT, COLLAPSED = "Pareto front", "collapsed"
USES = ("knn_accuracy", "probe_accuracy", "precision_at_10")  # the first one that is there is drawn


@dataclass(frozen=True)
class Panel:
    """One metric against bits.

    A percentage of which more is better is drawn as what is missing to 100 %, on an axis turned round: differences
    near 100 % matter most, and the front is of small values in both panels.
    """

    metric: Metric

    @property
    def share(self) -> bool:
        """Whether it is such a percentage."""
        return self.metric.format.endswith("%") and self.metric.better == "higher"

    @property
    def label(self) -> str:
        """The label of its axis."""
        return f"{self.metric.title}, {self.metric.unit}\n({self.metric.better} is better)"

    def interval(self, result: ExperimentResult) -> tuple[float, float] | None:
        """Return the metric's interval as it is drawn."""
        ends = result.interval(self.metric.key)
        return (1 - ends[1], 1 - ends[0]) if ends and self.share else ends

    def point(self, result: ExperimentResult) -> tuple[float, float]:
        """Return an experiment's place: bits per item, and the metric as it is drawn."""
        value = result.value(self.metric.key) or 0.0
        return result.bits, 1 - value if self.share else value


def panels_of(results: Iterable[ExperimentResult]) -> list[Panel]:
    """Return what can be drawn of experiments: their squared error, and the first use that any of them has."""
    known = {key for key in ("squared_error", *USES) for result in results if result.value(key) is not None}
    uses = [key for key in USES if key in known]
    return [Panel(METRIC[key]) for key in ("squared_error", *uses[:1]) if key in known]


def draw_rate_distortion(results: Sequence[ExperimentResult], path: Path) -> None:
    """Draw one dataset's metrics against bits per item, a panel below the other, with intervals, names and fronts."""
    panels = panels_of(results)
    groups = [[result for result in results if result.value(panel.metric.key) is not None] for panel in panels]
    figure = Figure(figsize=(10.8, 0.5 + 4.6 * len(panels)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    drawn = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    bits = [result.bits for group in groups for result in group]
    scale(drawn[0].xaxis, drawn[0].set_xscale, drawn[0].set_xlim, bits)
    drawn[-1].set_xlabel("Bits per item", color=INK)
    for axes, panel, group in zip(drawn, panels, groups, strict=True):
        frame(axes, panel, group)
    families = {result.family for group in groups for result in group}
    legend = {str(family): Line2D([], [], ls="none", **look(family)) for family in FAMILIES if family in families}
    if any(result.collapsed for group in groups for result in group):
        legend[COLLAPSED] = Line2D([], [], ls="none", marker="o", markersize=8, mfc="none", mec=ALARM)
    legend[FRONT] = Line2D([], [], color=MUTED, lw=1.4)
    figure.legend(
        legend.values(), legend.keys(), loc="outside lower center", ncols=len(legend), frameon=False, columnspacing=1.2
    )
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # names are placed on the final axes
    for axes, panel, group in zip(drawn, panels, groups, strict=True):
        draw_points(axes, panel, group)
    save(figure, path)


def frame(axes: Any, panel: Panel, results: Sequence[ExperimentResult]) -> None:
    """Draw a panel's axes, with room for every point and its interval."""
    bounds = [end for result in results for end in (panel.point(result)[1], *(panel.interval(result) or ()))]
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


def draw_points(axes: Any, panel: Panel, results: Sequence[ExperimentResult]) -> None:
    """Draw the points of a panel whose limits are final: side by side where they would hide each other, with names."""
    points = [panel.point(result) for result in results]
    sound = [point for point, result in zip(points, results, strict=True) if not result.collapsed]
    axes.plot(*np.reshape(front_outline(axes, sound), (-1, 2)).T, color=MUTED, lw=1.4, zorder=1)
    inch = axes.figure.dpi_scale_trans
    anchors = (axes.transData + inch.inverted()).transform(points) * 72
    moved = side_by_side(anchors)
    for result, (bits, value), aside in zip(results, points, moved, strict=True):
        shifted = axes.transData + ScaledTranslation(aside / 72, 0, inch)
        style = look(result.family)
        axes.plot(
            [bits, bits], panel.interval(result) or (value, value), color=style["color"], lw=1.6, zorder=2,
            transform=shifted,
        )  # fmt: skip
        hollow = {"markerfacecolor": "none", "markeredgecolor": ALARM} if result.collapsed else {}
        axes.plot([bits], [value], ls="none", zorder=3, transform=shifted, **style | hollow)
    place_names(axes, [result.name for result in results], anchors + np.stack([moved, 0 * moved], axis=1))


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (bits, loss) that no other beats in one without losing in the other, by rising bits."""
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

    Of a `share` that is missing to 100 %, the numbers show the share that is there.
    """
    low, high = min(values), max(values)
    text = (lambda value, _: f"{100 * (1 - value):.6g} %") if share else (lambda value, _: f"{value:,.10g}")
    axis.set_major_formatter(mpl.ticker.FuncFormatter(text))
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
    axis.set_major_formatter(mpl.ticker.FuncFormatter(text))  # the scale has set its own
    axis.set_minor_locator(mpl.ticker.NullLocator())
