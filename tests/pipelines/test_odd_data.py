"""Data that is odd but sound goes all the way; a setting that cannot work is named by its path, value and bound."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sandbox import Sandbox

from components.settings import SettingError
from pipelines.compare import stage as compare
from pipelines.evaluate import stage as evaluate
from pipelines.export import stage as export
from pipelines.prepare import stage as prepare
from pipelines.sweep import stage as sweep

RANDOM = np.random.default_rng(0)


def experiment(dataset: str, bottleneck: dict[str, Any], **settings: Any) -> dict[str, Any]:
    model = {"kind": "autoencoder", "network": {"kind": "mlp", "hidden": [8]}, "bottleneck": bottleneck}
    return {"dataset": dataset, "model": model | settings, "quick": {"epochs": 2}, "paper": {"epochs": 2}}


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


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    inputs = sandbox.root / "inputs"
    odd_pictures(inputs / "odd")
    np.save(inputs / "items.npy", RANDOM.integers(0, 256, (60, 6, 6), dtype=np.uint8))
    np.save(inputs / "labels.npy", np.full(60, 7))
    np.save(inputs / "vectors.npy", RANDOM.standard_normal((60, 12)).astype(np.float32))
    code = {"kind": "identity", "size": 4}
    sandbox.write_params(
        {
            "datasets": {
                "odd": {"kind": "images", "source": "inputs/odd", "size": 8},
                "one-class": {"kind": "array", "source": "inputs/items.npy", "labels": "inputs/labels.npy"},
                "vectors": {"kind": "array", "source": "inputs/vectors.npy"},
            },
            "experiments": {
                "odd": experiment("odd", code),
                "large-codebook": experiment("one-class", {"kind": "vector_quantizer", "codebook_size": 200, "size": 3}),
                "too-active": experiment("one-class", {"kind": "top_k", "size": 4, "active": 9}),
                "no-bytes": experiment("vectors", code, reconstruction="bernoulli"),
            },
        }
    )
    with contextlib.chdir(sandbox.root):
        for dataset in ("odd", "one-class", "vectors"):
            prepare.main(dataset)
    return sandbox


def test_odd_pictures_one_class_and_more_entries_than_items_go_all_the_way(project: Sandbox) -> None:
    with contextlib.chdir(project.root):
        for name in ("odd", "large-codebook"):
            sweep.main(name)
            export.main(name)
            evaluate.main(name)
    odd, large = (json.loads((project.root / "metrics" / f"{n}.json").read_text()) for n in ("odd", "large-codebook"))
    assert {"knn_accuracy", "probe_accuracy"} <= odd.keys()
    assert not {"knn_accuracy", "probe_accuracy"} & large.keys()  # of one class there is nothing to tell apart
    assert 0 < large["codebook_usage"] <= 6 / 200


def test_a_report_needs_no_classes_that_can_be_told_apart(project: Sandbox) -> None:
    project.write_params(
        {
            "datasets": {"one-class": {"kind": "array", "source": "inputs/items.npy", "labels": "inputs/labels.npy"}},
            "experiments": {"pca": {"dataset": "one-class", "model": {"kind": "pca", "size": 2}}},
        }
    )
    with contextlib.chdir(project.root):
        sweep.main("pca")
        export.main("pca")
        evaluate.main("pca")
        compare.main()
    assert json.loads((project.root / "reports" / "leaderboard.json").read_text())[0]["knn_accuracy"] is None


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("too-active", r"^experiments\.too-active\.model\.bottleneck\.active: 9, must be at most size, 4$"),
        ("no-bytes", r"^experiments\.no-bytes\.model\.reconstruction: bernoulli, must be squared_error: items are flo"),
    ],
)
def test_what_cannot_work_is_named_before_a_sweep_starts(project: Sandbox, name: str, complaint: str) -> None:
    with contextlib.chdir(project.root), pytest.raises(SettingError, match=complaint):
        sweep.main(name)
