"""Two starts for the same network: pretrained layers and random weights, fine-tuned with the same labels."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from components.classifier import Classifier, Labelled, fine_tune
from components.data import PreparedDataset
from components.data.schema import SplitName
from components.models.contract import TrainingRun
from components.pretraining import Stack, pretrain
from pipelines.studies.settings import FineTuningBudget, PretrainingBudget, PretrainingSettings

Start = Literal["pretrained", "random"]

STARTS: tuple[Start, ...] = ("pretrained", "random")
WORDS: dict[Start, str] = {"pretrained": "pretrained layers", "random": "random weights"}
HELD_OUT: tuple[SplitName, SplitName] = ("validation", "test")
EVERY = 5.0  # seconds between two lines of one training


@dataclass(frozen=True)
class Learnt:
    """One training: shares of wrong items on both held-out splits, and the cross-entropy that was left, in nats."""

    validation: float
    test: float
    cross_entropy: float


@dataclass(frozen=True)
class Outcome:
    """What one start came to with one number of labels.

    Attributes:
        learning_rate: chosen by the validation split, on the first seed.
        errors: on the test split, % of its items, a figure a seed.
        cross_entropies: on the labelled items at the end, in nats, a figure a seed.
    """

    learning_rate: float
    errors: tuple[float, ...]
    cross_entropies: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """Both starts with one number of labels, seed for seed with the same labels."""

    labels: int
    outcomes: dict[Start, Outcome]

    @property
    def gains(self) -> list[float]:
        """How many points fewer of error the pretrained start has, a figure a seed."""
        pairs = zip(self.outcomes["random"].errors, self.outcomes["pretrained"].errors, strict=True)
        return [random - pretrained for random, pretrained in pairs]


def pretrained_stacks(
    settings: PretrainingSettings, budget: PretrainingBudget, data: PreparedDataset, seed: int
) -> Iterator[Stack]:
    """Pretrain `budget.stacks` stacks on the training split, without its labels."""
    train, validation = data.array("train"), data.array("validation")
    for number in range(budget.stacks):
        stack = settings.build(data.schema.item, seed + number)
        for step in pretrain(stack, TrainingRun(train, validation, budget.epochs, seed + number)):
            figure = step.epoch.metrics["validation_loss"]
            say(
                f"stack {number + 1}/{budget.stacks}  layer {step.layer}/{len(settings.layers)}  "
                f"epoch {step.epoch.number}/{budget.epochs}  validation loss {figure:.4g}"
            )
        yield stack.cpu()


@dataclass(frozen=True)
class Contest:
    """Both starts, trained with the same labels.

    Attributes:
        settings: of the network and of fine-tuning.
        data: with classes.
        stacks: pretrained; seeds take turns with them.
        seed: the first.
    """

    settings: PretrainingSettings
    data: PreparedDataset
    stacks: list[Stack]
    seed: int

    def row(self, line: FineTuningBudget) -> Row:
        """Train from both starts with one number of labels."""
        labels = line.labels or self.data.count("train")
        return Row(labels, {start: self.outcome(line, start) for start in STARTS})

    def outcome(self, line: FineTuningBudget, start: Start) -> Outcome:
        """Choose the learning rate on the first seed by the validation split, then train the other seeds with it."""
        rates = self.settings.fine_tuning.learning_rates
        tried = {rate: self.learn(line, start, 0, rate) for rate in rates}
        chosen = min(rates, key=lambda rate: tried[rate].validation)
        learnt = [tried[chosen], *(self.learn(line, start, number, chosen) for number in range(1, line.seeds))]
        return Outcome(chosen, tuple(100 * one.test for one in learnt), tuple(one.cross_entropy for one in learnt))

    def learn(self, line: FineTuningBudget, start: Start, number: int, rate: float) -> Learnt:
        """Train once, the `number`-th of `line.seeds`."""
        seed = self.seed + number
        shown = self.labelled("train") if line.labels is None else self.labelled("train").balanced(line.labels, seed)
        classifier = Classifier(self.stack(start, number), len(self.data.schema.classes or ()))
        name = f"{len(shown)} labels  {WORDS[start]}  seed {number + 1}/{line.seeds}  learning rate {rate:g}"
        printed, cross_entropy = time.monotonic(), float("nan")
        for report in fine_tune(classifier, self.settings.fine_tuning.at(rate), shown, line.epochs, seed):
            cross_entropy = report.metrics["validation_loss"]
            if time.monotonic() - printed > EVERY:
                printed = time.monotonic()
                say(f"{name}  cross-entropy {report.metrics['train_loss']:.3g}")
        validation, test = (classifier.wrong(self.labelled(split)) for split in HELD_OUT)
        say(f"{name}  validation error {validation:.2%}")
        return Learnt(validation, test, cross_entropy)

    def stack(self, start: Start, number: int) -> Stack:
        """Return a stack to fine-tune: its pretrained layers, or random weights of the seed's own."""
        if start == "pretrained":
            return copy.deepcopy(self.stacks[number % len(self.stacks)])
        return self.settings.build(self.data.schema.item, self.seed + number)

    def labelled(self, split: SplitName) -> Labelled:
        """Return a split with its labels."""
        return Labelled(self.data.array(split), self.data.array(split, "labels"))


def say(text: str) -> None:
    """Print a line of progress."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
