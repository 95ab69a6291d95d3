"""Pictures of the study of generation: decoded grids, where codes lie, samples above their nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from pipelines.plots.style import ACCENT, INK, MUTED
from pipelines.studies.generation.samples import SIDE, Comparison, Plane

Array = np.ndarray[Any, np.dtype[Any]]

COLUMNS = 12
SCATTERED = 3000  # codes that do not cover each other yet


def draw_grid(plane: Plane) -> Figure:
    """Draw a decoded grid as one picture; items from holes are framed."""
    height, width = plane.items.shape[1:3]
    figure = Figure(figsize=(7.2, 7.2 * height / width), layout="constrained")
    axes = figure.add_subplot()
    tiles = plane.items.reshape(SIDE, SIDE, height, width, -1).transpose(0, 2, 1, 3, 4)
    show(axes, tiles.reshape(SIDE * height, SIDE * width, -1))
    for row, column in zip(*divmod(np.flatnonzero(plane.holes), SIDE), strict=True):
        corner = (column * width, row * height)
        axes.add_patch(Rectangle(corner, width - 1, height - 1, fill=False, ec=ACCENT, lw=0.7))
    return figure


def draw_planes(planes: Sequence[Plane]) -> Figure:
    """Draw where training codes lie and where the grids ask, holes in the accent's colour."""
    figure = Figure(figsize=(4.6 * len(planes), 4.4), layout="constrained")
    for axes, plane in zip(figure.subplots(1, len(planes), squeeze=False)[0], planes, strict=True):
        codes = plane.codes[:SCATTERED]
        axes.scatter(codes[:, 0], codes[:, 1], s=3, color=MUTED, lw=0, label="training codes")
        for asked, color, marker, label in ((~plane.holes, INK, "o", "grid"), (plane.holes, ACCENT, "x", "grid, hole")):
            points = plane.grid[asked]
            axes.scatter(points[:, 0], points[:, 1], s=9, color=color, marker=marker, lw=0.9, label=label)
        low, high = plane.grid.min(0), plane.grid.max(0)
        margin = 0.15 * (high - low)
        axes.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
        axes.set(xlabel="first number of the code", ylabel="second number of the code")
        axes.set_title(plane.name, color=INK, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    legend = axes.get_legend_handles_labels()
    figure.legend(*legend, frameon=False, markerscale=2, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def draw_samples(compared: Sequence[Comparison], train: Array) -> Figure:
    """Draw samples, below each its nearest training item (n, *item.shape) and how far that is."""
    figure = Figure(
        figsize=(COLUMNS * 0.8 + 1.6, 2.15 * len(compared)),
        layout=ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0),
    )
    rows = figure.subplots(2 * len(compared), COLUMNS, squeeze=False)
    for one, made, nearest in zip(compared, rows[::2], rows[1::2], strict=True):
        for cell in (*made, *nearest):
            _bare(cell)
        for index in range(min(COLUMNS, len(one.neighbours))):
            show(made[index], one.samples.items[index])
            show(nearest[index], train[one.neighbours[index]] / 255)
            nearest[index].set_xlabel(f"{one.distances[index]:.1f}", fontsize=7, color=INK, labelpad=1)
        for cell, word in (
            (made[0], f"{one.samples.decoder}\n{one.samples.codes}"),
            (nearest[0], "nearest\ntraining item"),
        ):
            cell.set_ylabel(word, rotation=0, ha="right", va="center", fontsize=7, color=INK)
    return figure


def show(axes: Axes, image: Array) -> None:
    """Show an image (height, width, channels) of 0-1."""
    _bare(axes)
    axes.imshow(image[..., 0] if image.shape[2] == 1 else image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
