"""Stacks pretrained without labels, and networks fine-tuned with labels from either start."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save_file

from components.classifier import Classifier, Labelled, fine_tune
from components.contract import TrainingRun
from components.data import PreparedDataset, open_dataset
from components.data.schema import SplitName
from components.pretraining import StackSettings, pretrain
from components.settings import Settings
from components.training import TrainingSettings

Start = Literal["pretrained", "random"]

STARTS: tuple[Start, ...] = ("pretrained", "random")
WEIGHTS, RESULT = "stack.safetensors", "result.json"


class Training(Settings):
    """The result of one training with labels.

    Attributes:
        labels: of the training split, as many of each class; None for all of them.
        start: which weights it started from.
        seed: of its labels, its random weights and the order of the items.
        learning_rate: its learning rate.
        validation, test: shares of wrong items on the two held-out splits.
        cross_entropy: of the labelled items at the end, in nats.
    """

    labels: int | None
    start: Start
    seed: int
    learning_rate: float
    validation: float
    test: float
    cross_entropy: float


def pretrain_stack(out: Path, stack: dict[str, Any], epochs: int, seed: int, data: Path) -> None:
    """Pretrain a stack on the training split, without its labels, and write its weights."""
    dataset = open_dataset(data)
    layers = StackSettings.model_validate(stack).build(dataset.schema.item, seed)
    for _ in pretrain(layers, TrainingRun(dataset.array("train"), dataset.array("validation"), epochs, seed)):
        pass
    save_file({name: tensor.contiguous() for name, tensor in layers.cpu().state_dict().items()}, out / WEIGHTS)


def train(
    out: Path,
    network: dict[str, Any],
    batch_size: int,
    labels: int | None,
    epochs: int,
    start: Start,
    seed: int,
    data: Path,
    learning_rate: float | None = None,
    tried: tuple[Path, ...] = (),
    pretrained: Path | None = None,
) -> None:
    """Train a network with labels and write the :class:`Training`.

    Args:
        out: an empty folder.
        network: settings of its stack.
        batch_size: labelled items a step.
        labels: how many are learned from, as many of each class; None for all.
        epochs: passes over the labelled items.
        start: which weights it starts from.
        seed: of the labels that are taken, the random weights and the order of the items.
        data: the prepared dataset, with classes.
        learning_rate: None takes that of the training in `tried` whose validation error is lowest.
        tried: folders of trainings with different learning rates.
        pretrained: the folder of a stack, where the start is `pretrained`.
    """
    dataset = open_dataset(data)
    rate = learning_rate if learning_rate is not None else best(read_trainings(tried)).learning_rate
    stack = StackSettings.model_validate(network).build(dataset.schema.item, seed)
    if pretrained is not None:
        stack.load_state_dict(load_file(pretrained / WEIGHTS))
    classifier = Classifier(stack, len(dataset.schema.classes or ()))
    train_split = _labelled(dataset, "train")
    shown = train_split if labels is None else train_split.balanced(labels, seed)
    cross_entropy = float("nan")
    settings = TrainingSettings(batch_size=batch_size, learning_rate=rate)
    for epoch in fine_tune(classifier, settings, shown, epochs, seed):
        cross_entropy = epoch.metrics["validation_loss"]
    training = Training(
        labels=labels,
        start=start,
        seed=seed,
        learning_rate=rate,
        validation=classifier.wrong(_labelled(dataset, "validation")),
        test=classifier.wrong(_labelled(dataset, "test")),
        cross_entropy=cross_entropy,
    )
    (out / RESULT).write_text(training.model_dump_json())


def read_trainings(folders: tuple[Path, ...]) -> list[Training]:
    """Return the trainings in the folders of finished parts."""
    return [Training.model_validate_json((folder / RESULT).read_bytes()) for folder in folders]


def best(trainings: list[Training]) -> Training:
    """Return the training of the lowest validation error, the first of several."""
    return min(trainings, key=lambda training: training.validation)


def _labelled(data: PreparedDataset, split: SplitName) -> Labelled:
    return Labelled(data.array(split), data.array(split, "labels"))
