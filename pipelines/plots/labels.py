"""Names beside points, where they cover nothing; and points moved aside, so that all can be seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.transforms import Bbox, IdentityTransform

from pipelines.plots.style import INK

Array = np.ndarray[Any, np.dtype[Any]]

SIZE = 9  # of the letters, in points
MARKER = 5.5  # half of a marker, in points
CLEAR, ASIDE = 9.0, 10.0  # points between two markers that can both be seen; by which one moves aside
ROUNDS = 300  # of the names' movements: a number of them, not a time, gives the same picture on every machine
FORCES = ((0.2, 0.4), (0.1, 0.2), (0.4, 0.8), (0.3, 0.5), (0.15, 0.6))  # with which names repel each other, by attempt


def side_by_side(anchors: Array) -> Array:
    """Return by how much each of n points at `anchors` (n, 2) moves aside, so that no marker hides another; in points.

    The highest point stays where it is.
    """
    moved = np.zeros(len(anchors))
    placed: list[int] = []
    for number in np.argsort(-anchors[:, 1], kind="stable").tolist():
        there = anchors[placed] + np.stack([moved[placed], np.zeros(len(placed))], axis=1)
        for step in (0, 1, -1, 2, -2, 3, -3):
            if not (np.abs(there - anchors[number] - [ASIDE * step, 0]) < CLEAR).all(1).any():
                moved[number] = ASIDE * step
                break
        placed.append(number)
    return moved


def place_names(axes: Any, names: Sequence[str], anchors: Array) -> None:
    """Write each name near its marker, with a line to it where it is far away.

    Of several attempts, the first that covers nothing is kept, or the one that covers least. The limits of the axes
    must be final.

    Args:
        axes: the axes that the markers are on.
        names: one for each marker.
        anchors: the markers' centres (n, 2), in points from the figure's corner.
    """
    from adjustText import adjust_text

    pixels = axes.figure.dpi / 72
    markers = [Bbox([(centre - MARKER) * pixels, (centre + MARKER) * pixels]) for centre in anchors]
    kept: list[Any] = []
    least = np.inf
    for force in FORCES:
        texts = [
            axes.text(x, y, name, transform=IdentityTransform(), fontsize=SIZE, color=INK, ha="center", va="center")
            for name, (x, y) in zip(names, anchors * pixels, strict=True)
        ]
        _, lines = adjust_text(
            texts,
            objects=markers,
            ax=axes,
            iter_lim=ROUNDS,
            max_move=None,
            force_text=force,
            expand=(1.1, 1.3),
            arrowprops={"arrowstyle": "-", "color": INK, "alpha": 0.45, "lw": 0.7},
        )
        covered = count_covered([text.get_window_extent() for text in texts], markers, axes.bbox)
        dropped = [*texts, *lines]
        if covered < least:
            kept, dropped, least = dropped, kept, covered
        for artist in dropped:
            artist.remove()
        if not covered:
            return


def count_covered(names: Sequence[Bbox], markers: Sequence[Bbox], frame: Bbox) -> int:
    """Return how often a box of a name overlaps that of another name or of a marker, or leaves the frame."""
    boxes = [*names, *markers]
    outside = sum(not frame.padded(1).contains(*corner) for name in names for corner in (name.min, name.max))
    return sum(name.count_overlaps(boxes) - 1 for name in names) + outside
