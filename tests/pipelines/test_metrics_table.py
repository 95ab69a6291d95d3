"""The table of metrics: values worked out another way, and what each row must say."""

from __future__ import annotations

from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.neighbors import KNeighborsClassifier

from components.data.torchvision_shim import import_torchvision
from items.code import CodeSpec
from items.spec import ItemSpec
from pipelines.metrics.classes import knn_correct, probe_correct
from pipelines.metrics.context import EvaluationContext
from pipelines.metrics.similarity import ssims
from pipelines.metrics.table import METRIC, METRICS
from pipelines.sweep.record import RunRecord

Array = np.ndarray[Any, np.dtype[Any]]
RANDOM = np.random.default_rng(0)
REAL = CodeSpec(shape=(4,), levels=None)
DISCRETE = CodeSpec(shape=(2,), levels=4, alphabets=2)


class Given(EvaluationContext):
    """A context of three images of 1 × 2 pixels, whose codes and rebuilt items are given."""

    item = ItemSpec(kind="image", shape=(1, 2, 1), dtype="uint8")
    code = REAL
    rebuilds_items = True
    rebuilds_chances = False
    has_topics = False
    classified = False

    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value

    @cached_property
    def scaled(self) -> Array:
        return np.array([[[[0.0], [1.0]]], [[[1.0], [1.0]]], [[[0.5], [0.0]]]], np.float32)

    @cached_property
    def rebuilt(self) -> Array:
        return np.array([[[[1.0], [1.0]]], [[[1.0], [1.0]]], [[[0.0], [0.0]]]], np.float32)


class Discrete(Given):
    code = DISCRETE

    @cached_property
    def codes(self) -> Array:  # the first codebook: 2, 1, 1, 0 times; the second: one vector only
        return np.array([[0, 3], [0, 3], [1, 3], [2, 3]], np.uint8)


def computed(key: str, context: EvaluationContext) -> Any:
    assert METRIC[key].applies(context)
    compute = METRIC[key].compute
    assert compute is not None
    return compute(context)


def applicable(context: EvaluationContext) -> set[str]:
    return {metric.key for metric in METRICS if metric.compute and metric.applies(context)}


def test_fidelity() -> None:
    context = Given()
    np.testing.assert_allclose(computed("squared_error", context), [1, 0, 0.25])
    np.testing.assert_allclose(computed("mse", context), [0.5, 0, 0.125])
    np.testing.assert_allclose(computed("psnr", context), [3.0103, 120, 9.0309], atol=1e-4)
    assert computed("bits_per_item", context) == 128


def test_use_of_codebooks() -> None:
    context = Discrete()
    first = 2**1.5  # half, a quarter and a quarter
    found = {key: computed(key, context) for key in METRIC if key.startswith(("codebook", "distinct", "entropy"))}
    assert found == pytest.approx({
        "codebook_usage": (3 / 4 + 1 / 4) / 2, "codebook_usage_worst": 1 / 4,
        "codebook_perplexity": (first + 1) / 2, "codebook_perplexity_worst": 1,
        "distinct_codes": 3, "distinct_code_share": 3 / 4,
        "entropy_per_item": 1.5, "entropy_per_position": 0.75,
    })  # fmt: skip
    assert computed("bits_per_item", context) == 4


def test_activity_of_real_units() -> None:
    codes = np.array([[0.0, 10.0, -0.05, 0.2], [0.0, 0.0, 0.0, 0.0], [0.0, 5.0, 5.0, -1.0]], np.float32)
    assert computed("active_fraction", Given(codes=codes)).tolist() == [0.5, 0.0, 0.75]


