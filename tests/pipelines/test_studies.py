"""Studies of codes of real numbers on digits, their metrics against ones worked out another way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from study_lab import StudyLab, run_here

from components.corruptions import GaussianNoise, MaskingNoise, NoCorruption, SaltAndPepperNoise
from components.models import TrainingRun
from items.spec import ItemSpec
from pipelines.evaluate.results import VALUES, write_values
from pipelines.metrics.significance import interval, paired_difference
from pipelines.project import StageError
from pipelines.studies import denoising, sparse_table
from pipelines.studies.sparse_table.training import read_trained
from pipelines.studies.text import corruption_text, difference_text, differing_keys, mean_text, spread, spread_text
from pipelines.sweep.record import read_record
from pipelines.sweep.trained import read_model


def one_layer(**parts: Any) -> dict[str, Any]:
    return {
        "kind": "autoencoder",
        "network": {"kind": "mlp", "hidden": [], "code_activation": "sigmoid"},
        "bottleneck": {"kind": "identity", "size": 32},
        "training": {"batch_size": 32, "learning_rate": 0.01},
        **parts,
    }


DENOISING = {
    "basic": "basic",
    "denoising": "denoising",
    "noises": [{"kind": "gaussian", "sigma": 0.5}, {"kind": "masking", "share": 0.5, "fill": "zero"}],
}
TABLE = {
    "simple": one_layer(),
    "sparse": one_layer(penalties=[{"kind": "l1", "weight": 0.1}]),
    "quick": {"epochs": 3, "seeds": 2},
    "paper": {"epochs": 100, "seeds": 5},
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> StudyLab:
    made = StudyLab.shared(tmp_path_factory)
    plane = one_layer(network={"kind": "mlp", "hidden": [32]}, bottleneck={"kind": "identity", "size": 2})
    made.experiment("pca", {"kind": "pca", "size": 4})
    made.experiment("plane", plane, 30)
    made.experiment("basic", one_layer(), 15)
    made.experiment("denoising", one_layer(corruption={"kind": "gaussian", "sigma": 0.5}), 15)
    made.experiment("contractive", one_layer(penalties=[{"kind": "contractive", "weight": 0.3}]), 15, bundle=False)
    return made


def split(lab: StudyLab, name: Any) -> tuple[np.ndarray, np.ndarray]:
    data = lab.dataset()
    labels = data.labels(name)
    assert labels is not None
    return data.array(name).reshape(data.count(name), -1) / 255.0, np.asarray(labels)


def test_the_planes_are_two_components_and_a_code_of_two(lab: StudyLab) -> None:
    study = lab.study("planes", {"pca": "pca", "deep": "plane"})
    (train, train_labels), (test, test_labels) = split(lab, "train"), split(lab, "test")
    directions = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:2]
    centred = test - train.mean(0)
    error = ((centred - centred @ directions.T @ directions) ** 2).sum(1).mean()
    assert study.metrics["pca_squared_error"] == pytest.approx(error, rel=1e-4)
    neighbours = KNeighborsClassifier(5).fit((train - train.mean(0)) @ directions.T, train_labels)
    assert study.metrics["pca_knn_accuracy"] == pytest.approx(
        neighbours.score(centred @ directions.T, test_labels), abs=0.005
    )
    assert study.metrics["deep_squared_error"] < study.metrics["pca_squared_error"]
    assert [row[0] for row in study.tables[0].rows] == ["pca, first two components", "plane", "Difference"]
    assert {len(row) for row in study.tables[0].rows} == {3}


def test_the_denoising_autoencoder_is_compared_on_the_clean_items(lab: StudyLab) -> None:
    study = lab.study("denoising", DENOISING)
    found = study.metrics
    assert found["ratio"] < 0.8
    assert found["ratio"] == found["denoising_gaussian_sigma_0.5"] / found["basic_gaussian_sigma_0.5"]
    items = np.asarray(lab.dataset().array("test"))
    noisy = denoising.corrupted(lab.dataset().schema.item, items, MaskingNoise(share=0.5, fill="zero"), seed=0)
    bundle = lab.bundle("denoising")
    for name, given in (("masking_share_0.5_fill_zero", noisy), ("no_noise", items)):
        error = ((bundle.decode(bundle.encode(given)) - items / 255.0) ** 2).sum((1, 2, 3)).mean()
        assert found[f"denoising_{name}"] == pytest.approx(error, rel=1e-5)
    trained = {row[0]: row[-1] for row in study.tables[0].rows}
    assert trained == {"no noise": "no", "gaussian, sigma 0.5": "yes", "masking, share 0.5, fill zero": "no"}
    assert study.summary == (
        f"Under gaussian, sigma 0.5, the squared error of denoising is {found['ratio']:.2f} times that of basic."
    )


def test_denoising_stands_beside_doing_nothing_and_pca_of_no_more_numbers(lab: StudyLab) -> None:
    found = lab.study("denoising", DENOISING).metrics
    (train, _), (test, _) = split(lab, "train"), split(lab, "test")
    raw = denoising.corrupted(
        lab.dataset().schema.item, np.asarray(lab.dataset().array("test")), MaskingNoise(share=0.5, fill="zero"), seed=0
    )
    noisy = raw.reshape(len(raw), -1) / 255.0
    kept = int(found["pca_components_masking_share_0.5_fill_zero"])
    assert kept < found["pca_components_no_noise"] == 32
    directions = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:kept]
    by_pca = (noisy - train.mean(0)) @ directions.T @ directions + train.mean(0)
    for way, rebuilt in (("noisy", noisy), ("pca", by_pca)):
        error = ((rebuilt - test) ** 2).sum(1).mean()
        assert found[f"{way}_masking_share_0.5_fill_zero"] == pytest.approx(error, rel=1e-4)
    assert found["noisy_no_noise"] == 0


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


def test_the_jacobian_is_the_encoders_by_finite_differences(lab: StudyLab) -> None:
    study = lab.study("invariance", {"basic": "basic", "contractive": "contractive", "items": 40})
    data, folder = lab.dataset(), lab.project.run("digits", "contractive")
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
        rebuilt = model.float().decode(model.encode(torch.from_numpy(np.asarray(data.array("test"))[chosen]))).double()
    assert study.metrics["contractive_jacobian_norm"] == pytest.approx(np.mean(norms), rel=1e-3)
    error = float((rebuilt - items).square().flatten(1).sum(1).mean())
    assert study.metrics["contractive_squared_error"] == pytest.approx(error, rel=1e-4)  # of the same items
    assert study.metrics["ratio"] < 0.9
    assert study.made_from["contractive"] == read_record(folder).weights_sha256


def test_a_model_without_an_encoder_to_differentiate_is_refused(lab: StudyLab) -> None:
    with pytest.raises(StageError, match="pca: is a pca, must be an autoencoder"):
        lab.study("invariance-of-pca", {"kind": "invariance", "basic": "pca", "contractive": "contractive"})


def test_the_errors_of_the_evaluation_are_read_and_nothing_else_of_it(lab: StudyLab) -> None:
    settings = {"kind": "invariance", "basic": "basic", "contractive": "contractive"}
    before = lab.unit("keyed", settings).key
    path = lab.project.evaluation("digits", "basic") / VALUES
    content, errors = path.read_bytes(), np.arange(360.0)
    try:
        write_values(path, {"squared_error": errors})
        changed = lab.unit("keyed", settings).key
        write_values(path, {"a_new_metric": errors, "squared_error": errors})
        assert lab.unit("keyed", settings).key == changed != before
        write_values(path, {"ssim": errors})
        with pytest.raises(StageError, match=r"values.parquet: no squared_error .*evaluate digits --only basic`"):
            lab.unit("keyed", settings)
    finally:
        path.write_bytes(content)


def test_the_table_is_rerun_with_every_seed_and_finished_trainings_are_kept(lab: StudyLab) -> None:
    unit = lab.unit("sparse_table", TABLE)
    done = run_here(unit)
    trainings = {f"sparse_table, {row}, seed {seed}" for row in ("simple", "sparse") for seed in (0, 1)}
    assert set(done) == trainings | {"sparse_table"}
    study = lab.page("sparse_table")
    assert study.metrics["seeds"] == 2
    assert 0 < study.metrics["simple_mse"] < study.metrics["sparse_mse"] < 0.1  # the penalty costs error
    assert study.metrics["sparse_active_fraction"] < study.metrics["simple_active_fraction"]
    low, high = (float(end) for end in study.tables[0].rows[-1][1].split("(")[1].rstrip(")").split(" to "))
    assert low < study.metrics["sparse_mse"] - study.metrics["simple_mse"] < high
    assert run_here(lab.unit("sparse_table", TABLE)) == []
    more = lab.unit("sparse_table", TABLE | {"quick": {"epochs": 3, "seeds": 3}})
    assert run_here(more) == ["sparse_table, simple, seed 2", "sparse_table, sparse, seed 2", "sparse_table"]


def test_a_training_of_the_table_is_of_its_best_epoch_by_validation(lab: StudyLab) -> None:
    part = next(unit for unit in lab.unit("sparse_table", TABLE).needs if unit.name == "sparse_table, simple, seed 0")
    run_here(part)
    assert part.storage.local is not None
    data, test = lab.dataset(), np.asarray(lab.dataset().array("test"))
    trained = read_trained(part.storage.local, TABLE["simple"], data.schema.item)
    model = sparse_table.SparseTableSettings.model_validate(TABLE).simple.build(data.schema.item, 0)
    states = []
    for epoch in model.fit(TrainingRun(np.asarray(data.array("train")), data.array("validation"), 3, 0)):
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        states.append((epoch.metrics["validation_squared_error"], weights))
    best = min(states, key=lambda state: state[0])[1]
    assert all(torch.equal(tensor, best[name]) for name, tensor in trained.state_dict().items())
    found = sparse_table.evaluate(trained, test)
    with torch.no_grad():
        codes = trained.encode(torch.from_numpy(test))
        rebuilt = trained.decode(codes).numpy()
    assert found["mse"] == pytest.approx(((rebuilt - test / 255.0) ** 2).mean(), rel=1e-4)
    assert found["silent"] == float((codes.numpy() == 0).all(0).mean())


def test_spread_is_students_interval() -> None:
    mean, low, high = spread([1.0, 2.0, 3.0])
    assert mean == 2
    assert high - mean == pytest.approx(4.302653 / 3**0.5, rel=1e-6)  # t of 2 degrees of freedom, sd 1
    assert mean - low == pytest.approx(high - mean)
    assert np.isnan(spread([1.0])[1])
    assert spread_text([6.0, 6.2]) == "6.10 (4.83–7.37)"  # standard error 0.1, t = 12.706
    assert spread_text([6.0]) == "6.00"


def test_means_and_differences_come_with_the_intervals_of_the_one_definition() -> None:
    random = np.random.default_rng(0)
    first = random.normal(5, 1, 200)
    second = first - 0.5 + random.normal(0, 0.1, 200)
    low, high = interval(first)
    assert mean_text(first, "{:.3f}") == f"{first.mean():.3f} ({low:.3f}–{high:.3f})"
    assert mean_text(first > 5, "{:.1%}").count("%") == 2
    low, high = paired_difference(first, second)
    assert 0.4 < low < high < 0.6, "paired: each mean alone is no surer than 0.14"
    assert difference_text(first, second) == f"{first.mean() - second.mean():+.2f} ({low:+.2f} to {high:+.2f})"
    assert difference_text(first, first) == "+0.00 (+0.00 to +0.00)"


def test_settings_as_text() -> None:
    assert differing_keys({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}) == "b, c"
    assert differing_keys({"a": 1}, {"a": 1}) == "nothing"
    assert corruption_text(GaussianNoise(sigma=0.5, clean=0.25)) == "gaussian, sigma 0.5"
    assert corruption_text(NoCorruption()) == "no noise"
