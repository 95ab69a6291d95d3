"""The study of PCA against a linear autoencoder, on digits, against values worked out by numpy."""

from __future__ import annotations

import numpy as np
import pytest
from study_lab import StudyLab

from pipelines.metrics.significance import paired_difference
from pipelines.project import StageError

LINEAR = {"kind": "autoencoder", "network": {"kind": "linear"}, "bottleneck": {"kind": "identity", "size": 4},
          "training": {"batch_size": 32, "learning_rate": 0.01}}  # fmt: skip
BENT = LINEAR | {"network": {"kind": "mlp", "hidden": [16]}}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> StudyLab:
    made = StudyLab.shared(tmp_path_factory)
    made.experiment("pca", {"kind": "pca", "size": 4})
    made.experiment("linear", LINEAR, 100)
    made.experiment("bent", BENT)
    return made


def test_the_linear_autoencoder_comes_close_to_the_best_there_is(lab: StudyLab) -> None:
    study = lab.study("subspaces", {"pca": "pca", "linear": "linear"})
    data = lab.dataset()
    train, test = (data.array(split).reshape(data.count(split), -1) / 255.0 for split in ("train", "test"))
    components = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:4]
    centred = test - train.mean(0)
    errors = ((centred - centred @ components.T @ components) ** 2).sum(1)
    best = errors.mean()
    assert study.metrics["pca_squared_error"] == pytest.approx(best, rel=1e-4)
    assert -0.01 < study.metrics["excess"] < 0.03
    assert study.metrics["excess"] == pytest.approx(study.metrics["linear_squared_error"] / best - 1, abs=1e-4)
    assert 0 < study.metrics["largest_angle"] < 20
    bundle, items = lab.bundle("linear"), np.asarray(data.array("test"))
    ours = ((bundle.decode(bundle.encode(items)) - items / 255.0) ** 2).sum((1, 2, 3))
    ends = paired_difference(ours, errors)
    assert study.tables[0].rows[-1] == ("Difference", f"{ours.mean() - best:+.3f} ({ends[0]:+.3f} to {ends[1]:+.3f})")


def test_a_subspace_is_at_no_angle_to_itself(lab: StudyLab) -> None:
    study = lab.study("itself", {"kind": "subspaces", "pca": "pca", "linear": "pca"})
    assert study.metrics["largest_angle"] < 0.05
    assert study.tables[0].rows[-1] == ("Difference", "+0.000 (+0.000 to +0.000)")


def test_a_network_that_is_not_linear_is_refused(lab: StudyLab) -> None:
    with pytest.raises(StageError, match="bent: its decoder is not linear"):
        lab.study("bent", {"kind": "subspaces", "pca": "pca", "linear": "bent"})
    assert not lab.project.study("digits", "bent").exists()