def test_metrics_that_do_not_apply() -> None:
    fidelity, usage = (
        {"squared_error", "mse", "psnr"},
        {key for key in METRIC if key.startswith(("codebook_", "d", "en"))},
    )
    usage -= {"encode_items_per_second"}
    assert applicable(Given()) == fidelity | {"bits_per_item", "active_fraction"}  # too small for a window of SSIM
    assert applicable(Discrete()) == fidelity | usage | {"bits_per_item"}
    assert applicable(Given(rebuilds_items=False)) == {"bits_per_item", "active_fraction"}
    large = ItemSpec(kind="image", shape=(7, 9, 3), dtype="uint8")
    assert "ssim" in applicable(Given(item=large))
    assert "ssim" not in applicable(Given(item=large, rebuilds_items=False))
    vector = ItemSpec(kind="vector", shape=(9,), dtype="float32")
    assert applicable(Given(item=vector)) == {"squared_error", "mse", "bits_per_item", "active_fraction"}
    assert {"knn_accuracy", "probe_accuracy"} < applicable(Given(classified=True))
    words = {"surprisal", "word_perplexity", "bits_per_item", "active_fraction"}
    assert applicable(Given(rebuilds_items=False, rebuilds_chances=True)) == words
    assert {"precision_at_10", "mean_average_precision"} < applicable(Given(has_topics=True))


@pytest.mark.parametrize(("labels", "classified"), [(None, False), ([1, 1, 1], False), ([0, 1, 1], True)])
def test_classes_are_learned_where_there_are_two(labels: list[int] | None, classified: bool) -> None:
    given = None if labels is None else np.array(labels)
    dataset: Any = SimpleNamespace(labels=lambda split: given)
    assert EvaluationContext(None, dataset).classified is classified  # type: ignore[arg-type]


def test_rows_say_all_that_others_need() -> None:
    assert len(METRIC) == len(METRICS)
    for metric in METRICS:
        assert (metric.compute is not None) == (metric.source == "evaluation")
        assert not metric.worst or metric.worst in METRIC
        assert metric.meaning.endswith(".")
        assert metric.title
        if metric.source == "record":
            assert metric.key in RunRecord.model_fields or hasattr(RunRecord, metric.key)
    ranked = [metric.key for metric in METRICS if metric.ranked]
    precisions = ["precision_at_1", "precision_at_10", "precision_at_100", "mean_average_precision"]
    errors = ["bits_per_item", "squared_error", "mse", "psnr", "ssim", "surprisal"]
    assert ranked == [*errors, "knn_accuracy", "probe_accuracy", *precisions]


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("squared_error", 5.98765, "5.988"), ("squared_error", 0.00123456, "0.001235"), ("squared_error", 0, "0.000"),
        ("squared_error", 12345.6, "12,346"), ("knn_accuracy", 0.97465, "97.47%"), ("bits_per_item", 8192, "8,192"),
    ],
)  # fmt: skip
def test_values_as_they_are_shown(key: str, value: float, text: str) -> None:
    assert METRIC[key].text(value) == text


def test_an_interval_has_its_unit_in_the_head() -> None:
    assert METRIC["knn_accuracy"].interval_text((0.9715, 0.9776)) == "97.15–97.76"


def ssim_by_definition(first: Array, second: Array, window: Array) -> float:
    """Return the mean over pixels and channels of Wang et al.'s equation 13, for (height, width, channels)."""
    scores, edge = [], len(window) // 2
    first, second = (np.pad(image, ((edge, edge), (edge, edge), (0, 0)), mode="reflect") for image in (first, second))
    for channel in range(first.shape[2]):
        x, y = (sliding_window_view(image[..., channel].astype(float), window.shape) for image in (first, second))

        def mean(values: Array, window: Array = window) -> Array:
            return np.asarray((values * window).sum((2, 3)))

        mx, my = mean(x), mean(y)
        vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        c1, c2 = 0.01**2, 0.03**2
        scores.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(scores))


def gaussian_window() -> Array:
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    return np.asarray(np.outer(weights, weights) / weights.sum() ** 2)


