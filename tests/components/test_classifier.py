"""The classifier on top of a stack, on digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from components import classifier as module
from components.classifier import Classifier, Labelled, Lesson, fine_tune
from components.pretraining import StackSettings
from components.training import TrainingSettings
from items.spec import ItemSpec


@pytest.fixture(scope="module")
def labelled(digits: np.ndarray) -> Labelled:
    return Labelled(digits, load_digits().target)


def network(digit: ItemSpec, seed: int = 0) -> Classifier:
    return Classifier(StackSettings(layers=(32, 16)).build(digit, seed), classes=10)


def part(labelled: Labelled, start: int, stop: int) -> Labelled:
    return Labelled(labelled.items[start:stop], labelled.labels[start:stop])


def test_a_draw_has_as_many_items_of_each_class(labelled: Labelled) -> None:
    drawn = labelled.balanced(200, seed=3)
    assert np.bincount(drawn.labels).tolist() == [20] * 10
    rows = [int(np.flatnonzero((labelled.items == item).all((1, 2, 3)))[0]) for item in drawn.items]
    assert len(set(rows)) == 200  # without replacement
    assert (labelled.labels[rows] == drawn.labels).all()
    assert sorted(np.bincount(labelled.balanced(23, seed=0).labels).tolist()) == [2] * 7 + [3] * 3


def test_a_draw_is_the_same_for_a_seed_and_another_for_another(labelled: Labelled) -> None:
    first, same, other = (labelled.balanced(50, seed).items for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_a_draw_larger_than_a_class_takes_what_there_is() -> None:
    small = Labelled(np.arange(6, dtype=np.float32)[:, None], np.array([0, 0, 0, 0, 0, 1]))
    assert sorted(small.balanced(4, seed=0).labels.tolist()) == [0, 0, 0, 1]
    assert sorted(small.balanced(6, seed=0).items[:, 0].tolist()) == [0, 1, 2, 3, 4, 5]


def test_the_share_of_wrong_items_is_that_of_the_likeliest_class(
    digit: ItemSpec, labelled: Labelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 64)
    model = network(digit)
    torch.nn.init.normal_(model.top.weight)
    some = part(labelled, 0, 150)
    guessed = model(torch.tensor(some.items)).argmax(1).numpy()
    assert model.wrong(some) == pytest.approx((guessed != some.labels).mean())
    assert model.wrong(Labelled(some.items, guessed)) == 0


def test_the_share_of_wrong_items_is_found_in_evaluation_mode(digit: ItemSpec, labelled: Labelled) -> None:
    model, some = network(digit).eval(), part(labelled, 0, 150)
    torch.nn.init.normal_(model.top.weight)
    guessed = model(torch.tensor(some.items)).argmax(1).numpy()
    model.stack.layers.append(torch.nn.Dropout(0.5))
    assert model.train().wrong(Labelled(some.items, guessed)) == 0


def test_a_lessons_loss_is_the_cross_entropy_of_its_rows(digit: ItemSpec, labelled: Labelled) -> None:
    model = network(digit)
    torch.nn.init.normal_(model.top.weight)
    rows = torch.tensor([5, 900, 5, 17])
    loss = Lesson(model, TrainingSettings(), labelled).losses(rows)["cross_entropy"]
    expected = F.cross_entropy(model(torch.tensor(labelled.items[rows])), torch.tensor(labelled.labels[rows]))
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())  # down to the first layer


@pytest.mark.parametrize(("epochs", "reports"), [(1, 1), (5, 5), (40, 5), (26, 2)])
def test_every_item_is_seen_as_often_as_there_are_epochs(
    digit: ItemSpec, labelled: Labelled, epochs: int, reports: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    losses = Lesson.losses

    def watched(self: Lesson, items: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.training:
            seen.extend(items.tolist())
        return losses(self, items)

    monkeypatch.setattr(Lesson, "losses", watched)
    reported = list(fine_tune(network(digit), TrainingSettings(batch_size=16), part(labelled, 0, 50), epochs, seed=0))
    assert len(reported) == reports
    assert np.bincount(seen).tolist() == [epochs] * 50


def test_fine_tuning_learns_its_labels_and_others_too(digit: ItemSpec, labelled: Labelled) -> None:
    model = network(digit)
    shown, held_out = part(labelled, 0, 1000), part(labelled, 1000, 1797)
    assert model.wrong(held_out) > 0.8
    *_, last = fine_tune(model, TrainingSettings(batch_size=32, learning_rate=5e-3), shown, epochs=24, seed=0)
    assert last.metrics["train_cross_entropy"] < 0.05
    assert model.wrong(shown) < 0.01
    assert model.wrong(held_out) < 0.12


def test_the_same_seed_ends_with_the_same_weights(digit: ItemSpec, labelled: Labelled) -> None:
    ends = []
    for seed in (0, 0, 1):
        model = network(digit)
        torch.manual_seed(len(ends))
        list(fine_tune(model, TrainingSettings(batch_size=32), part(labelled, 0, 200), 2, seed))
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])
