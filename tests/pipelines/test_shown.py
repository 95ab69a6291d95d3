"""What pictures of a code show: units that are moved, and neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trained

from components.data import PreparedDataset
from pipelines.metrics.context import EvaluationContext
from pipelines.metrics.shown import nearest, traverse
from pipelines.plots import pictures
from pipelines.project import Project
from serving.bundle import Bundle

DIGITS = {"kind": "digits", "validation": 100, "test": 300}
MODELS = {"pca": trained.PCA, "bits": trained.BITS}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, PreparedDataset]:
    return trained.export(tmp_path_factory.mktemp("project"), DIGITS, MODELS)


def context(exported: tuple[Project, PreparedDataset], name: str) -> EvaluationContext:
    project, data = exported
    return EvaluationContext(Bundle.load(project.bundle("digits", name), threads=1), data)


def test_a_real_unit_goes_from_its_5_percent_quantile_to_its_95_percent_one(
    exported: tuple[Project, PreparedDataset],
) -> None:
    """The decoder of PCA is linear, so what changes is the unit's component, by that much."""
    of = context(exported, "pca")
    units, low, high = traverse(of, 5)
    codes = of.codes.astype(np.float64)
    assert units.tolist() == np.argsort(-codes.std(0))[:5].tolist()
    ends = np.quantile(codes, [0.05, 0.95], axis=0)
    base = of.bundle.decode(np.zeros((1, codes.shape[1]), np.float32))
    for place, unit in enumerate(units):
        direction = of.bundle.decode(np.eye(codes.shape[1], dtype=np.float32)[[unit]]) - base
        moved = (ends[1] - ends[0])[unit] * direction[0]
        np.testing.assert_allclose(high[place] - low[place], moved, atol=1e-4)
    np.testing.assert_allclose((high + low).mean(0) / 2, of.scaled.mean(0), atol=0.3)


def test_a_discrete_unit_goes_from_its_most_common_value_to_the_next(
    exported: tuple[Project, PreparedDataset],
) -> None:
    of = context(exported, "bits")
    units, low, high = traverse(of, 50)
    typical = (of.codes.mean(0) > 0.5).astype(of.codes.dtype)
    assert sorted(units.tolist()) == list(range(of.codes.shape[1]))
    np.testing.assert_allclose(low, np.repeat(of.bundle.decode(typical[None]), len(units), axis=0), atol=1e-6)
    for place, unit in enumerate(units):
        flipped = typical.copy()
        flipped[unit] = 1 - flipped[unit]
        np.testing.assert_allclose(high[place], of.bundle.decode(flipped[None])[0], atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_neighbours_are_the_training_items_with_the_nearest_codes(
    exported: tuple[Project, PreparedDataset], name: str
) -> None:
    of = context(exported, name)
    known, asked = (np.asarray(rows, np.float64) for rows in (of.train_features, of.features[[7, 3]]))
    distances = np.square(asked[:, None] - known).sum(2)
    expected = np.argsort(np.round(distances, 4), axis=1, kind="stable")[:, :4]
    assert nearest(of, [7, 3], 4).tolist() == expected.tolist()


def test_columns_have_their_names(exported: tuple[Project, PreparedDataset], tmp_path: Path) -> None:
    of = context(exported, "pca")
    figure = pictures.draw_rows(of.item, {"low": of.scaled[:3], "high": of.scaled[3:6]}, ["unit 4", "unit 2", "unit 9"])
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["unit 4", "unit 2", "unit 9"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["low", "high"]
    figure.savefig(tmp_path / "rows.png")
