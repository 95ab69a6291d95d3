from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from components import batches, training
from components.batches import DenseBatches, as_tensor
from components.corruptions import NoCorruption
from components.models import AutoencoderSettings, Epoch, Model, TrainingRun
from components.models.autoencoder import Autoencoder
from components.models.tied import TiedAutoencoder
from components.state import State
from components.training import Diverged, TrainingSettings, descend, measure
from items.code import CodeSpec
from items.spec import ItemSpec

VARIANTS: dict[str, dict[str, Any]] = {
    "identity": {"network": {"kind": "mlp", "hidden": [32]}, "bottleneck": {"kind": "identity", "size": 8}},
    "vector_quantizer": {
        "network": {"kind": "conv", "channels": 16, "downsample": 2},
        "bottleneck": {
            "kind": "vector_quantizer",
            "codebook_size": 32,
            "size": 4,
            "decay": 0.9,
            "dead_code_threshold": 0.2,
        },
    },
}


class Witness(Model):
    """Notes what it was given; its loss is the items' mean value plus `weight`.

    Its code has two variables of four values each: the items' parity, and a constant 3.
    """

    def __init__(self, weight: float = 0.0) -> None:
        super().__init__()
        self.item = ItemSpec(kind="vector", shape=(1,), dtype="float32")
        self.code = CodeSpec(shape=(2,), levels=4, alphabets=2)
        self.weight = nn.Parameter(torch.tensor(weight))
        self.batches: list[list[float]] = []
        self.slope = 1.0

    def fit(self, run: TrainingRun, resume: State | None = None) -> Iterator[Epoch]:
        raise NotImplementedError

    def losses(self, items: Tensor) -> dict[str, Tensor]:
        if self.training:
            self.batches.append(items.flatten().tolist())
        return {"value": items.mean(), "weight": self.slope * self.weight}

    def encode(self, items: Tensor) -> Tensor:
        return torch.cat([items % 2, torch.full_like(items, 3)], 1)


def numbered(count: int, epochs: int) -> TrainingRun:
    items = np.arange(count, dtype=np.float32)[:, None]
    return TrainingRun(items, items, epochs, seed=0)


def autoencoder(digit: ItemSpec, name: str, seed: int = 0, **settings: Any) -> Autoencoder:
    return AutoencoderSettings.model_validate(VARIANTS[name] | {"training": {"batch_size": 64} | settings}).build(
        digit, seed
    )


def steady(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.endswith("items_per_second")}


@pytest.fixture
def four_epochs(digits: np.ndarray) -> TrainingRun:
    return TrainingRun(digits[:300], digits[300:400], epochs=4, seed=5)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_resumed_run_is_the_straight_run_bit_for_bit(digit: ItemSpec, four_epochs: TrainingRun, name: str) -> None:
    straight = list(autoencoder(digit, name).fit(four_epochs))
    for epoch in autoencoder(digit, name).fit(four_epochs):
        if epoch.number == 1:
            content = epoch.state.to_bytes()
            break
    resumed = list(autoencoder(digit, name, seed=99).fit(four_epochs, resume=State.from_bytes(content)))

    assert [epoch.number for epoch in resumed] == [2, 3, 4]
    for left, right in zip(straight[1:], resumed, strict=True):
        assert steady(left.metrics) == steady(right.metrics)
    expected, got = straight[-1].state, resumed[-1].state
    assert expected.rest == got.rest
    assert expected.tensors.keys() == got.tensors.keys()
    assert {"optimizer.0.exp_avg", "optimizer.0.exp_avg_sq", "optimizer.0.step"} < expected.tensors.keys()
    for key, tensor in expected.tensors.items():
        assert torch.equal(tensor, got.tensors[key]), key


