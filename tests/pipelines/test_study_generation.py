"""The study of generation on digits: made-up codes decoded, priced and judged, against figures worked out by numpy."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from sandbox import Sandbox

from components.data import open_dataset
from pipelines.project import StageError
from pipelines.studies import generation
from pipelines.studies.contract import Study, read_study
from pipelines.studies.generation_samples import plane_of
from serving.bundle import Bundle


def experiment(bottleneck: dict[str, Any], network: dict[str, Any], epochs: int) -> dict[str, Any]:
    model = {"kind": "autoencoder", "network": network, "bottleneck": bottleneck,
             "training": {"batch_size": 64, "learning_rate": 0.01}}  # fmt: skip
    return {"dataset": "digits", "model": model, "quick": {"epochs": epochs}, "paper": {"epochs": epochs}}


MLP = {"kind": "mlp", "hidden": [64]}
CONV = {"kind": "conv", "downsample": 2, "channels": 16}
STUDY = {
    "plane": "plane", "vae_plane": "vae-plane", "vae": "vae-plane", "quantizer": "vqvae", "samples": 100,
    "prior": {"channels": 16, "embedding": 8, "kernel": 3, "training": {"learning_rate": 0.01}},
    "prior_epochs": {"quick": 5},
}  # fmt: skip


@pytest.fixture(scope="module")
def project(make_sandbox: Callable[[], Sandbox]) -> Sandbox:
    made = make_sandbox()
    made.write_params(
        {
            "datasets": {"digits": {"kind": "digits"}},
            "experiments": {
                "plane": experiment({"kind": "identity", "size": 2}, MLP, 15),
                "vae-plane": experiment({"kind": "gaussian", "size": 2, "beta": 0.05}, MLP, 15),
                "vqvae": experiment({"kind": "vector_quantizer", "entries": 16, "size": 4}, CONV, 15),
            },
            "studies": {
                "generation": {
                    "digits": STUDY,
                    "real": STUDY | {"quantizer": "plane"},
                    "plain": STUDY | {"vae": "plane"},
                    "wide": STUDY | {"plane": "vqvae"},
                }
            },
        }
    )
    made.train("plane", "vae-plane", "vqvae")
    return made


@pytest.fixture(scope="module")
def study(project: Sandbox) -> Study:
    with contextlib.chdir(project.root):
        generation.main("digits")
    return read_study(project.root / "studies" / "generation-digits")


def test_the_prior_saves_what_frequencies_cannot_and_both_are_priced_on_test_codes(
    project: Sandbox, study: Study
) -> None:
    data = open_dataset(project.root / "data" / "digits")
    bundle = Bundle.load(project.root / "bundles" / "vqvae", threads=1)
    train, test = (bundle.encode(np.asarray(data.array(split))).astype(int) for split in ("train", "test"))
    counts = np.stack([(train == level).sum(0) for level in range(16)])
    overall = (counts.sum(1) + 0.5) / (counts.sum() + 8)
    shares = (counts + 50 * overall[:, None]) / (len(train) + 50)
    by_hand = -np.log2(np.take_along_axis(shares, test, 0)).sum(1).mean()
    figures = study.figures
    assert figures["code_bits"] == test.shape[1] * 4
    assert figures["independent_bits"] == pytest.approx(by_hand, rel=1e-4)
    assert figures["prior_bits"] < figures["independent_bits"] - 1
    assert figures["prior_saves"] == pytest.approx(1 - figures["prior_bits"] / figures["code_bits"])
    assert figures["prior_distance_ratio"] < figures["uniform_distance_ratio"] - 0.05


def test_real_items_are_judged_real_and_even_codes_are_not(study: Study) -> None:
    figures = study.figures
    assert figures["real_precision"] > 0.6
    assert figures["real_recall"] > 0.6
    assert figures["real_detail"] == pytest.approx(1, abs=0.3)
    assert figures["real_distance_ratio"] == pytest.approx(1, abs=0.15)
    assert figures["uniform_recall"] < figures["real_recall"] - 0.3
    assert figures["plane_detail"] < 0.8
    assert figures["real_near"] < 0.1


def test_the_variational_grid_follows_the_normal_distribution_and_the_other_the_codes_range(project: Sandbox) -> None:
    items = np.asarray(open_dataset(project.root / "data" / "digits").array("train"))
    bundle = Bundle.load(project.root / "bundles" / "vae-plane", threads=1)
    codes = bundle.encode(items)
    normal, even = (plane_of(bundle, items, "plane", standard) for standard in (True, False))
    assert normal.grid[0] == pytest.approx([-1.959964, 1.959964], abs=1e-5)  # 2.5 % and 97.5 %: upper left
    assert normal.grid[1, 0] > normal.grid[0, 0]
    assert even.grid.min(0) == pytest.approx(np.quantile(codes, 0.01, axis=0), rel=1e-5)
    assert even.grid.max(0) == pytest.approx(np.quantile(codes, 0.99, axis=0), rel=1e-5)
    assert np.ptp(np.diff(np.unique(even.grid[:, 0].round(5)))) < 1e-3
    assert even.items == pytest.approx(bundle.decode(even.grid.astype(np.float32)).clip(0, 1), abs=1e-5)
    far = np.abs(even.grid[:, None] - codes[None]).max(2).min(1)
    assert far[even.holes].mean() > far[~even.holes].mean()


def test_the_page_tells_what_its_figures_say(project: Sandbox, study: Study) -> None:
    figures, told = study.figures, " ".join(study.findings)
    assert json.loads((project.root / "metrics" / "studies" / "generation-digits.json").read_text()) == figures
    assert f"{figures['plane_holes']:.0%} of an even grid" in told
    assert f"{figures['prior_bits']:.1f} (" in told
    assert f"{figures['vae_divergence_nats']:.2f} nats away" in told
    assert set(study.made_from) == {"plane", "vae-plane", "vqvae"}
    assert [row[1] for row in study.tables[1].rows][-3:] == ["evenly", "position by position", "from the prior"]
    for picture in study.pictures:
        pixels = imread(project.root / "studies" / "generation-digits" / picture.file)
        assert min(pixels.shape[:2]) > 300
        assert pixels[..., :3].std() > 0.05


def test_running_it_again_gives_the_same_figures(project: Sandbox, study: Study) -> None:
    with contextlib.chdir(project.root):
        generation.main("digits")
    assert read_study(project.root / "studies" / "generation-digits") == study


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("real", "quantizer: plane has a code of 2 real numbers, a prior is trained on discrete ones"),
        ("plain", r"studies.generation.plain.vae: plane has the bottleneck identity, needs gaussian"),
        ("wide", "plane: vqvae has a code of 16 integers below 16, a plane needs two real numbers"),
    ],
)
def test_an_experiment_of_the_wrong_kind_is_refused(project: Sandbox, name: str, told: str) -> None:
    with contextlib.chdir(project.root), pytest.raises(StageError, match=told):
        generation.main(name)
    assert not (project.root / "studies" / f"generation-{name}").exists()


def test_shares_are_only_told_apart_where_their_intervals_are() -> None:
    many, few, nearly = (np.arange(100) < share for share in (80, 20, 75))
    assert generation.verdict(many, few) == "more"
    assert generation.verdict(few, many) == "less"
    assert generation.verdict(many, nearly) == "no significant difference"
    assert generation.share(many).startswith("80% (7")
