"""Data that is odd but sound goes all the way; a setting that cannot work is named by its path, value and bound."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trained
from PIL import Image

from components.data import open_dataset
from components.settings import SettingError
from pipelines.compare import stage as compare
from pipelines.evaluate import stage as evaluate
from pipelines.export import stage as export
from pipelines.prepare import stage as prepare
from pipelines.project import Project
from pipelines.sweep import stage as sweep

RANDOM = np.random.default_rng(0)


ONE_CLASS = {"kind": "array", "source": "inputs/items.npy", "labels": "inputs/labels.npy"}


def model(bottleneck: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {"kind": "autoencoder", "network": {"kind": "mlp", "hidden": [8]}, "bottleneck": bottleneck} | settings


def odd_pictures(folder: Path) -> None:
    """Forty files of any size: colour, CMYK, 16 bits, animated, with alpha, grey with alpha."""
    for number in range(40):
        height, width = RANDOM.integers(5, 40, 2)
        pixels = RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)
        picture, path = Image.fromarray(pixels), folder / f"class{number % 2}" / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        match number % 6:
            case 0:
                picture.save(f"{path}.png")
            case 1:
                picture.convert("CMYK").save(f"{path}.jpg")
            case 2:
                Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(f"{path}.png")
            case 3:
                picture.save(f"{path}.gif", save_all=True, append_images=[picture.rotate(90)])
            case 4:
                picture.convert("RGBA").save(f"{path}.webp")
            case _:
                picture.convert("LA").save(f"{path}.png")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose datasets are odd, prepared."""
    root = tmp_path_factory.mktemp("project")
    inputs, code = root / "inputs", {"kind": "identity", "size": 4}
    odd_pictures(inputs / "odd")
    np.save(inputs / "items.npy", RANDOM.integers(0, 256, (60, 6, 6), dtype=np.uint8))
    np.save(inputs / "labels.npy", np.full(60, 7))
    np.save(inputs / "vectors.npy", RANDOM.standard_normal((60, 12)).astype(np.float32))
    datasets = {
        "odd": {"kind": "images", "source": "inputs/odd", "size": 8},
        "one-class": ONE_CLASS,
        "vectors": {"kind": "array", "source": "inputs/vectors.npy"},
    }
    models = {
        "odd": {"small": model(code)},
        "one-class": {
            "large-codebook": model({"kind": "vector_quantizer", "codebook_size": 200, "size": 3}),
            "too-active": model({"kind": "top_k", "size": 4, "active": 9}),
        },
        "vectors": {"plain": model(code), "no-bytes": model(code, likelihood={"kind": "bernoulli"})},
    }
    made = Project(root, root)
    trained.write_params(made, datasets, models)
    with contextlib.chdir(root):
        for dataset in datasets:
            prepare.main(dataset)
        for dataset, name in (("odd", "small"), ("one-class", "large-codebook"), ("vectors", "plain")):
            trained.train(made, open_dataset(made.data(dataset)), name, models[dataset][name], epochs=2)
            export.main(dataset, [name])
            evaluate.main(dataset, [name])
    return made


def metrics(project: Project, dataset: str, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(project.metrics(dataset, name).read_bytes())
    return document


def test_odd_pictures_have_classes(project: Project) -> None:
    assert {"psnr", "ssim", "knn_accuracy", "probe_accuracy"} <= metrics(project, "odd", "small").keys()


def test_of_one_class_there_is_nothing_to_learn_and_more_vectors_than_items_are_allowed(project: Project) -> None:
    large = metrics(project, "one-class", "large-codebook")
    assert "psnr" in large
    assert not {"ssim", "knn_accuracy", "probe_accuracy"} & large.keys()  # six pixels are too few for a window
    assert 0 < large["codebook_usage"] <= 6 / 200


def test_vectors_without_classes_have_neither_accuracy_nor_psnr(project: Project) -> None:
    plain = metrics(project, "vectors", "plain")
    assert "squared_error" in plain
    assert not {"psnr", "ssim", "knn_accuracy", "probe_accuracy"} & plain.keys()
    assert (project.evaluation("vectors", "plain") / "reconstructions.png").is_file()


def test_a_report_needs_no_classes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    whole = project.params.read_bytes()
    sound = {"one-class": {"large-codebook": trained.PCA}, "vectors": {"plain": trained.PCA}}
    vectors = {"kind": "array", "source": "inputs/vectors.npy"}
    trained.write_params(project, {"one-class": ONE_CLASS, "vectors": vectors}, sound)
    compare.main()
    project.params.write_bytes(whole)
    rows = json.loads((project.reports / "leaderboard.json").read_bytes())
    assert [(row["experiment"], row["knn_accuracy"]) for row in rows] == [("large-codebook", None), ("plain", None)]


@pytest.mark.parametrize(
    ("dataset", "name", "complaint"),
    [
        ("one-class", "too-active", r"model\.bottleneck\.active: 9, must be at most size, 4$"),
        ("vectors", "no-bytes", r"model\.likelihood\.kind: bernoulli, must be squared_error: items are flo"),
    ],
)
def test_what_cannot_work_is_named_before_a_sweep_starts(
    project: Project, dataset: str, name: str, complaint: str
) -> None:
    with (
        contextlib.chdir(project.root),
        pytest.raises(SettingError, match=rf"^experiments\.{dataset}\.{name}\.{complaint}"),
    ):
        sweep.main(dataset, [name])
