"""The lecture's smaller studies on digits, their figures against ones worked out another way."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sandbox import Sandbox
from sklearn.neighbors import KNeighborsClassifier

from components.corruptions import MaskingNoise, SaltAndPepperNoise
from components.data import open_dataset
from items.spec import ItemSpec
from pipelines.project import Project, StageError
from pipelines.settings.params import parse_params
from pipelines.studies import denoising, invariance, planes, remembered, sparse_table
from pipelines.studies.contract import Study, read_study, spread
from pipelines.sweep.record import read_record
from pipelines.sweep.trained import read_model
from serving.bundle import Bundle


def one_layer(**parts: Any) -> dict[str, Any]:
    return {
        "kind": "autoencoder",
        "network": {"kind": "mlp", "hidden": [], "code_activation": "sigmoid"},
        "bottleneck": {"kind": "identity", "size": 32},
        "training": {"batch_size": 32, "learning_rate": 0.01},
        **parts,
    }


def experiment(model: dict[str, Any], epochs: int) -> dict[str, Any]:
    budget = {} if model["kind"] == "pca" else {"quick": {"epochs": epochs}, "paper": {"epochs": epochs}}
    return {"dataset": "digits", "model": model, **budget}


PLANE = one_layer(network={"kind": "mlp", "hidden": [32]}, bottleneck={"kind": "identity", "size": 2})
PARAMS: dict[str, Any] = {
    "datasets": {"digits": {"kind": "digits"}},
    "experiments": {
        "pca": experiment({"kind": "pca", "size": 4}, 1),
        "plane": experiment(PLANE, 30),
        "basic": experiment(one_layer(), 15),
        "denoising": experiment(one_layer(corruption={"kind": "gaussian", "sigma": 0.5}), 15),
        "contractive": experiment(one_layer(penalties=[{"kind": "contractive", "weight": 0.3}]), 15),
    },
    "studies": {
        "planes": {"digits": {"pca": "pca", "deep": "plane"}},
        "denoising": {
            "digits": {
                "basic": "basic",
                "denoising": "denoising",
                "noises": [{"kind": "gaussian", "sigma": 0.5}, {"kind": "masking", "share": 0.5, "fill": "zero"}],
            }
        },
        "invariance": {
            "digits": {"basic": "basic", "contractive": "contractive", "items": 40},
            "pca": {"basic": "pca", "contractive": "contractive"},
        },
        "sparse_table": {
            "digits": {
                "dataset": "digits",
                "simple": one_layer(),
                "sparse": one_layer(penalties=[{"kind": "l1", "weight": 0.1}]),
                "quick": {"epochs": 3, "seeds": 2},
                "paper": {"epochs": 100, "seeds": 5},
            }
        },
    },
}


@pytest.fixture(scope="module")
def project(make_sandbox: Callable[[], Sandbox]) -> Sandbox:
    made = make_sandbox()
    made.write_params(PARAMS)
    made.train(*PARAMS["experiments"])
    return made


def studied(project: Sandbox, module: Any) -> Study:
    kind = module.__name__.rpartition(".")[2]
    with contextlib.chdir(project.root):
        module.main("digits")
    study = read_study(project.root / "studies" / f"{kind}-digits")
    assert study.findings
    assert all((project.root / "studies" / f"{kind}-digits" / p.file).stat().st_size > 0 for p in study.pictures)
    return study


def split(project: Sandbox, name: Any) -> tuple[np.ndarray, np.ndarray]:
    data = open_dataset(project.root / "data" / "digits")
    labels = data.labels(name)
    assert labels is not None
    return data.array(name).reshape(data.count(name), -1) / 255.0, np.asarray(labels)


def test_the_planes_are_two_components_and_a_code_of_two(project: Sandbox) -> None:
    figures = studied(project, planes).figures
    (train, train_labels), (test, test_labels) = split(project, "train"), split(project, "test")
    directions = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:2]
    centred = test - train.mean(0)
    error = ((centred - centred @ directions.T @ directions) ** 2).sum(1).mean()
    assert figures["pca_squared_error"] == pytest.approx(error, rel=1e-4)
    neighbours = KNeighborsClassifier(5).fit((train - train.mean(0)) @ directions.T, train_labels)
    assert figures["pca_knn_accuracy"] == pytest.approx(
        neighbours.score(centred @ directions.T, test_labels), abs=0.005
    )
    assert figures["deep_squared_error"] < figures["pca_squared_error"]


def test_the_denoising_autoencoder_is_held_against_the_clean_items(project: Sandbox) -> None:
    study = studied(project, denoising)
    figures = study.figures
    assert figures["ratio"] < 0.8
    assert figures["ratio"] == figures["denoising_gaussian_sigma_0.5"] / figures["basic_gaussian_sigma_0.5"]
    data = open_dataset(project.root / "data" / "digits")
    items = np.asarray(data.array("test"))
    noisy = denoising.corrupted(data.schema.item, items, MaskingNoise(share=0.5, fill="zero"), seed=0)
    bundle = Bundle.load(project.root / "bundles" / "denoising")
    rebuilt = bundle.decode(bundle.encode(noisy))
    error = ((rebuilt - items / 255.0) ** 2).sum((1, 2, 3)).mean()
    assert figures["denoising_masking_share_0.5_fill_zero"] == pytest.approx(error, rel=1e-5)


def test_denoising_stands_beside_doing_nothing_and_pca_of_no_more_numbers(project: Sandbox) -> None:
    study = studied(project, denoising)
    (train, _), (test, _) = split(project, "train"), split(project, "test")
    data = open_dataset(project.root / "data" / "digits")
    raw = denoising.corrupted(
        data.schema.item, np.asarray(data.array("test")), MaskingNoise(share=0.5, fill="zero"), seed=0
    )
    noisy = raw.reshape(len(raw), -1) / 255.0
    kept = int(study.figures["pca_components_masking_share_0.5_fill_zero"])
    assert kept < study.figures["pca_components_no_noise"] == 32
    directions = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:kept]
    by_pca = (noisy - train.mean(0)) @ directions.T @ directions + train.mean(0)
    for way, made in (("noisy", noisy), ("pca", by_pca)):
        error = ((made - test) ** 2).sum(1).mean()
        assert study.figures[f"{way}_masking_share_0.5_fill_zero"] == pytest.approx(error, rel=1e-4)
    assert study.figures["noisy_no_noise"] == 0
    ratios, lowest = study.findings
    assert re.search(
        r"gaussian, sigma 0.5, as in its training: 0.\d\d; masking, share 0.5, fill zero: .*; no noise: ", ratios
    )
    assert re.fullmatch(r"Lowest error: gaussian, sigma 0.5: [^;]+; masking, share 0.5, fill zero: [^;]+\.", lowest)


def trial(**errors: float) -> denoising.Trial:
    noise = np.random.default_rng(0).normal(size=100)
    return denoising.Trial("fog", False, 1, {}, {way: mean + noise * (mean != 5) for way, mean in errors.items()})


def test_the_lowest_error_is_shared_where_chance_cannot_be_excluded() -> None:
    words = {way: way for way in denoising.WAYS}
    assert denoising.lowest(trial(noisy=9, pca=3, basic=4, denoising=7), words) == "pca"
    assert denoising.lowest(trial(noisy=9, pca=5, basic=5.01, denoising=7), words) == "pca or basic"
    assert denoising.chance(trial(noisy=9, pca=9, basic=5, denoising=5.01)) == " (no significant difference)"
    assert not denoising.chance(trial(noisy=9, pca=9, basic=5, denoising=7))


def test_noisy_items_are_raw_items_with_that_noise() -> None:
    item = ItemSpec(kind="image", shape=(20, 20, 1), dtype="uint8")
    items = np.full((50, 20, 20, 1), 200, np.uint8)
    masked = denoising.corrupted(item, items, MaskingNoise(share=0.3, fill="zero"), seed=1)
    assert masked.dtype == np.uint8
    assert set(np.unique(masked)) == {0, 200}
    assert (masked == 0).mean() == pytest.approx(0.3, abs=0.02)
    assert np.array_equal(masked, denoising.corrupted(item, items, MaskingNoise(share=0.3, fill="zero"), seed=1))
    assert set(np.unique(denoising.corrupted(item, items, SaltAndPepperNoise(share=0.5), seed=1))) == {0, 200, 255}
    vectors = np.full((5, 3), 7.5, np.float32)
    spec = ItemSpec(kind="vector", shape=(3,), dtype="float32")
    assert denoising.corrupted(spec, vectors, MaskingNoise(share=0.01), seed=0).max() == 7.5  # not cut to 0-1


def test_the_jacobian_is_the_encoders_by_finite_differences(project: Sandbox) -> None:
    study = studied(project, invariance)
    data = open_dataset(project.root / "data" / "digits")
    folder = project.root / "runs" / "contractive"
    model = read_model(folder, read_record(folder), data.schema.item)
    chosen = np.arange(40) * data.count("test") // 40
    items = torch.from_numpy(np.asarray(data.array("test"))[chosen]).double() / 255.0
    model.double()
    step, norms = 1e-5, []
    with torch.no_grad():
        for item in items:
            moved = item.flatten() + step * torch.eye(64, dtype=torch.float64)
            slopes = (model.encoder(moved.reshape(64, 8, 8, 1)) - model.encoder(item[None])) / step
            norms.append(float(slopes.norm()))
    assert study.figures["contractive_jacobian_norm"] == pytest.approx(np.mean(norms), rel=1e-3)
    assert study.figures["ratio"] < 0.9


def test_what_has_no_encoder_to_differentiate_is_refused(project: Sandbox) -> None:
    with contextlib.chdir(project.root), pytest.raises(StageError, match="pca: is a pca, must be an autoencoder"):
        invariance.main("pca")


def test_the_table_is_rerun_with_every_seed_and_remembers_what_is_done(
    project: Sandbox, capfd: pytest.CaptureFixture[str]
) -> None:
    study = studied(project, sparse_table)
    assert study.figures["seeds"] == 2
    assert 0 < study.figures["simple_mse"] < study.figures["sparse_mse"] < 0.1  # the penalty costs error
    assert study.figures["sparse_active_fraction"] < study.figures["simple_active_fraction"]
    printed = capfd.readouterr().out
    assert all(f"{row}, seed {seed}: epoch 3/3" in printed for row in ("simple", "sparse") for seed in (0, 1))
    kept = sorted((project.root / ".hourglass" / "studies").glob("*.json"))
    assert len(kept) == 4
    kept[0].unlink()
    again = studied(project, sparse_table)
    assert again == study
    assert capfd.readouterr().out.count("epoch 3/3") == 1


def doubled(*, value: int) -> dict[str, Any]:
    if value < 0:
        time.sleep(1)  # until the other one runs
        raise ValueError("negative")
    return {"double": 2 * value, "threads": torch.get_num_threads()}


def test_results_come_in_order_and_a_failure_loses_none(tmp_path: Path) -> None:
    project = Project(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="negative"):
        remembered(project, [{"value": 3}, {"value": -1}], doubled)
    kept = [json.loads(file.read_text()) for file in (tmp_path / ".hourglass" / "studies").glob("*.json")]
    assert [one["result"]["double"] for one in kept] == [6], "what was running beside the failure is kept"
    results = remembered(project, [{"value": 5}, {"value": 3}, {"value": 4}], doubled)
    assert [result["double"] for result in results] == [10, 6, 8]
    assert {result["threads"] for result in results} == {1}


def test_a_figure_is_called_below_only_where_the_interval_leaves_no_doubt() -> None:
    nan = float("nan")
    measured = ((0.02, 0.01, 0.029), (0.02, 0.01, 0.031), (0.04, nan, nan))
    sides = [sparse_table.against(figures, 0.03) for figures in measured]
    assert sides == ["below", "not significantly different from", "above"]


def test_spread_is_students_interval() -> None:
    mean, low, high = spread([1.0, 2.0, 3.0])
    assert mean == 2
    assert high - mean == pytest.approx(4.302653 / 3**0.5, rel=1e-6)  # t of 2 degrees of freedom, sd 1
    assert mean - low == pytest.approx(high - mean)
    assert np.isnan(spread([1.0])[1])


@pytest.mark.parametrize(
    ("studies", "expected"),
    [
        ({"planes": {"x": {"pca": "pca", "deep": "deap"}}}, "studies.planes.x.deep: deap, must be one of pca, plane"),
        ({"planes": {"x": {"pca": "pca"}}}, "studies.planes.x.deep: is missing"),
        ({"planets": {}}, "studies.planets: is no known key; allowed here: subspaces"),
        ({"denoising": {"x": {"basic": "basic", "denoising": "denoising", "noises": []}}}, "x.noises"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_study_is_named_by_its_path(studies: dict[str, Any], expected: str) -> None:
    with pytest.raises(StageError) as refused:
        parse_params(PARAMS | {"studies": studies})
    assert expected in str(refused.value)


def test_a_study_of_two_datasets_is_refused() -> None:
    params = PARAMS | {
        "datasets": {"digits": {"kind": "digits"}, "others": {"kind": "digits"}},
        "experiments": PARAMS["experiments"] | {"plane": PARAMS["experiments"]["plane"] | {"dataset": "others"}},
    }
    with pytest.raises(StageError, match=r"studies.planes.digits: pca of digits, plane of others, must be"):
        parse_params(params)
