"""The study of similar-image search, on digits, against values worked out by numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from study_lab import StudyLab

from pipelines.metrics.neighbours import Neighbours
from pipelines.metrics.significance import paired_difference
from pipelines.plots.pictures import one_of_each
from pipelines.project import StageError
from pipelines.studies import retrieval
from pipelines.studies.contract import Study

Array = np.ndarray[Any, np.dtype[Any]]

MODEL = {"kind": "autoencoder", "network": {"kind": "mlp", "hidden": [32]}, "training": {"learning_rate": 0.01}}
SETTINGS = {"kind": "retrieval", "real": "pca-24", "binary": "bits"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> StudyLab:
    made = StudyLab.shared(tmp_path_factory)
    made.experiment("pca-24", {"kind": "pca", "size": 24})
    made.experiment("bits", MODEL | {"bottleneck": {"kind": "binary", "size": 36, "noise": True}}, 15)
    return made


@pytest.fixture(scope="module")
def digits(lab: StudyLab) -> Study:
    return lab.study("retrieval", SETTINGS)


def by_numpy(distances: Array, k: int) -> Array:
    return np.argsort(distances, axis=1, kind="stable")[:, :k]


def test_precision_overlap_and_draws_are_those_of_all_distances(lab: StudyLab, digits: Study) -> None:
    data = lab.dataset()
    train, test = (data.array(split) for split in ("train", "test"))
    labels, wanted = data.labels("train"), data.labels("test")
    assert labels is not None
    assert wanted is not None
    real, bits = lab.bundle("pca-24"), lab.bundle("bits")
    pixels = ((test.reshape(len(test), 1, -1).astype(int) - train.reshape(1, len(train), -1)) ** 2).sum(-1)
    codes = [real.encode(np.asarray(items)).astype(np.float64) for items in (train, test)]
    euclidean = ((codes[1][:, None] - codes[0][None]) ** 2).sum(-1)
    signs = [bits.encode(np.asarray(items)) for items in (train, test)]
    hamming = (signs[1][:, None] != signs[0][None]).sum(-1)
    found = {name: by_numpy(d, 10) for name, d in (("pixels", pixels), ("real", euclidean), ("binary", hamming))}

    for name, items in found.items():
        tolerance = 0 if name == "binary" else 1e-3  # rounding may swap what is as good as equally near
        precision = (labels[items] == wanted[:, None]).mean()
        assert digits.metrics[f"{name}_precision"] == pytest.approx(precision, abs=tolerance + 1e-12)
        shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(items, found["pixels"], strict=True)])
        if name != "pixels":
            assert digits.metrics[f"{name}_overlap"] == pytest.approx(shared, abs=1e-3)
    ordered = np.sort(hamming, axis=1)
    assert digits.metrics["binary_tied"] == pytest.approx((ordered[:, 9] == ordered[:, 10]).mean())
    assert 0.1 < digits.metrics["binary_tied"] < 1


def test_bits_are_stored_eight_a_byte(digits: Study) -> None:
    found = digits.metrics
    assert (found["pixels_bytes"], found["real_bytes"], found["binary_bytes"]) == (64, 24 * 4, 5)


def test_the_page_has_each_class_and_how_the_models_differ(digits: Study) -> None:
    precision, classes, costs = digits.tables
    assert [row[0] for row in classes.rows] == [str(digit) for digit in range(10)]
    assert [row[1] for row in costs.rows] == ["64", "96", "5"]
    for row, name in zip(precision.rows, ("pixels", "real", "binary"), strict=True):
        assert row[1].startswith(f"{digits.metrics[f'{name}_precision']:.1%} (")
    assert set(digits.made_from) == {"pca-24", "bits"}
    differing = digits.question.split("pca-24 and bits differ in: ")[1].split(".")[0].split(", ")
    assert {"kind", "size", "bottleneck", "network"} <= set(differing)
    assert digits.summary.startswith("Share of the 10 nearest that is of the query’s class: 64 pixels ")


@pytest.mark.parametrize("gain", [0.2, -0.2, 0.0])
def test_differences_of_precision_are_over_the_same_queries(gain: float) -> None:
    compared = {"pixels": "pixels", "real": "4 numbers", "binary": "8 bits"}
    nothing = Neighbours(np.zeros((50, 5), int), np.zeros((50, 5)), np.zeros(50, bool))
    searches = [retrieval.Search(name, what, "", 1, nothing, 0.0) for name, what in compared.items()]
    base = np.random.default_rng(0).random(50)
    precisions = {"pixels": base, "real": base, "binary": base + gain}
    rows = retrieval.precision_table(searches, precisions, 5).rows
    expected = f"{gain:+.2%} ({gain:+.2%} to {gain:+.2%})"
    assert [row[2:] for row in rows] == [("–", "–"), ("+0.00% (+0.00% to +0.00%)", "–"), (expected, expected)]
    noisy = precisions | {"binary": base + np.where(np.arange(50) % 2, 0.5, -0.49)}
    low, high = paired_difference(noisy["binary"], base)
    assert low < 0 < high
    assert retrieval.precision_table(searches, noisy, 5).rows[2][2].endswith(f"({low:+.2%} to {high:+.2%})")


def test_neighbours_of_another_class_are_framed_and_no_others(lab: StudyLab) -> None:
    study = lab.study("few", SETTINGS | {"neighbours": 3, "queries": 20})
    assert "20 test items" in study.question
    assert "framed: of another class" in study.pictures[0].caption
    data, queries = lab.dataset(), np.arange(20)
    labels, wanted = data.labels("train"), data.labels("test")
    assert labels is not None
    assert wanted is not None
    same = np.array([np.flatnonzero(labels == label)[:3] for label in wanted[:20]])
    other = same.copy()
    other[0, 1] = np.flatnonzero(labels != wanted[0])[0]
    found = [Neighbours(items, np.zeros((20, 3)), np.zeros(20, bool)) for items in (same, other)]
    searches = [retrieval.Search("pixels", "", "", 1, one, 0.0) for one in found]
    frames = [p.get_xy() for p in retrieval.draw_neighbours(data, queries, searches).axes[0].patches]
    row = one_of_each(wanted[:20], 20).index(0)
    assert frames == [(pytest.approx(1.5 + 3.5 + 1 + 0.04), pytest.approx(row + 0.04))]


def test_without_classes_there_is_no_precision_but_a_picture(lab: StudyLab) -> None:
    vectors = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    np.save(lab.project.root / "unlabelled.npy", vectors)
    lab.dataset("mine", kind="array", source="unlabelled.npy", validation=0.1, test=0.2)
    lab.experiment("real", {"kind": "pca", "size": 3}, dataset="mine")
    lab.experiment("bits", MODEL | {"bottleneck": {"kind": "binary", "size": 9}}, dataset="mine")
    study = lab.study("retrieval", {"real": "real", "binary": "bits"}, dataset="mine")
    assert not any("precision" in name for name in study.metrics)
    assert "binary_overlap" in study.metrics
    assert study.metrics["binary_bytes"] == 2
    assert "framed" not in study.pictures[0].caption
    assert study.summary.startswith("Share of the 10 nearest by 6 raw values that is found: 3 real numbers ")
    text = " ".join([study.question, study.summary, *(p.caption for p in (*study.pictures, *study.tables))])
    assert not any(word in text for word in ("class", "ink", "pixels differ"))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"binary": "pca-24"}, "pca-24: its codes are not bits"), ({"real": "bits"}, "bits: its codes are not real")],
)
def test_codes_of_another_kind_are_refused(lab: StudyLab, change: dict[str, str], message: str) -> None:
    with pytest.raises(StageError, match=message):
        lab.study("wrong", SETTINGS | change)
