"""The study of evidence bounds, on digits, and what training by the Bernoulli likelihood leaves on its way there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sandbox import Sandbox

from components.bounds import Bounds, measure_bounds
from components.data import open_dataset
from components.models.autoencoder import Autoencoder
from components.settings import SettingError
from pipelines.evaluate import stage as evaluate
from pipelines.project import StageError
from pipelines.studies import bounds
from pipelines.studies.contract import read_study
from pipelines.sweep import stage as sweep
from pipelines.sweep.record import read_record
from pipelines.sweep.trained import read_model
from serving.bundle import Bundle

NETWORK = {"kind": "mlp", "hidden": [64]}
TRAINING = {"batch_size": 32, "learning_rate": 0.01}
BUDGETS = {"quick": {"epochs": 12}, "paper": {"epochs": 12}}


def experiment(bottleneck: dict[str, Any], **settings: Any) -> dict[str, Any]:
    model = {"kind": "autoencoder", "network": NETWORK, "bottleneck": bottleneck, "training": TRAINING}
    return {"dataset": "digits", "model": model | {"reconstruction": "bernoulli"} | settings, **BUDGETS}


@pytest.fixture(scope="module")
def project(make_sandbox: Callable[[], Sandbox]) -> Sandbox:
    made = make_sandbox()
    gaussian = {"kind": "gaussian", "size": 8}
    made.write_params(
        {
            "datasets": {"digits": {"kind": "digits"}},
            "experiments": {
                "vae": experiment(gaussian, binarize=True),
                "categorical": experiment({"kind": "categorical", "variables": 8, "classes": 4}, binarize=True),
                "plain": experiment(gaussian, reconstruction="squared_error"),
            },
            "studies": {
                "bounds": {
                    "digits": {"gaussian": "vae", "categorical": "categorical"},
                    "swapped": {"gaussian": "categorical", "categorical": "vae"},
                    "plain": {"gaussian": "plain", "categorical": "categorical"},
                }
            },
        }
    )
    made.train("vae")
    with contextlib.chdir(made.root):
        sweep.main("categorical")
        sweep.main("plain")
    return made


def test_the_study_tells_the_bounds_of_the_recorded_models(project: Sandbox) -> None:
    with contextlib.chdir(project.root):
        bounds.main("digits")
    study = read_study(project.root / "studies" / "bounds-digits")
    data = open_dataset(project.root / "data" / "digits")
    folder = project.root / "runs" / "vae"
    model = read_model(folder, record := read_record(folder), data.schema.item)
    assert isinstance(model, Autoencoder)
    found = measure_bounds(model, torch.from_numpy(np.array(data.array("test"))), samples=10, seed=0)
    assert study.figures["gaussian_negative_bound"] == pytest.approx(found.negative_bound.mean())
    for kind in ("gaussian", "categorical"):
        parts = study.figures[f"{kind}_reconstruction"] + study.figures[f"{kind}_divergence"]
        assert study.figures[f"{kind}_negative_bound"] == pytest.approx(parts)
        assert study.figures[f"{kind}_multi_sample_bound"] < study.figures[f"{kind}_negative_bound"]
        assert study.figures[f"{kind}_active_share"] > 0.5  # the weight 1 lets neither collapse
    assert study.made_from["vae"] == record.weights_sha256
    metrics = json.loads((project.root / "metrics" / "studies" / "bounds-digits.json").read_text())
    assert metrics == study.figures
    assert (project.root / "studies" / "bounds-digits" / "bounds.png").stat().st_size > 10_000
    assert any("Jang" in cell for row in study.tables[1].rows for cell in row)
    assert not any("published" in finding for finding in study.findings), "published figures are of MNIST"


def test_a_model_of_another_kind_or_without_a_likelihood_is_refused(project: Sandbox) -> None:
    with contextlib.chdir(project.root):
        with pytest.raises(
            StageError, match=r"bounds\.swapped.gaussian: categorical, must have the bottleneck gaussian"
        ):
            bounds.main("swapped")
        with pytest.raises(SettingError, match=r"plain\.model\.reconstruction: squared_error, must be berno"):
            bounds.main("plain")


def test_sweep_and_evaluation_know_a_model_by_its_squared_error_though_its_loss_has_none(project: Sandbox) -> None:
    record = read_record(project.root / "runs" / "vae")
    assert record.objective == "validation_squared_error"
    figures = record.best_metrics
    assert figures["train_loss"] == pytest.approx(figures["train_cross_entropy"] + figures["train_kl"], rel=1e-5)
    with contextlib.chdir(project.root):
        evaluate.main("vae")
    measured = json.loads((project.root / "metrics" / "vae.json").read_text())
    assert measured["squared_error"] == pytest.approx(figures["validation_squared_error"], rel=0.15)  # another split


def test_the_bundle_serves_pixels_as_any_other(project: Sandbox) -> None:
    bundle, data = Bundle.load(project.root / "bundles" / "vae"), open_dataset(project.root / "data" / "digits")
    items = np.array(data.array("test")[:20])
    rebuilt = bundle.decode(bundle.encode(items))
    folder = project.root / "runs" / "vae"
    model = read_model(folder, read_record(folder), data.schema.item)
    with torch.no_grad():
        expected = model.decode(model.encode(torch.from_numpy(items)))
    assert expected is not None
    np.testing.assert_allclose(rebuilt, expected.numpy(), atol=1e-5)
    assert 0 <= rebuilt.min() <= rebuilt.max() <= 1


def measured(kind: str, shift: float, spread: float = 1.0) -> bounds.Measured:
    noise = spread * np.random.default_rng(0).standard_normal(1000)
    parts = Bounds(70 + shift + noise, np.full(1000, 30.0), 98 + shift + noise, 10, np.array([True, False]))

    class Record:
        experiment = f"mnist-{kind}"
        dataset = "mnist"

    return bounds.Measured(kind, Record(), parts)  # type: ignore[arg-type]


def test_findings_say_no_more_than_the_intervals_allow() -> None:
    near, far = measured("gaussian", 0), measured("categorical", 3.5)
    said = bounds.findings([near, far])
    assert "mnist-gaussian’s bound is 3.5 nats below that of mnist-categorical" in said[2]
    assert "11.2 nats above the published 86.76" in said[3]
    assert "is about the published 101.5" in said[4]
    assert "mnist-categorical’s bound is 3.5" in bounds.compared(far, measured("gaussian", 7))
    wide = measured("categorical", 0.01, spread=-1.0)
    assert "The bounds of mnist-gaussian and mnist-categorical do not differ significantly" in bounds.compared(
        near, wide
    )
