"""The rate-distortion picture: what a code costs against what it loses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from pipelines.figures import INK, MUTED, save

Row = dict[str, Any]


def pareto(rows: list[Row]) -> list[Row]:
    """Return the rows that no other beats in both bits and error, cheapest first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda r: (r["bits_per_item"], r["squared_error"])):
        if not front or row["squared_error"] < front[-1]["squared_error"]:
            front.append(row)
    return front


def draw_rate_distortion(rows: list[Row], path: Path) -> None:
    """Draw bits per item against squared error, one panel a dataset, with intervals and the Pareto front.

    Args:
        rows: of the leaderboard, with a squared error.
        path: the PNG.
    """
    datasets = sorted({row["dataset"] for row in rows}) or ["nothing that can be rebuilt"]
    figure = Figure(figsize=(6.4 * len(datasets), 4.2), layout="constrained")
    for axes, dataset in zip(figure.subplots(1, len(datasets), squeeze=False)[0], datasets, strict=True):
        mine = [row for row in rows if row["dataset"] == dataset]
        front = pareto(mine)
        bits, errors = [r["bits_per_item"] for r in front], [r["squared_error"] for r in front]
        axes.step(bits, errors, where="post", color=MUTED, lw=1.2, zorder=1)
        families = sorted({family(row) for row in mine})
        for row in mine:
            color = mpl.colormaps["tab10"](families.index(family(row)) % 10)
            below = row["squared_error"] - row["squared_error_low"]
            above = row["squared_error_high"] - row["squared_error"]
            at = (row["bits_per_item"], row["squared_error"])
            axes.errorbar(*at, yerr=[[below], [above]], fmt="o", ms=7, color=color, capsize=3, zorder=3)
        axes.set(xscale="log", yscale="log", title=dataset, xlabel="bits per item", ylabel="squared error per item")
        axes.margins(x=0.35, y=0.25)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(mpl.ticker.LogFormatter(labelOnlyBase=False, minor_thresholds=(1.5, 0.6)))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, which="both", lw=0.5)
        _label(axes, mine)
    save(figure, path)


def family(row: Row) -> str:
    """Return what a point's colour stands for: the bottleneck, or the model where it has none."""
    return str(row["bottleneck"] or row["model"])


def _label(axes: Any, rows: list[Row]) -> None:
    """Name the points, pushing names apart where points of one price lie close."""
    axes.figure.canvas.draw()
    taken: list[float] = []
    for row in sorted(rows, key=lambda r: (r["bits_per_item"], r["squared_error"])):
        _, y = axes.transData.transform((row["bits_per_item"], row["squared_error"]))
        height = y
        while any(abs(height - other) < 16 for other in taken):
            height += 4
        taken.append(height)
        axes.annotate(
            row["experiment"],
            (row["bits_per_item"], row["squared_error"]),
            xytext=(9, (height - y) * 72 / axes.figure.dpi),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
        )
