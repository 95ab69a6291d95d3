"""One bundle on one dataset's test items: what metrics are computed from, each part of it computed once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from components.batches import RawItems
from components.codebook_use import code_counts
from components.data.contract import PreparedDataset
from components.data.schema import SplitName
from items.code import CodeSpec
from items.sparse import SparseRows
from items.spec import ItemSpec
from pipelines.metrics import item_metrics
from pipelines.metrics.topics import Ranked, rank
from pipelines.project import StageError
from serving.bundle import Bundle

Array = npt.NDArray[Any]

PROBED = 20_000  # training items that the probe learns from: more move its accuracy by less than its interval


class EvaluationContext:
    """Codes, rebuilt items and features of the test items, through ONNX Runtime, at their first use.

    Attributes:
        bundle: the bundle that is evaluated.
        dataset: a prepared dataset of its items.
    """

    def __init__(self, bundle: Bundle, dataset: PreparedDataset) -> None:
        self.bundle = bundle
        self.dataset = dataset

    @property
    def item(self) -> ItemSpec:
        """The raw items."""
        return self.dataset.schema.item

    @property
    def code(self) -> CodeSpec:
        """The codes."""
        return self.bundle.manifest.code

    @property
    def discrete(self) -> bool:
        """Whether codes are integers."""
        return self.code.levels is not None

    @property
    def rebuilds_items(self) -> bool:
        """Whether items can be rebuilt from codes."""
        return self.bundle.manifest.decoder is not None and self.bundle.manifest.rebuilds == "items"

    @property
    def rebuilds_chances(self) -> bool:
        """Whether the chances of words can be, from codes of texts."""
        return self.bundle.manifest.decoder is not None and self.bundle.manifest.rebuilds == "chances"

    @cached_property
    def classified(self) -> bool:
        """Whether there are classes to be learned: two at least among the items that a probe learns from."""
        labels = self.dataset.labels("train")
        return labels is not None and len(np.unique(labels[:PROBED])) > 1

    @cached_property
    def items(self) -> RawItems:
        """Raw test items, (n, *item.shape)."""
        return self.dataset.items("test")

    @cached_property
    def scaled(self) -> Array:
        """Test items in the scale that models rebuild, (n, *item.shape) float32."""
        return self.item.scaled(self.items[:])

    @cached_property
    def codes(self) -> Array:
        """Codes of the test items, (n, *code.shape)."""
        return self.bundle.encode(self.items)

    @cached_property
    def rebuilt(self) -> Array:
        """Test items rebuilt from their codes, (n, *item.shape) float32; only where the bundle decodes."""
        return self.bundle.decode(self.codes)

    @cached_property
    def squared_errors(self) -> Array:
        """Squared errors of the rebuilt items, each summed over the item's values, (n,)."""
        return item_metrics.squared_errors(self.scaled, self.rebuilt)

    @cached_property
    def surprisals(self) -> Array:
        """Nats of each test text under the chances that its code stands for, summed over its words, (n,)."""
        return item_metrics.surprisals(self.items[:], self.rebuilt)

    @cached_property
    def error(self) -> tuple[Array, float] | None:
        """The error of each rebuilt item, (n,), and the mean error if the mean of all items stood for each.

        None where nothing is rebuilt.
        """
        if self.rebuilds_items:
            return self.squared_errors, item_metrics.squared_error_of_the_mean(self.scaled)
        if self.rebuilds_chances:
            counts = self.items[:]
            shares = (counts.sum(0, keepdims=True) + 1) / (counts.sum() + counts.shape[1])
            return self.surprisals, float(item_metrics.surprisals(counts, shares).mean())
        return None

    @cached_property
    def features(self) -> Array:
        """Features of the test items, (n, dimensions) float32: real codes, or the vectors of discrete ones."""
        return self.bundle.embed(self.items) if self.discrete else self.codes.reshape(len(self.codes), -1)

    @cached_property
    def train_features(self) -> Array:
        """Features of the training items, (training items, dimensions) float32."""
        return self.bundle.embed(self.dataset.items("train"))

    def features_of_first(self, count: int) -> Array:
        """Return the features of the first `count` training items; no others are encoded for that."""
        if "train_features" in vars(self):
            return self.train_features[:count]
        items = self.dataset.items("train")
        chosen = np.arange(min(count, len(items)))
        return self.bundle.embed(items.take(chosen) if isinstance(items, SparseRows) else items[: len(chosen)])

    @property
    def has_topics(self) -> bool:
        """Whether an item may be of any number of classes."""
        topics = self.dataset.topics("test")
        return topics is not None and bool(len(topics.indices))

    def topics_of(self, split: SplitName) -> SparseRows:
        """Return 1 where an item is of a class, (items, classes).

        Raises:
            StageError: the dataset has no topics.
        """
        topics = self.dataset.topics(split)
        if topics is None:
            raise StageError(f"dataset {self.dataset.schema.name}: has no topics")
        return topics

    @cached_property
    def ranked(self) -> Ranked:
        """How well training items are ranked for each test item by their codes."""
        topics = self.topics_of("train"), self.topics_of("test")
        return rank(self.train_features, topics[0], self.features, topics[1])

    def class_of(self, split: SplitName) -> Array:
        """Return the class index of each item of a split, (items,).

        Raises:
            StageError: the dataset has no classes.
        """
        labels = self.dataset.labels(split)
        if labels is None:
            raise StageError(f"dataset {self.dataset.schema.name}: has no classes")
        return labels

    @cached_property
    def code_counts(self) -> Array:
        """How often the test items use each vector of each codebook, (codebooks, vectors); only of discrete codes.

        Each variable of a categorical code and each bit is a codebook of its own.
        """
        return code_counts(self.codes, self.code.levels or 1, self.code.alphabets)

    @cached_property
    def position_entropies(self) -> Array:
        """The entropy in bits of each element of the codes, (elements,); only of discrete codes."""
        return item_metrics.position_entropies(self.codes)
