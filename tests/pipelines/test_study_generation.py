"""The study of generation on digits: made-up codes, decoded and compared, against values worked out by numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from study_lab import StudyLab, run_here

from pipelines.metrics.significance import paired_difference
from pipelines.project import StageError
from pipelines.studies.contract import Study
from pipelines.studies.generation.page import recall_table
from pipelines.studies.generation.samples import Comparison, Samples, plane_of

STUDY: dict[str, Any] = {
    "kind": "generation", "plane": "flat", "vae_plane": "vae-flat", "vae": "vae-flat", "quantizer": "vqvae",
    "samples": 100, "prior": {"channels": 16, "embedding": 8, "kernel": 3, "training": {"learning_rate": 0.01}},
    "prior_epochs": {"quick": 5},
}  # fmt: skip


def model(bottleneck: dict[str, Any], network: dict[str, Any]) -> dict[str, Any]:
    training = {"batch_size": 64, "learning_rate": 0.01}
    return {"kind": "autoencoder", "network": network, "bottleneck": bottleneck, "training": training}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> StudyLab:
    made = StudyLab.shared(tmp_path_factory)
    mlp, conv = {"kind": "mlp", "hidden": [64]}, {"kind": "conv", "downsample": 2, "channels": 16}
    made.experiment("flat", model({"kind": "identity", "size": 2}, mlp), 15)
    made.experiment("vae-flat", model({"kind": "gaussian", "size": 2, "beta": 0.05}, mlp), 15)
    made.experiment("vqvae", model({"kind": "vector_quantizer", "codebook_size": 16, "size": 4}, conv), 15)
    return made


@pytest.fixture(scope="module")
def study(lab: StudyLab) -> Study:
    return lab.study("generation", STUDY)


def test_the_prior_saves_what_frequencies_cannot_and_both_are_of_test_codes(lab: StudyLab, study: Study) -> None:
    data, bundle = lab.dataset(), lab.bundle("vqvae")
    train, test = (bundle.encode(np.asarray(data.array(split))).astype(int) for split in ("train", "test"))
    counts = np.stack([(train == level).sum(0) for level in range(16)])
    overall = (counts.sum(1) + 0.5) / (counts.sum() + 8)
    shares = (counts + 50 * overall[:, None]) / (len(train) + 50)
    expected = -np.log2(np.take_along_axis(shares, test, 0)).sum(1).mean()
    found = study.metrics
    assert found["code_bits"] == test.shape[1] * 4
    assert found["independent_bits"] == pytest.approx(expected, rel=1e-4)
    assert found["prior_bits"] < found["independent_bits"] - 1
    assert found["prior_saves"] == pytest.approx(1 - found["prior_bits"] / found["code_bits"])
    assert found["prior_distance_ratio"] < found["uniform_distance_ratio"] - 0.05


def test_real_items_look_real_and_even_codes_do_not(study: Study) -> None:
    found = study.metrics
    assert found["real_precision"] > 0.6
    assert found["real_recall"] > 0.6
    assert found["real_detail"] == pytest.approx(1, abs=0.3)
    assert found["real_distance_ratio"] == pytest.approx(1, abs=0.15)
    assert found["uniform_recall"] < found["real_recall"] - 0.3
    assert found["plane_detail"] < 0.8
    assert found["real_near"] < 0.1


def test_the_variational_grid_follows_the_normal_distribution_and_the_other_the_codes_range(lab: StudyLab) -> None:
    items = np.asarray(lab.dataset().array("train"))
    bundle = lab.bundle("vae-flat")
    codes = bundle.encode(items)
    normal, even = (plane_of("vae-flat", bundle, items, "plane", standard) for standard in (True, False))
    assert normal.grid[0] == pytest.approx([-1.959964, 1.959964], abs=1e-5)  # 2.5 % and 97.5 %: upper left
    assert normal.grid[1, 0] > normal.grid[0, 0]
    assert even.grid.min(0) == pytest.approx(np.quantile(codes, 0.01, axis=0), rel=1e-5)
    assert even.grid.max(0) == pytest.approx(np.quantile(codes, 0.99, axis=0), rel=1e-5)
    assert np.ptp(np.diff(np.unique(even.grid[:, 0].round(5)))) < 1e-3
    assert even.items == pytest.approx(bundle.decode(even.grid.astype(np.float32)).clip(0, 1), abs=1e-5)
    far = np.abs(even.grid[:, None] - codes[None]).max(2).min(1)
    assert far[even.holes].mean() > far[~even.holes].mean()


def test_the_page_has_the_values_of_its_metrics(lab: StudyLab, study: Study) -> None:
    found = study.metrics
    costs, samples, recalls, codes = study.tables
    assert codes.rows[0][1] == f"{found['plane_holes']:.0%}"
    assert costs.rows[-1][1].startswith(f"{found['prior_bits']:.1f} (")
    assert codes.rows[-1][-1] == f"{found['vae_divergence_nats']:.2f}"
    assert set(study.made_from) == {"flat", "vae-flat", "vqvae"}
    assert [row[1] for row in samples.rows][-3:] == ["evenly", "position by position", "from the prior"]
    assert recalls.rows[2][:2] == ("vqvae from the prior", "vqvae position by position")
    for picture in study.pictures:
        pixels = imread(lab.project.study("digits", "generation") / picture.file)
        assert min(pixels.shape[:2]) > 300
        assert pixels[..., :3].std() > 0.05


def test_running_it_again_gives_the_same_page_and_trains_no_prior(lab: StudyLab, study: Study) -> None:
    page = lab.project.study("digits", "generation") / "study.json"
    page.write_text("{}")
    assert run_here(lab.unit("generation", STUDY)) == ["generation"]
    assert lab.page("generation") == study


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"quantizer": "flat"},
            "quantizer: digits-flat has a code of 2 real numbers, a prior is trained on discrete codes",
        ),
        ({"vae": "flat"}, r"studies.digits.wrong.vae: flat, must have the bottleneck gaussian, it has identity"),
        ({"plane": "vqvae"}, "plane: digits-vqvae has a code of 16 integers below 16, a plane needs two real numbers"),
    ],
)
def test_an_experiment_of_the_wrong_kind_is_refused(lab: StudyLab, change: dict[str, str], message: str) -> None:
    with pytest.raises(StageError, match=message):
        lab.study("wrong", STUDY | change)
    assert not lab.project.study("digits", "wrong").exists()


def test_recalls_are_compared_over_the_same_items() -> None:
    def comparison(key: str, found: np.ndarray) -> Comparison:
        nothing = np.zeros(1)
        return Comparison(Samples(key, key, "codes", nothing), nothing, found, nothing, nothing, nothing, 1.0)

    covered = {"plane": 20, "vae_plane": 80, "vae": 75, "vae_fitted": 75, "independent": 70, "prior": 75}
    compared = {key: comparison(key, np.arange(100) < share) for key, share in covered.items()}
    rows = {row[:2]: row[2] for row in recall_table(compared).rows}
    low, high = paired_difference((np.arange(100) < 80).astype(float), (np.arange(100) < 20).astype(float))
    assert rows["vae_plane codes", "plane codes"] == f"+60.0% ({low:+.1%} to {high:+.1%})"
    assert low > 0.4
    assert rows["vae_fitted codes", "vae codes"] == "+0.0% (+0.0% to +0.0%)"
    assert len(rows) == 4
