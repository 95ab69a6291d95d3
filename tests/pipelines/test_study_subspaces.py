"""The study of PCA against a linear autoencoder, on digits, against figures worked out by numpy."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import numpy as np
import pytest
from sandbox import Sandbox

from components.data import open_dataset
from pipelines.project import StageError
from pipelines.studies import subspaces
from pipelines.studies.contract import read_study

LINEAR = {"kind": "autoencoder", "network": {"kind": "linear"}, "bottleneck": {"kind": "identity", "size": 4},
          "training": {"batch_size": 32, "learning_rate": 0.01}}  # fmt: skip
BENT = LINEAR | {"network": {"kind": "mlp", "hidden": [16]}}
BUDGETS = {"quick": {"epochs": 100}, "paper": {"epochs": 100}}


@pytest.fixture(scope="module")
def project(make_sandbox: Callable[[], Sandbox]) -> Sandbox:
    made = make_sandbox()
    made.write_params(
        {
            "datasets": {"digits": {"kind": "digits"}},
            "experiments": {
                "pca": {"dataset": "digits", "model": {"kind": "pca", "size": 4}},
                "linear": {"dataset": "digits", "model": LINEAR, **BUDGETS},
                "bent": {"dataset": "digits", "model": BENT, "quick": {"epochs": 1}, "paper": {"epochs": 1}},
            },
            "studies": {
                "subspaces": {
                    "digits": {"pca": "pca", "linear": "linear"},
                    "itself": {"pca": "pca", "linear": "pca"},
                    "bent": {"pca": "pca", "linear": "bent"},
                }
            },
        }
    )
    made.train("pca", "linear", "bent")
    return made


def test_the_linear_autoencoder_comes_close_to_the_best_there_is(project: Sandbox) -> None:
    with contextlib.chdir(project.root):
        subspaces.main("digits")
    study = read_study(project.root / "studies" / "subspaces-digits")
    data = open_dataset(project.root / "data" / "digits")
    train, test = (data.array(split).reshape(data.count(split), -1) / 255.0 for split in ("train", "test"))
    components = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:4]
    centred = test - train.mean(0)
    best = ((centred - centred @ components.T @ components) ** 2).sum(1).mean()
    assert study.figures["pca_squared_error"] == pytest.approx(best, rel=1e-4)
    assert -0.01 < study.figures["excess"] < 0.03
    assert study.figures["excess"] == pytest.approx(study.figures["linear_squared_error"] / best - 1, abs=1e-4)
    assert 0 < study.figures["largest_angle"] < 20
    assert json.loads((project.root / "metrics" / "studies" / "subspaces-digits.json").read_text()) == study.figures
    assert all((project.root / "studies" / "subspaces-digits" / p.file).stat().st_size > 0 for p in study.pictures)


def test_a_subspace_is_at_no_angle_to_itself(project: Sandbox) -> None:
    with contextlib.chdir(project.root):
        subspaces.main("itself")
    assert read_study(project.root / "studies" / "subspaces-itself").figures["largest_angle"] < 0.05


def test_a_network_that_is_not_linear_is_refused(project: Sandbox) -> None:
    with contextlib.chdir(project.root), pytest.raises(StageError, match="bent: its decoder is not linear"):
        subspaces.main("bent")
    assert not (project.root / "studies" / "subspaces-bent").exists()
