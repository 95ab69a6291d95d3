"""The rate-distortion pictures: their fronts, and names that can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lab import Lab, read
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from pipelines.compare.rate_distortion import draw_rate_distortion, panels_of, pareto_front
from pipelines.compare.stage import rate_distortion
from pipelines.plots import labels as names

CROWDED = {8192: (2.05, 2.06, 2.11, 2.34, 2.61, 3.4), 960: (6.92, 13.87, 13.88), 64: (36.2, 38.1), 441: (3.17,),
           490: (3.05,), 392: (3.9,), 256: (9.3,), 100: (20.4, 20.4)}  # fmt: skip


def test_the_front_holds_what_nothing_beats() -> None:
    points = [(8.0, 5.0), (4.0, 9.0), (8.0, 6.0), (16.0, 5.0), (32.0, 1.0), (64.0, 2.0)]
    assert pareto_front(points) == [(4.0, 9.0), (8.0, 5.0), (32.0, 1.0)]


def crowd(lab: Lab) -> None:
    """Add seventeen experiments as a line-up has them: many of the same bits, some all but equal."""
    for bits, errors in CROWDED.items():
        for number, error in enumerate(errors):
            right = 0.97 - error / 300
            lab.experiment(f"digits-experiment-{bits}-{number}", bits=bits, pictures=False,
                           squared_error=(error, 0.99 * error, 1.01 * error),
                           knn_accuracy=(right, right - 0.004, right + 0.004))  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Figure:
    figures: list[Figure] = []
    lab = Lab(tmp_path_factory.mktemp("crowd"))
    lab.dataset("digits")
    crowd(lab)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rate_distortion, "save", lambda figure, path: figures.append(figure))
        draw_rate_distortion(read(lab), lab.project.reports / "picture.png")
    figures[0].draw_without_rendering()
    return figures[0]


def test_names_of_a_whole_line_up_cover_no_name_and_no_marker(drawn: Figure) -> None:
    assert len(drawn.axes) == 2
    for axes in drawn.axes:
        notes = [text for text in axes.texts if isinstance(text, Annotation)]
        boxes = np.array([Text.get_window_extent(note).extents for note in notes])
        pixels = drawn.dpi / 72
        lines = [line for line in axes.lines if line.get_marker() not in ("", "None", None)]
        centres = np.array([line.get_transform().transform(line.get_xydata()[0]) for line in lines])
        markers = np.hstack([centres - 4 * pixels, centres + 4 * pixels])
        assert len(boxes) == len(markers) == 17
        assert not (names.overlaps(boxes, boxes) & ~np.eye(17, dtype=bool)).any()
        assert not names.overlaps(boxes, markers).any()
        left, bottom, right, top = axes.bbox.extents
        assert (boxes[:, 0] > left).all()
        assert (boxes[:, 2] < right).all()
        assert (boxes[:, 1] > bottom).all()
        assert (boxes[:, 3] < top).all()


def test_no_marker_hides_another(drawn: Figure) -> None:
    for axes in drawn.axes:
        lines = [line for line in axes.lines if line.get_marker() not in ("", "None", None)]
        centres = np.array([line.get_transform().transform(line.get_xydata()[0]) for line in lines]) * 72 / drawn.dpi
        distances = np.abs(centres[:, None] - centres[None]).max(-1) + 99 * np.eye(len(centres))
        assert distances.min() >= names.TOLD - 1e-6


def test_a_point_that_hides_nothing_stays_where_it_is() -> None:
    moved = names.side_by_side(np.array([[10.0, 10.0], [10.0, 12.0], [30.0, 10.0], [10.0, 40.0]]))
    assert moved.tolist() == [names.ASIDE, 0, 0, 0]


def test_accuracy_is_drawn_from_the_share_that_is_wrong_but_told_as_right(drawn: Figure) -> None:
    use = drawn.axes[1]
    low, high = use.get_ylim()
    assert low > high  # turned round: better is up
    assert all(label.get_text().endswith(" %") for label in use.get_yticklabels())
    shown = [float(label.get_text().removesuffix(" %")) for label in use.get_yticklabels()]
    assert shown == pytest.approx([100 * (1 - tick) for tick in use.get_yticks()])


def test_the_probe_stands_in_where_there_are_no_neighbours(lab: Lab) -> None:
    lab.experiment("one", knn_accuracy=None)
    assert [panel.key for panel in panels_of(read(lab))] == ["squared_error", "probe_accuracy"]
    lab.experiment("two")
    assert [panel.key for panel in panels_of(read(lab))] == ["squared_error", "knn_accuracy"]


def test_all_right_or_no_bits_can_still_be_drawn(lab: Lab, tmp_path: Path) -> None:
    lab.experiment("perfect", bits=0, squared_error=(0.0, 0.0, 0.0), knn_accuracy=(1.0, 1.0, 1.0), probe_accuracy=None)
    lab.experiment("other", squared_error=None)
    draw_rate_distortion(read(lab), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_lines_are_seen_to_cross_and_to_run_through_boxes() -> None:
    lines = np.array([[0.0, 0, 10, 10], [0, 10, 10, 0], [20, 0, 20, 10], [0, 1, 4, 1.0]])
    assert names.crosses(lines[:1], lines).tolist() == [[False, True, False, True]]
    boxes = np.array([[4.0, 4, 6, 6], [19, 2, 21, 3], [11, 11, 12, 12]])
    assert names.passes(lines, boxes).tolist() == [
        [True, False, False], [True, False, False], [False, True, False], [False, False, False],
    ]  # fmt: skip