def test_resuming_does_not_write_into_the_state(digit: ItemSpec, four_epochs: TrainingRun) -> None:
    content = next(autoencoder(digit, "identity").fit(four_epochs)).state.to_bytes()
    state = State.from_bytes(content)
    next(autoencoder(digit, "identity").fit(four_epochs, resume=state))
    for key, tensor in State.from_bytes(content).tensors.items():
        assert torch.equal(tensor, state.tensors[key]), key


def test_a_finished_run_has_nothing_left_to_resume(digit: ItemSpec, four_epochs: TrainingRun) -> None:
    *_, last = autoencoder(digit, "identity").fit(four_epochs)
    assert list(autoencoder(digit, "identity").fit(four_epochs, resume=last.state)) == []


@pytest.mark.parametrize("name", VARIANTS)
def test_training_learns_digits(digit: ItemSpec, digits: np.ndarray, name: str) -> None:
    run = TrainingRun(digits[:1500], digits[1500:], epochs=8, seed=0)
    model = autoencoder(digit, name, learning_rate=1e-2)
    untrained = measure(model, DenseBatches(torch.tensor(digits[1500:])))["squared_error"]
    epochs = list(model.fit(run))
    # The variance of the items is what the best constant guess would leave.
    variance = (digits[1500:] / 255.0).var(0).sum()
    assert epochs[-1].metrics["validation_squared_error"] < variance / 2 < untrained
    assert epochs[-1].metrics["train_loss"] < epochs[0].metrics["train_loss"]


def test_epochs_do_not_depend_on_what_the_caller_draws_between_them(digit: ItemSpec, four_epochs: TrainingRun) -> None:
    quiet = [steady(epoch.metrics) for epoch in autoencoder(digit, "vector_quantizer").fit(four_epochs)]
    noisy = []
    for epoch in autoencoder(digit, "vector_quantizer").fit(four_epochs):
        noisy.append(steady(epoch.metrics))
        torch.rand(7)
    assert quiet == noisy


def test_training_leaves_the_global_random_state_as_it_was(digit: ItemSpec, four_epochs: TrainingRun) -> None:
    before = torch.get_rng_state()
    epochs = autoencoder(digit, "vector_quantizer").fit(four_epochs)
    next(epochs)
    assert torch.equal(torch.get_rng_state(), before)
    list(epochs)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_is_another_order() -> None:
    orders = []
    for seed in (0, 1):
        model = Witness()
        items = np.arange(20, dtype=np.float32)[:, None]
        list(descend(model, TrainingSettings(batch_size=20), TrainingRun(items, items, 1, seed)))
        orders.append(model.batches[0])
    assert orders[0] != orders[1]


def test_no_epoch_of_a_seed_has_the_order_of_another_seeds() -> None:
    items, orders = np.arange(20, dtype=np.float32)[:, None], []
    for seed in range(4):
        model = Witness()
        list(descend(model, TrainingSettings(batch_size=20), TrainingRun(items, items, 4, seed)))
        orders += [tuple(batch) for batch in model.batches]
    assert len(set(orders)) == len(orders) == 16


