"""Points in a picture that can all be seen, and their names, written where they cover nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.plots.style import INK

Array = np.ndarray[Any, np.dtype[Any]]

SIZE = 9  # of the letters, in points
MARKER = 5.5  # half of a marker, in points
TOLD, ASIDE = 9.0, 10.0  # points between two markers that can be told apart; by which one moves aside
SIDEWAYS = (3, 14, 28, 46, 70, 100)  # points between a marker and the name beside it
STEPS = 12  # lines up and down that a name may move
ROUNDS = 4  # in which each name may move again, now that the others have a place
COVERED, HIDDEN, CROSSED, STRUCK = 1000.0, 150.0, 60.0, 25.0  # what a place costs, in points of distance


def side_by_side(anchors: Array) -> Array:
    """Return how far (n,) points at `anchors` (n, 2) move aside so that no marker hides another; all in points."""
    moved = np.zeros(len(anchors))
    for number in np.argsort(-anchors[:, 1], kind="stable").tolist():
        placed = [other for other in range(len(anchors)) if anchors[other, 1] > anchors[number, 1]]
        placed += [other for other in range(number) if anchors[other, 1] == anchors[number, 1]]
        for step in (0, 1, -1, 2, -2, 3, -3):
            here = anchors[number] + [ASIDE * step, 0]
            there = anchors[placed] + np.stack([moved[placed], np.zeros(len(placed))], axis=1)
            if not (np.abs(there - here) < TOLD).all(1).any():
                moved[number] = ASIDE * step
                break
    return moved


def place_names(axes: Any, names: Sequence[str], anchors: Array, lines: Array | None = None) -> None:
    """Write each name near its marker, where it covers no marker, no other name, and if it can be no line.

    Every name takes the cheapest of many places beside, above and below its marker: near, with a leader that crosses no
    other and runs behind no name or marker. The limits of the axes must be final.

    Args:
        axes: what is drawn on.
        names: what to write.
        anchors: the markers' centres (n, 2), in points from the figure's corner.
        lines: boxes (m, 4) around straight lines that are better not covered, in points as well.
    """
    pixels = axes.figure.dpi / 72
    written = [axes.annotate(name, (0, 0), xycoords="figure points", fontsize=SIZE, color=INK, ha="center",
                             va="center", zorder=4, annotation_clip=False) for name in names]  # fmt: skip
    extents = [note.get_window_extent() for note in written]
    halves = [np.array([extent.width / 2 + 1, extent.height / 2]) / pixels for extent in extents]
    frame = np.array(axes.bbox.extents) / pixels
    centres = arrange(anchors, halves, frame, np.empty((0, 4)) if lines is None else lines)
    for note, anchor, centre, half in zip(written, anchors, centres, halves, strict=True):
        note.set_position(tuple(centre))
        end = np.clip(anchor, centre - half, centre + half)
        if np.abs(end - anchor).max() > 2 * MARKER:
            line = axes.transData.inverted().transform(np.array([anchor, end]) * pixels)
            axes.plot(*line.T, color=INK, alpha=0.45, lw=0.7, zorder=2)


def arrange(anchors: Array, halves: Sequence[Array], frame: Array, lines: Array) -> Array:
    """Return the names' centres (n, 2) for markers at `anchors` (n, 2), all in points.

    `halves` are half the names' widths and heights, `frame` the axes' left, bottom, right and top, `lines` boxes that
    are better not covered.
    """
    markers = np.hstack([anchors - MARKER, anchors + MARKER])
    centres: dict[int, Array] = {}
    crowded = np.argsort([-np.sum(np.abs(anchors - a).max(1) < 60) for a in anchors], kind="stable")
    for _, number in itertools.product(range(ROUNDS), crowded.tolist()):
        anchor, half = anchors[number], halves[number]
        others = [other for other in centres if other != number]
        names = np.array([[*(centres[o] - halves[o]), *(centres[o] + halves[o])] for o in others]).reshape(-1, 4)
        leaders = np.array(
            [[*anchors[o], *np.clip(anchors[o], centres[o] - halves[o], centres[o] + halves[o])] for o in others]
        ).reshape(-1, 4)
        tried = anchor + offsets(half)
        boxes = np.hstack([tried - half, tried + half])
        ends = np.clip(anchor, tried - half, tried + half)
        mine = np.hstack([np.broadcast_to(anchor, ends.shape), ends])
        elsewhere = np.delete(markers, number, axis=0)
        outside = np.maximum(0, np.hstack([frame[:2] - boxes[:, :2], boxes[:, 2:] - frame[2:]])).sum(1)
        cost = np.linalg.norm(ends - anchor, axis=1)
        cost += COVERED * (overlaps(boxes, np.vstack([names, markers])).sum(1) + (outside > 0))
        cost += HIDDEN * (passes(mine, names).sum(1) + passes(leaders, boxes).sum(0))
        cost += CROSSED * (crosses(mine, leaders).sum(1) + passes(mine, elsewhere).sum(1))
        cost += STRUCK * overlaps(boxes, lines).sum(1)
        centres[number] = tried[int(np.argmin(cost))]
    return np.array([centres[number] for number in range(len(anchors))])


def offsets(half: Array) -> Array:
    """Return the places (n, 2) of a name around its marker, as offsets of its centre, the best first."""
    height = 2 * half[1]
    lines = sorted(np.arange(-STEPS, STEPS + 0.5, 0.5), key=abs)
    beside = [
        (side * (MARKER + gap + half[0]), line * height)
        for gap, line, side in itertools.product(SIDEWAYS, lines, (1, -1))
    ]
    around = [(0.0, side * (MARKER + gap + half[1])) for gap, side in itertools.product((1, 8, 18, 30), (1, -1))]
    return np.array(beside + around)


def overlaps(one: Array, other: Array) -> Array:
    """Return which boxes (n, 4) and (m, 4) of left, bottom, right and top share more than an edge, (n, m)."""
    a, b = one[:, None], other[None]
    return np.logical_and((a[..., :2] < b[..., 2:]).all(-1), (b[..., :2] < a[..., 2:]).all(-1))


def passes(lines: Array, boxes: Array) -> Array:
    """Return which lines (n, 4), from x and y to x and y, run through which boxes (m, 4), (n, m)."""
    start, along = lines[:, None, :2], (lines[:, 2:] - lines[:, :2])[:, None]
    along = np.where(np.abs(along) < 1e-9, 1e-9, along)
    enters, leaves = (boxes[None, :, :2] - start) / along, (boxes[None, :, 2:] - start) / along
    first, last = np.minimum(enters, leaves).max(-1), np.maximum(enters, leaves).min(-1)
    through: Array = np.maximum(first, 0) < np.minimum(last, 1)
    return through


def crosses(one: Array, other: Array) -> Array:
    """Return which lines (n, 4) and (m, 4) cross each other, (n, m)."""

    def side(line: Array, point: Array) -> Array:
        along, to = line[..., 2:] - line[..., :2], point - line[..., :2]
        turned: Array = along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0]
        return turned

    a, b = one[:, None], other[None]
    apart = side(a, b[..., :2]) * side(a, b[..., 2:]) < 0
    return np.logical_and(apart, side(b, a[..., :2]) * side(b, a[..., 2:]) < 0)