def noisy(*shape: int) -> tuple[Array, Array]:
    images = RANDOM.random(shape, dtype=np.float32)
    return images, np.clip(images + RANDOM.normal(0, 0.2, shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((20, 15, 1), gaussian_window()),
        ((11, 13, 3), gaussian_window()),
        ((8, 8, 1), np.full((7, 7), 1 / 49)),
        ((10, 10, 1), np.full((7, 7), 1 / 49)),
        ((7, 12, 3), np.full((7, 7), 1 / 49)),
    ],
    ids=lambda value: str(getattr(value, "shape", value)),
)
def test_ssim_is_that_of_its_definition(shape: tuple[int, ...], window: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.metrics.similarity.CHUNK", 2 * np.prod(shape))
    images, rebuilt = noisy(5, *shape)
    expected = [ssim_by_definition(image, other, window) for image, other in zip(images, rebuilt, strict=True)]
    assert max(expected) < 0.97
    np.testing.assert_allclose(ssims(images, rebuilt), expected, atol=1e-5)


def test_ssim_is_that_of_torchmetrics() -> None:
    import_torchvision("transforms.v2")  # torchmetrics imports it on its own, and would fail where it needs the shim
    from torchmetrics.functional.image import structural_similarity_index_measure

    images, rebuilt = noisy(9, 28, 28, 1)
    pair = (torch.from_numpy(array).permute(0, 3, 1, 2) for array in (rebuilt, images))
    oracle = structural_similarity_index_measure(*pair, data_range=1.0, reduction="none")
    np.testing.assert_allclose(ssims(images, rebuilt), oracle.numpy(), atol=1e-5)
    np.testing.assert_allclose(ssims(images, images), np.ones(9), atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 20, 1), (20, 6, 3), (1, 1, 1)])
def test_images_too_small_for_a_window_have_no_ssim(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be at least 7×7"):
        ssims(np.zeros((2, *shape)), np.zeros((2, *shape)))


def two_clouds(count: int) -> tuple[Array, Array]:
    labels = RANDOM.integers(0, 2, count)
    return RANDOM.normal(size=(count, 3)) + 20 * labels[:, None], labels


@pytest.mark.parametrize("correct", [knn_correct, probe_correct])
def test_separable_classes_are_found_and_wrong_labels_count_as_wrong(correct: Any) -> None:
    train, train_labels = two_clouds(80)
    test, test_labels = two_clouds(30)
    wrong = np.arange(30) < 10
    found = correct(train, train_labels, test, np.where(wrong, 1 - test_labels, test_labels))
    np.testing.assert_array_equal(found, 1.0 - wrong)


def test_knn_takes_the_majority_of_five() -> None:
    train, labels = np.array([[0.0], [1], [2], [3], [4], [100]]), np.array([0, 0, 1, 1, 1, 0])
    assert knn_correct(train, labels, np.array([[0.0]]), np.array([1])).tolist() == [1]
    assert knn_correct(train, labels, np.array([[0.0]]), np.array([0]), k=1).tolist() == [1]
    assert knn_correct(train[:3], labels[:3], np.array([[2.0]]), np.array([0])).tolist() == [1]


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_knn_is_that_of_scikit_learn_however_far_from_zero(offset: float) -> None:
    labels = RANDOM.integers(0, 7, 900)
    features = (offset + RANDOM.normal(size=(900, 6)) + 0.4 * labels[:, None]).astype(np.float32)
    oracle = KNeighborsClassifier(5, algorithm="brute").fit(features[:600], labels[:600]).predict(features[600:])
    found = knn_correct(features[:600], labels[:600], features[600:], labels[600:])
    assert found.mean() < 0.9
    np.testing.assert_array_equal(found, oracle == labels[600:])


def test_the_probe_standardizes_features_of_unlike_scales() -> None:
    labels = RANDOM.integers(0, 2, 200)
    features = np.stack([1e-4 * (labels + 0.05 * RANDOM.normal(size=200)), 1e4 * RANDOM.normal(size=200)], 1)
    assert probe_correct(features[:150], labels[:150], features[150:], labels[150:]).mean() == 1