def test_every_item_is_seen_once_an_epoch_in_a_new_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BLOCK", 2)
    model = Witness()
    orders = []
    for _ in descend(model, TrainingSettings(batch_size=4), numbered(22, epochs=3)):
        assert [len(batch) for batch in model.batches] == [4, 4, 4, 4, 4, 2]
        orders.append([value for batch in model.batches for value in batch])
        model.batches.clear()
    assert all(sorted(order) == list(range(22)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_the_last_partial_batch_weighs_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MEASURE_BATCH", 4)
    settings = TrainingSettings(batch_size=4, learning_rate=1e-12)
    (epoch,) = descend(Witness(weight=2.0), settings, numbered(9, epochs=1))
    for split in ("train", "validation"):
        assert epoch.metrics[f"{split}_value"] == pytest.approx(4.0)
        assert epoch.metrics[f"{split}_weight"] == pytest.approx(2.0)
        assert epoch.metrics[f"{split}_loss"] == pytest.approx(6.0)


def test_codebook_metrics_are_of_the_whole_split_and_of_each_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MEASURE_BATCH", 1)
    metrics = measure(Witness(), DenseBatches(torch.arange(6.0)[:, None]))
    assert (metrics["codebook_usage"], metrics["codebook_usage_worst"]) == ((2 / 4 + 1 / 4) / 2, 1 / 4)
    assert metrics["codebook_perplexity"] == pytest.approx((2 + 1) / 2)
    assert metrics["codebook_perplexity_worst"] == pytest.approx(1)


def test_evaluation_moves_no_codebook(digit: ItemSpec, digits: np.ndarray) -> None:
    model = autoencoder(digit, "vector_quantizer").train()
    before = model.bottleneck.codebook.clone()
    measure(model, DenseBatches(torch.tensor(digits[:100])))
    assert torch.equal(model.bottleneck.codebook, before)


@pytest.mark.parametrize("name", VARIANTS)
def test_an_infinite_loss_is_an_error(digit: ItemSpec, four_epochs: TrainingRun, name: str) -> None:
    with pytest.raises(Diverged, match=r"train_loss became (inf|nan) in epoch 1"):
        list(autoencoder(digit, name, learning_rate=1e30).fit(four_epochs))


@pytest.mark.parametrize(
    ("schedule", "start", "peak", "middle", "end"),
    [
        ("warmup_constant_decay", 0.04, (0.05, 1.0), (0.75, 1 - 0.5**0.5), 0.0),
        ("cosine", 1.0, (0.0, 1.0), (0.5, 0.5), 0.0),
        ("constant", 1.0, (0.3, 1.0), (0.5, 1.0), 1.0),
    ],
)
def test_schedules_start_peak_and_end_where_they_say(
    schedule: Any, start: float, peak: tuple[float, float], middle: tuple[float, float], end: float
) -> None:
    settings = TrainingSettings(learning_rate=0.2, schedule=schedule)
    for progress, share in ((0.0, start), peak, middle, (1.0, end)):
        assert settings.learning_rate_at(progress) == pytest.approx(0.2 * share)
    course = [settings.learning_rate_at(step / 1000) for step in range(1001)]
    assert max(course) == pytest.approx(0.2)
    top = int(peak[0] * 1000)
    assert course[: top + 1] == sorted(course[: top + 1])
    assert course[top:] == sorted(course[top:], reverse=True)


def test_each_step_takes_the_schedules_learning_rate() -> None:
    settings = TrainingSettings(batch_size=3, learning_rate=0.01, schedule="warmup_constant_decay")
    model = Witness()
    list(descend(model, settings, numbered(10, epochs=3)))
    # Under a constant slope Adam's step is the learning rate itself; 4 batches in each of 3 epochs.
    travelled = sum(settings.learning_rate_at(step / 12) for step in range(12))
    assert model.weight.item() == pytest.approx(-travelled, rel=1e-5)


def test_epochs_that_end_while_the_rate_is_constant_are_validated_by_the_mean_of_later_weights() -> None:
    settings = TrainingSettings(batch_size=2, learning_rate=0.01)
    epochs = []
    for epoch in descend(Witness(), settings, numbered(64, epochs=4)):
        epochs.append((epoch.metrics["validation_weight"], epoch.weights["weight"].item(), epoch.state.part("model")))
    # 32 steps an epoch, each as long as its learning rate: see above.
    course = -np.cumsum([settings.learning_rate_at(step / 128) for step in range(128)])
    assert [state["weight"].item() for _, _, state in epochs] == pytest.approx([course[127]] * 4)  # the live tensor
    means = [course[[15, 23, 31]].mean(), course[[47, 55, 63]].mean(), course[95], course[127]]
    assert [validated for validated, _, _ in epochs] == pytest.approx(means, rel=1e-5)
    assert [weight for _, weight, _ in epochs] == pytest.approx(means, rel=1e-5)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_other_schedules_are_validated_by_the_weights_as_they_are(schedule: Any) -> None:
    settings = TrainingSettings(batch_size=2, learning_rate=0.01, schedule=schedule)
    for epoch in descend(Witness(), settings, numbered(64, epochs=4)):
        assert epoch.metrics["validation_weight"] == epoch.state.part("model")["weight"].item()


def test_an_epoch_of_few_steps_has_a_mean_of_its_last_weights() -> None:
    for epoch in descend(Witness(), TrainingSettings(batch_size=64), numbered(64, epochs=4)):
        assert epoch.metrics["validation_weight"] == epoch.state.part("model")["weight"].item()


@pytest.mark.parametrize("name", [*VARIANTS, "tied"])
def test_the_weights_of_an_epoch_give_its_validation(digit: ItemSpec, four_epochs: TrainingRun, name: str) -> None:
    def built() -> Autoencoder:
        if name == "tied":  # one parameter with two names
            return TiedAutoencoder(digit, 9, "relu", TrainingSettings(batch_size=16), NoCorruption(), within_unit=True)
        return autoencoder(digit, name, batch_size=16)

    for epoch in built().fit(four_epochs):
        loaded = built()
        loaded.load_state_dict(epoch.weights)
        validated = measure(loaded, DenseBatches(torch.tensor(four_epochs.validation)))
        shown = {name: value for name, value in epoch.metrics.items() if name.startswith("validation_")}
        assert {f"validation_{name}": value for name, value in validated.items()} == shown
        same = all(torch.equal(epoch.weights[name], tensor) for name, tensor in epoch.state.part("model").items())
        assert same == (epoch.number > 2)


@pytest.mark.parametrize(("epochs", "expected"), [(1, [0]), (2, [0, 1]), (5, [0, 0.25, 0.5, 0.75, 1])])
def test_annealing_starts_with_the_first_epoch_and_ends_with_the_last(
    epochs: int, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    progresses: list[float] = []
    monkeypatch.setattr(Witness, "anneal", lambda self, progress: progresses.append(progress))
    list(descend(Witness(), TrainingSettings(batch_size=8), numbered(8, epochs)))
    assert progresses == expected


def test_weight_decay_shrinks_a_weight_without_slope_by_hand() -> None:
    model = Witness(weight=1.0)
    model.slope = 0.0
    settings = TrainingSettings(batch_size=5, learning_rate=0.1, weight_decay=0.5, schedule="constant")
    list(descend(model, settings, numbered(10, epochs=2)))
    assert model.weight.item() == pytest.approx((1 - 0.1 * 0.5) ** 4)


def test_read_only_and_memory_mapped_items_train_without_a_warning(
    digit: ItemSpec, digits: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "items.npy", digits[:200])
    mapped = np.load(tmp_path / "items.npy", mmap_mode="r")
    assert not digits.flags.writeable
    results = []
    torch.set_warn_always(True)  # torch warns of this once a process, perhaps in an earlier test
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            for items in (digits[:200], mapped):
                (epoch,) = autoencoder(digit, "identity").fit(TrainingRun(items, items[:50], epochs=1, seed=0))
                results.append(steady(epoch.metrics))
    finally:
        torch.set_warn_always(False)
    assert warned == []
    assert results[0] == results[1]
    assert math.isfinite(results[0]["train_loss"])


def test_items_on_the_cpu_are_not_copied() -> None:
    items = np.zeros((3, 2), np.float32)
    tensor = as_tensor(items)
    items[1, 1] = 7
    assert tensor[1, 1] == 7


def test_a_bottleneck_that_starts_from_nothing_costs_no_latents(
    digit: ItemSpec, digits: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, started = autoencoder(digit, "identity"), autoencoder(digit, "vector_quantizer")
    asked = []
    for model in (plain, started):
        latents = model.latents
        monkeypatch.setattr(model, "latents", lambda items, of=latents: asked.append(of) or of(items))
        model.initialize(torch.tensor(digits[:64]))
    assert asked == [latents]
