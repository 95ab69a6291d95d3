"""The study of evidence bounds, on digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from study_lab import StudyLab

from components.bounds import Bounds, compute_bounds
from components.models.autoencoder import Autoencoder
from components.settings import SettingError
from pipelines.metrics.significance import paired_difference
from pipelines.project import StageError
from pipelines.studies.bounds.page import PUBLISHED, Evaluated, describe, training_text
from pipelines.sweep.record import read_record
from pipelines.sweep.trained import read_model

SETTINGS = {"gaussian": "vae", "categorical": "categorical"}


def model(bottleneck: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {
        "kind": "autoencoder",
        "network": {"kind": "mlp", "hidden": [64]},
        "bottleneck": bottleneck,
        "training": {"batch_size": 32, "learning_rate": 0.01},
        "likelihood": {"kind": "bernoulli"},
        **settings,
    }


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> StudyLab:
    made = StudyLab.shared(tmp_path_factory)
    gaussian = {"kind": "gaussian", "size": 8}
    categorical = {"kind": "categorical", "variables": 8, "classes": 4}
    made.experiment("vae", model(gaussian, likelihood={"kind": "bernoulli", "binarize": True}), 12, bundle=False)
    made.experiment(
        "categorical", model(categorical, likelihood={"kind": "bernoulli", "binarize": True}), 12, bundle=False
    )
    made.experiment("plain-gaussian", model(gaussian, likelihood={"kind": "squared_error"}), 1, bundle=False)
    return made


def test_the_page_has_the_bounds_of_the_recorded_models(lab: StudyLab) -> None:
    study = lab.study("bounds", SETTINGS)
    data, folder = lab.dataset(), lab.project.run("digits", "vae")
    trained = read_model(folder, record := read_record(folder), data.schema.item)
    assert isinstance(trained, Autoencoder)
    found = compute_bounds(trained, torch.from_numpy(np.array(data.array("test"))), samples=10, seed=0)
    assert study.metrics["gaussian_negative_bound"] == pytest.approx(found.negative_bound.mean())
    for kind in ("gaussian", "categorical"):
        parts = study.metrics[f"{kind}_reconstruction"] + study.metrics[f"{kind}_divergence"]
        assert study.metrics[f"{kind}_negative_bound"] == pytest.approx(parts)
        assert study.metrics[f"{kind}_multi_sample_bound"] < study.metrics[f"{kind}_negative_bound"]
        assert study.metrics[f"{kind}_active_share"] > 0.5  # the weight 1 lets neither collapse
    assert study.made_from["vae"] == record.weights_sha256
    assert (lab.project.study("digits", "bounds") / "bounds.png").stat().st_size > 10_000
    assert any("Jang" in cell for row in study.tables[1].rows for cell in row)
    assert "mlp 64, 12 of 12 epochs, binarized anew each step" in study.tables[0].rows[0]


def test_another_budget_draws_more_samples(lab: StudyLab) -> None:
    quick, paper = (lab.unit("bounds", SETTINGS, budget=budget) for budget in ("quick", "paper"))
    assert [need.arguments["samples"] for need in (*quick.needs, *paper.needs)] == [10, 10, 1000, 1000]


def test_a_model_of_another_kind_or_without_a_likelihood_is_refused(lab: StudyLab) -> None:
    with pytest.raises(StageError, match=r"categorical: must have the bottleneck gaussian, it has categorical"):
        lab.study("swapped", {"kind": "bounds", "gaussian": "categorical", "categorical": "vae"})
    with pytest.raises(
        SettingError, match=r"plain-gaussian\.model\.likelihood\.kind: squared_error, must be bernoulli"
    ):
        lab.study("plain", {"kind": "bounds", "gaussian": "plain-gaussian", "categorical": "categorical"})


def evaluated(kind: str, dataset: str, shift: float, noise: float = 1.0) -> Evaluated:
    drawn = noise * np.random.default_rng(0).standard_normal(1000)
    parts = Bounds(70 + shift + drawn, np.full(1000, 30.0), 98 + shift + drawn, 10, np.array([True, False]))
    return Evaluated(kind, kind, dataset, "somehow", "0" * 64, parts)


def test_the_difference_is_over_the_same_items() -> None:
    near, far = evaluated("gaussian", "digits", 0), evaluated("categorical", "digits", 3.5, noise=1.1)
    study = describe({"kind": "bounds", "name": "bounds", "dataset": "digits"}, [near, far])
    low, high = paired_difference(far.bounds.negative_bound, near.bounds.negative_bound)
    gap = far.bound - near.bound
    assert high - low < 0.02, "the noise that both have is not in it"
    assert study.tables[0].rows[-1][:2] == ("Difference", f"{gap:+.1f} ({low:+.1f} to {high:+.1f})")
    assert study.metrics["categorical_active_share"] == 0.5


def test_published_values_are_of_mnist() -> None:
    assert [p.nats for p in evaluated("gaussian", "mnist", 0).published] == [86.76]
    assert [p.nats for p in evaluated("categorical", "mnist", 0).published] == [101.5, 107.8]
    assert evaluated("gaussian", "digits", 0).published == []
    assert len(PUBLISHED) == 4


def test_a_training_is_described(lab: StudyLab) -> None:
    record = read_record(lab.project.run("digits", "plain-gaussian"))
    assert training_text(record) == "mlp 64, 1 of 1 epochs, grey items"
