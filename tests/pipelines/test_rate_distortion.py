"""The rate-distortion pictures: their fronts, and names that can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab import Lab, read
from matplotlib.figure import Figure

from pipelines.compare import rate_distortion
from pipelines.compare.rate_distortion import draw_rate_distortion, panels_of, pareto_front
from pipelines.plots.labels import ASIDE, CLEAR, side_by_side

CROWDED = {8192: (2.05, 2.06, 2.11, 2.34, 2.61, 3.4), 960: (6.92, 13.87, 13.88), 64: (36.2, 38.1), 441: (3.17,),
           490: (3.05,), 392: (3.9,), 256: (9.3,), 100: (20.4, 20.4)}  # fmt: skip


def test_the_front_holds_what_nothing_beats() -> None:
    points = [(8.0, 5.0), (4.0, 9.0), (8.0, 6.0), (16.0, 5.0), (32.0, 1.0), (64.0, 2.0)]
    assert pareto_front(points) == [(4.0, 9.0), (8.0, 5.0), (32.0, 1.0)]


def crowd(lab: Lab) -> None:
    """Add seventeen experiments as a project has them: many of the same bits, some nearly equal."""
    for bits, errors in CROWDED.items():
        for number, error in enumerate(errors):
            lab.experiment(f"experiment-{bits}-{number}", bits=bits, pictures=False,
                           squared_error=(error, 0.06 * error), knn_accuracy=(0.97 - error / 300, 0.02))  # fmt: skip


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


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return which boxes (n, 4) and (m, 4) of left, bottom, right and top share more than an edge, (n, m)."""
    a, b = one[:, None], other[None]
    return (a[..., :2] < b[..., 2:]).all(-1) & (b[..., :2] < a[..., 2:]).all(-1)


def markers(axes: Any) -> np.ndarray:
    """Return the centres of the markers on axes (n, 2) in pixels."""
    lines = [line for line in axes.lines if line.get_marker() not in ("", "None", None)]
    return np.array([line.get_transform().transform(line.get_xydata()[0]) for line in lines])


def test_names_of_many_experiments_cover_no_name_and_no_marker(drawn: Figure) -> None:
    assert len(drawn.axes) == 2
    for axes in drawn.axes:
        boxes = np.array([text.get_window_extent().extents for text in axes.texts])
        centres, half = markers(axes), 4 * drawn.dpi / 72
        assert len(boxes) == len(centres) == 17
        assert not (overlaps(boxes, boxes) & ~np.eye(17, dtype=bool)).any()
        assert not overlaps(boxes, np.hstack([centres - half, centres + half])).any()
        left, bottom, right, top = axes.bbox.extents
        assert (boxes[:, :2] >= [left, bottom]).all()
        assert (boxes[:, 2:] <= [right, top]).all()


def test_each_name_is_nearest_to_its_own_marker_or_joined_to_it_by_a_line(drawn: Figure) -> None:
    for axes in drawn.axes:
        joined = [np.array(patch.get_path().vertices[-1]) for patch in axes.patches]
        for text, centre in zip(axes.texts, markers(axes), strict=True):
            box = text.get_window_extent()
            near = np.clip(centre, box.min, box.max)
            ends = [np.linalg.norm(end - centre) for end in joined]
            assert np.linalg.norm(near - centre) < 2 * CLEAR * drawn.dpi / 72 or min(ends) < 5


def test_no_marker_hides_another(drawn: Figure) -> None:
    for axes in drawn.axes:
        centres = markers(axes) * 72 / drawn.dpi
        distances = np.abs(centres[:, None] - centres[None]).max(-1) + 99 * np.eye(len(centres))
        assert distances.min() >= CLEAR - 1e-6


def test_the_same_picture_is_drawn_every_time(lab: Lab) -> None:
    for number in range(5):
        lab.experiment(f"experiment-{number}", pictures=False)
    for name in ("first", "second"):
        draw_rate_distortion(read(lab), lab.project.root / f"{name}.png")
    assert (lab.project.root / "first.png").read_bytes() == (lab.project.root / "second.png").read_bytes()


def test_axes_are_labelled_from_the_table_of_metrics(drawn: Figure) -> None:
    assert [axes.get_ylabel() for axes in drawn.axes] == [
        "Squared error, per item\n(lower is better)",
        "k-NN, % right\n(higher is better)",
    ]


def test_a_point_that_hides_nothing_stays_where_it_is() -> None:
    moved = side_by_side(np.array([[10.0, 10.0], [10.0, 12.0], [30.0, 10.0], [10.0, 40.0]]))
    assert moved.tolist() == [ASIDE, 0, 0, 0]


def test_accuracy_is_drawn_as_what_is_missing_and_labelled_as_what_is_right(drawn: Figure) -> None:
    use = drawn.axes[1]
    low, high = use.get_ylim()
    assert low > high  # turned round: better is up
    assert all(label.get_text().endswith(" %") for label in use.get_yticklabels())
    shown = [float(label.get_text().removesuffix(" %")) for label in use.get_yticklabels()]
    assert shown == pytest.approx([100 * (1 - tick) for tick in use.get_yticks()])


def test_the_probe_is_drawn_where_there_is_no_accuracy_by_neighbours(lab: Lab) -> None:
    lab.experiment("one", knn_accuracy=None)
    assert [panel.metric.key for panel in panels_of(read(lab))] == ["squared_error", "probe_accuracy"]
    lab.experiment("two")
    assert [panel.metric.key for panel in panels_of(read(lab))] == ["squared_error", "knn_accuracy"]


def test_all_right_or_no_bits_can_still_be_drawn(lab: Lab, tmp_path: Path) -> None:
    lab.experiment("perfect", bits=0, squared_error=(0.0, 0.0), knn_accuracy=(1.0, 0.0), probe_accuracy=None)
    lab.experiment("other", squared_error=None)
    draw_rate_distortion(read(lab), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
