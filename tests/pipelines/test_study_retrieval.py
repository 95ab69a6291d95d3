"""The study of similar-image search, on digits, against figures worked out by numpy."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sandbox import Sandbox

from components import metrics
from components.data import open_dataset
from pipelines.project import StageError
from pipelines.studies import retrieval
from pipelines.studies.contract import Study, read_study
from serving.bundle import Bundle

Array = np.ndarray[Any, np.dtype[Any]]

MADE = {"kind": "autoencoder", "network": {"kind": "mlp", "hidden": [32]}, "training": {"learning_rate": 0.01}}
BITS = MADE | {"bottleneck": {"kind": "binary", "size": 36, "noise": True}}
BUDGETS = {"quick": {"epochs": 15}, "paper": {"epochs": 15}}


@pytest.fixture(scope="module")
def project(make_sandbox: Callable[[], Sandbox]) -> Sandbox:
    made = make_sandbox()
    np.save(made.root / "inputs" / "unlabelled.npy", np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32))
    made.write_params(
        {
            "datasets": {
                "digits": {"kind": "digits"},
                "mine": {"kind": "array", "source": "inputs/unlabelled.npy", "validation": 0.1, "test": 0.2},
            },
            "experiments": {
                "real": {"dataset": "digits", "model": {"kind": "pca", "size": 24}},
                "bits": {"dataset": "digits", "model": BITS, **BUDGETS},
                "my-real": {"dataset": "mine", "model": {"kind": "pca", "size": 3}},
                "my-bits": {
                    "dataset": "mine",
                    "model": MADE | {"bottleneck": {"kind": "binary", "size": 9}},
                    **BUDGETS,
                },
            },
            "studies": {
                "retrieval": {
                    "digits": {"real": "real", "binary": "bits"},
                    "few": {"real": "real", "binary": "bits", "neighbours": 3, "queries": 20},
                    "mine": {"real": "my-real", "binary": "my-bits"},
                    "no-bits": {"real": "real", "binary": "real"},
                    "no-numbers": {"real": "bits", "binary": "bits"},
                }
            },
        }
    )
    made.train("real", "bits", "my-real", "my-bits")
    return made


def study_of(project: Sandbox, name: str) -> Study:
    with contextlib.chdir(project.root):
        retrieval.main(name)
    return read_study(project.root / "studies" / f"retrieval-{name}")


@pytest.fixture(scope="module")
def digits(project: Sandbox) -> Study:
    return study_of(project, "digits")


def by_numpy(distances: Array, k: int) -> Array:
    return np.argsort(distances, axis=1, kind="stable")[:, :k]


def test_precision_overlap_and_draws_are_those_of_all_distances(project: Sandbox, digits: Study) -> None:
    study = digits
    data = open_dataset(project.root / "data" / "digits")
    train, test = (data.array(split) for split in ("train", "test"))
    labels, wanted = data.labels("train"), data.labels("test")
    assert labels is not None
    assert wanted is not None
    real, bits = (Bundle.load(project.root / "bundles" / name) for name in ("real", "bits"))
    pixels = ((test.reshape(len(test), 1, -1).astype(int) - train.reshape(1, len(train), -1)) ** 2).sum(-1)
    codes = [real.encode(np.asarray(items)).astype(np.float64) for items in (train, test)]
    euclidean = ((codes[1][:, None] - codes[0][None]) ** 2).sum(-1)
    signs = [bits.encode(np.asarray(items)) for items in (train, test)]
    hamming = (signs[1][:, None] != signs[0][None]).sum(-1)
    found = {name: by_numpy(d, 10) for name, d in (("pixels", pixels), ("real", euclidean), ("binary", hamming))}

    for name, items in found.items():
        tolerance = 0 if name == "binary" else 1e-3  # rounding may swap what is as good as equally near
        precision = (labels[items] == wanted[:, None]).mean()
        assert study.figures[f"{name}_precision"] == pytest.approx(precision, abs=tolerance + 1e-12)
        shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(items, found["pixels"], strict=True)])
        if name != "pixels":
            assert study.figures[f"{name}_overlap"] == pytest.approx(shared, abs=1e-3)
    ordered = np.sort(hamming, axis=1)
    assert study.figures["binary_tied"] == pytest.approx((ordered[:, 9] == ordered[:, 10]).mean())
    assert 0.1 < study.figures["binary_tied"] < 1


def test_bits_are_stored_eight_a_byte(digits: Study) -> None:
    figures = digits.figures
    assert (figures["pixels_bytes"], figures["real_bytes"], figures["binary_bytes"]) == (64, 24 * 4, 5)


def test_the_page_holds_each_class_and_says_no_more_than_paired_intervals(project: Sandbox, digits: Study) -> None:
    study = digits
    assert json.loads((project.root / "metrics" / "studies" / "retrieval-digits.json").read_text()) == study.figures
    precision, classes, costs = study.tables
    assert [row[0] for row in classes.rows] == [str(digit) for digit in range(10)]
    assert [row[1] for row in costs.rows] == ["64", "96", "5"]
    assert [row[1] for row in precision.rows] == [
        f"{100 * study.figures[f'{name}_precision']:.1f} %" for name in ("pixels", "real", "binary")
    ]
    assert set(study.made_from) == {"real", "bits"}


@pytest.mark.parametrize(
    ("gain", "told"),
    [
        (0.2, "8 bits find more of the query’s class than pixels: +20.00 points, 95 % interval +20.00 to +20.00."),
        (-0.2, "8 bits find fewer of the query’s class than pixels: -20.00 points, 95 % interval -20.00 to -20.00."),
        (0.0, "These queries cannot tell 8 bits from pixels: +0.00 points, 95 % interval +0.00 to +0.00."),
    ],
)
def test_a_difference_is_told_only_where_its_interval_leaves_out_nothing(gain: float, told: str) -> None:
    words = {"pixels": "pixels", "real": "4 numbers", "binary": "8 bits"}
    nothing = retrieval.Neighbours(np.zeros((50, 5), int), np.zeros((50, 5)), np.zeros(50, bool))
    searches = [retrieval.Search(name, word, "", 1, nothing, 0.0) for name, word in words.items()]
    base = np.random.default_rng(0).random(50)
    precisions = {"pixels": base, "real": base, "binary": base + gain}
    assert retrieval.compare(searches, precisions, 5)[1] == told
    noisy = precisions | {"binary": base + np.where(np.arange(50) % 2, 0.5, -0.49)}
    low, high = metrics.bootstrap_interval(noisy["binary"] - base)
    assert low < 0 < high
    assert retrieval.compare(searches, noisy, 5)[1].startswith("These queries cannot tell 8 bits from pixels")


def test_neighbours_of_another_class_are_framed_and_no_others(project: Sandbox) -> None:
    study = study_of(project, "few")
    assert "20 test ones" in study.question
    assert (project.root / "studies" / "retrieval-few" / study.pictures[0].file).stat().st_size > 0
    data, queries = open_dataset(project.root / "data" / "digits"), np.arange(20)
    labels, wanted = data.labels("train"), data.labels("test")
    assert labels is not None
    assert wanted is not None
    same = np.array([np.flatnonzero(labels == label)[:3] for label in wanted[:20]])
    other = same.copy()
    other[0, 1] = np.flatnonzero(labels != wanted[0])[0]
    found = [retrieval.Neighbours(items, np.zeros((20, 3)), np.zeros(20, bool)) for items in (same, other)]
    searches = [retrieval.Search("pixels", "", "", 1, one, 0.0) for one in found]
    frames = [p.get_xy() for p in retrieval.draw_neighbours(data, queries, searches).axes[0].patches]
    row = retrieval.one_of_each(wanted[:20], 20).index(0)
    assert frames == [(pytest.approx(1.5 + 3.5 + 1 + 0.04), pytest.approx(row + 0.04))]


def test_without_classes_there_is_no_precision_but_a_picture(project: Sandbox) -> None:
    study = study_of(project, "mine")
    assert not any("precision" in figure for figure in study.figures)
    assert "binary_overlap" in study.figures
    assert study.figures["binary_bytes"] == 2
    assert not any("class than" in finding for finding in study.findings)
    assert "framed" not in study.pictures[0].caption
    assert "These data have no classes" in study.question
    said = " ".join([study.question, *study.findings, *(p.caption for p in study.pictures)])
    assert not any(word in said for word in ("query’s class", "ink", "pixels differ"))
    assert (project.root / "studies" / "retrieval-mine" / study.pictures[0].file).stat().st_size > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [("no-bits", "real: its codes are not bits"), ("no-numbers", "bits: its codes are not real numbers")],
)
def test_codes_of_another_kind_are_refused(project: Sandbox, name: str, message: str) -> None:
    with contextlib.chdir(project.root), pytest.raises(StageError, match=message):
        retrieval.main(name)
