"""A stack of layers with a softmax layer on top, trained with labels.

Fine-tuning as in Bengio et al., NIPS 2006: the gradient of the supervised loss goes through all layers, whether they
were pretrained or drawn at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.batches import as_tensor
from components.contract import Epoch, Model, TrainingRun
from components.pretraining import Stack
from components.state import State
from components.training import TrainingSettings, descend
from items.code import CodeSpec

Array = np.ndarray[Any, np.dtype[Any]]

CHUNK = 2048
REPORTS = 5  # at most, of one fine-tuning


@dataclass(frozen=True)
class Labelled:
    """Raw items (n, *item.shape) and their classes (n,), integers from 0."""

    items: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)

    def balanced(self, count: int, seed: int) -> Labelled:
        """Return `count` items drawn without replacement, of each class as many as of the others or one more."""
        random = np.random.default_rng(seed)
        shuffled = random.permutation(len(self))
        places = np.empty(len(self), np.int64)  # of an item among those of its class
        for members in (np.flatnonzero(self.labels[shuffled] == label) for label in np.unique(self.labels)):
            places[members] = np.arange(len(members))
        rows = np.sort(shuffled[np.argsort(places, kind="stable")[:count]])
        return Labelled(self.items[rows], self.labels[rows])


class Classifier(nn.Module):
    """Raw items → stack → one linear layer → logits."""

    def __init__(self, stack: Stack, classes: int) -> None:
        super().__init__()
        self.stack = stack
        self.top = nn.Linear(stack.width, classes)
        # Zeros, as for logistic regression: before the first label no class is preferred.
        nn.init.zeros_(self.top.weight)
        nn.init.zeros_(self.top.bias)

    def forward(self, items: Tensor) -> Tensor:
        """Return the logits (batch, classes) of raw items (batch, *item.shape)."""
        logits: Tensor = self.top(self.stack(items))
        return logits

    @torch.no_grad()
    def wrong(self, held_out: Labelled) -> float:
        """Return the share of items whose class is not the likeliest by the logits."""
        self.eval()
        device = self.top.weight.device
        pairs = zip(*(torch.split(as_tensor(a), CHUNK) for a in (held_out.items, held_out.labels)), strict=True)
        wrong = sum(int((self(items.to(device)).argmax(1).cpu() != labels).sum()) for items, labels in pairs)
        return wrong / len(held_out)


def fine_tune(
    classifier: Classifier, settings: TrainingSettings, labelled: Labelled, epochs: int, seed: int
) -> Iterator[Epoch]:
    """Train a classifier in place by the cross-entropy, `epochs` times over the labelled items.

    Yields:
        At most REPORTS times, for an epoch of a hundred items takes milliseconds: `train_cross_entropy` of the steps
        since the last report, and `validation_cross_entropy` of the labelled items (the first CHUNK of them) as it is
        left, both in nats.
    """
    reports = max(divisor for divisor in range(1, REPORTS + 1) if epochs % divisor == 0)
    rows = np.tile(np.arange(len(labelled)), epochs // reports)
    sample = np.arange(len(labelled))[:CHUNK]
    yield from Lesson(classifier, settings, labelled).fit(TrainingRun(rows, sample, reports, seed))


class Lesson(Model):
    """A classifier and what it learns from, as the training loop wants it: a model of items, here of row numbers.

    The loop knows no labels, so what it shuffles and cuts into batches are the rows of the labelled items.
    """

    def __init__(self, classifier: Classifier, settings: TrainingSettings, labelled: Labelled) -> None:
        super().__init__()
        self.item, self.code = classifier.stack.item, CodeSpec(shape=(classifier.top.out_features,), levels=None)
        self.classifier, self.settings = classifier, settings
        self.register_buffer("items", as_tensor(labelled.items), persistent=False)
        self.register_buffer("labels", as_tensor(labelled.labels).long(), persistent=False)

    items: Tensor
    labels: Tensor

    def fit(self, run: TrainingRun, resume: State | None = None) -> Iterator[Epoch]:
        """See :class:`Model`; the run's items are row numbers, (n,) int64."""
        return descend(self, self.settings, run, resume)

    def losses(self, items: Tensor) -> dict[str, Tensor]:
        """Return the mean cross-entropy of rows (batch,), in nats."""
        return {"cross_entropy": F.cross_entropy(self.encode(items).float(), self.labels[items])}

    def encode(self, items: Tensor) -> Tensor:
        """Return the logits (batch, classes) of rows (batch,)."""
        logits: Tensor = self.classifier(self.items[items])
        return logits
