"""The metrics: what each is called, how it is computed, what it means, and which way is better.

All stages take them from here. A new metric is a row of :data:`METRICS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from components.codebook_use import entropies
from pipelines.metrics import item_metrics
from pipelines.metrics.classes import knn_correct, probe_correct
from pipelines.metrics.collapse import distinct_codes
from pipelines.metrics.context import PROBED, Array, EvaluationContext
from pipelines.metrics.similarity import SIDE, ssims
from pipelines.metrics.topics import CUTS, macro

FOUR_DIGITS = "four significant digits"

Compute = Callable[[EvaluationContext], float | Array]
Applies = Callable[[EvaluationContext], bool]


@dataclass(frozen=True)
class Metric:
    """A metric of an experiment.

    Attributes:
        key: its name in files and in MLflow.
        title, unit: its column's head.
        better: which way is better; empty where neither is.
        meaning: one or two sentences for a newcomer.
        format: how a value is written: a format specification, or :data:`FOUR_DIGITS`.
        compute: computes it, or its value of each test item (n,); None where it is no result of the evaluation.
        applies: whether it can be computed.
        per_item: whether it is a mean over test items, whose values are kept. Only then has it an interval.
        exact: whether it is no estimate, so that any difference counts.
        source: the evaluation, the timing of the encoder, or the run record, which has an attribute of its key.
        column: whether the report's leaderboard has a column of it.
        worst: the key of the metric that is the worst of the values that this one is the mean of; empty without one.
    """

    key: str
    title: str
    unit: str
    better: Literal["lower", "higher", ""]
    meaning: str
    format: str
    compute: Compute | None = None
    applies: Applies = lambda _: True
    per_item: bool = False
    exact: bool = False
    source: Literal["evaluation", "throughput", "record"] = "evaluation"
    column: bool = True
    worst: str = ""

    @property
    def ranked(self) -> bool:
        """Whether experiments can be ranked by it: one way is better, and a difference can be significant."""
        return bool(self.better) and (self.per_item or self.exact)

    def text(self, value: float) -> str:
        """Return a value as it is shown."""
        if self.format != FOUR_DIGITS:
            return f"{value:{self.format}}"
        decimals = 3 - math.floor(math.log10(abs(value))) if value else 3
        return f"{value:,.{min(max(decimals, 0), 9)}f}"

    def interval_text(self, interval: tuple[float, float]) -> str:
        """Return an interval as it is shown: `97.15–97.76`."""
        return "–".join(self.text(end).removesuffix("%") for end in interval)


def _rebuilds_items(context: EvaluationContext) -> bool:
    return context.rebuilds_items


def _rebuilds_chances(context: EvaluationContext) -> bool:
    return context.rebuilds_chances


def _has_peak(context: EvaluationContext) -> bool:
    return context.rebuilds_items and context.item.peak is not None


def _fits_ssim(context: EvaluationContext) -> bool:
    return context.rebuilds_items and min(context.item.grid or (0,)) >= SIDE


def _classified(context: EvaluationContext) -> bool:
    return context.classified


def _has_topics(context: EvaluationContext) -> bool:
    return context.has_topics


def _discrete(context: EvaluationContext) -> bool:
    return context.discrete


def _knn(context: EvaluationContext) -> Array:
    return knn_correct(context.train_features, context.class_of("train"), context.features, context.class_of("test"))


def _probe(context: EvaluationContext) -> Array:
    train, classes = context.train_features[:PROBED], context.class_of("train")[:PROBED]
    return probe_correct(train, classes, context.features, context.class_of("test"))


def _precision_at(cut: int) -> Compute:
    return lambda context: context.ranked.precisions[cut]


def _usages(context: EvaluationContext) -> Array:
    return np.asarray((context.code_counts > 0).mean(1))


def _perplexities(context: EvaluationContext) -> Array:
    return np.asarray(2.0 ** entropies(context.code_counts))


METRICS: tuple[Metric, ...] = (
    Metric("bits_per_item", "Bits", "per item", "lower",
           "What the code of an item takes to store or send: 32 bits for each real number, and for discrete codes the "
           "logarithm to base 2 of the choices, summed over the code. It is exact, so it has no interval.",
           ",.0f", lambda c: c.code.bits_per_item, exact=True),
    Metric("squared_error", "Squared error", "per item", "lower",
           "The squared difference between an item and what was rebuilt from its code, summed over the item's values "
           "and averaged over the test items. Pixels are scaled to 0–1.",
           FOUR_DIGITS, lambda c: c.squared_errors, _rebuilds_items, per_item=True),
    Metric("mse", "Mean squared error", "per value", "lower",
           "The squared error divided by the number of values of an item.",
           FOUR_DIGITS, lambda c: c.squared_errors / c.item.values, _rebuilds_items, per_item=True, column=False),
    Metric("psnr", "PSNR", "dB", "higher",
           "Peak signal-to-noise ratio: the squared error of a value on a logarithmic scale. 3 dB more is half the "
           "error.",
           ".2f", lambda c: item_metrics.psnrs(c.squared_errors / c.item.values), _has_peak, per_item=True),
    Metric("ssim", "SSIM", "0–1", "higher",
           "Structural similarity: how similar the local patterns of light and contrast are. 1 is identical.",
           ".3f", lambda c: ssims(c.scaled, c.rebuilt), _fits_ssim, per_item=True),
    Metric("surprisal", "Surprisal", "nats per item", "lower",
           "The cross-entropy of a text under the chances of words that its code stands for, summed over its words.",
           FOUR_DIGITS, lambda c: c.surprisals, _rebuilds_chances, per_item=True),
    Metric("word_perplexity", "Word perplexity", "words", "lower",
           "Among how many equally likely words the code leaves the choice, for each word of the test texts: the "
           "exponential of all surprisals divided by all words.",
           ",.1f", lambda c: np.exp(c.surprisals.sum() / c.items[:].sum()), _rebuilds_chances),
    Metric("knn_accuracy", "k-NN", "% right", "higher",
           "Test items whose class the majority of the five nearest training codes has. No model saw a class in "
           "training.",
           ".2%", _knn, _classified, per_item=True),
    Metric("probe_accuracy", "Probe", "% right", "higher",
           "Test items whose class a linear classifier finds from the code alone.",
           ".2%", _probe, _classified, per_item=True),
    *(
        Metric(f"precision_at_{cut}", f"P@{cut}", "% right", "higher",
               f"Of the {cut} training items whose codes are nearest to a test item's by their cosine, those that "
               "share a topic with it; of an item without a topic, none. No model saw a topic in training.",
               ".1%", _precision_at(cut), _has_topics, per_item=True, column=cut == 10)
        for cut in CUTS
    ),
    Metric("macro_precision_at_10", "Macro P@10", "% right", "higher",
           "The same, averaged over the test items of each topic, and then over topics: a rare topic counts as much as "
           "a common one.",
           ".1%", lambda c: macro(c.ranked.precisions[10], c.topics_of("test")), _has_topics),
    Metric("mean_average_precision", "MAP", "%", "higher",
           "Mean average precision: for each training item that shares a topic, the share of such items among those "
           "ranked up to it.",
           ".1%", lambda c: c.ranked.average_precisions, _has_topics, per_item=True),
    Metric("codebook_usage", "Codebook used", "%", "higher",
           "Codebook vectors that the test items use at all. Only discrete codes have codebooks. Each stage of a "
           "residual quantizer, each variable and each bit is one of its own. The value is their mean, the one below "
           "it is the worst.",
           ".1%", lambda c: _usages(c).mean(), _discrete, worst="codebook_usage_worst"),
    Metric("codebook_usage_worst", "Worst codebook used", "%", "higher",
           "Vectors that the test items use of the codebook of which they use the fewest.",
           ".1%", lambda c: _usages(c).min(), _discrete, column=False),
    Metric("codebook_perplexity", "Perplexity", "vectors", "higher",
           "How many vectors of a codebook, all used equally often, would carry as much as those in use. The value is "
           "the mean over codebooks, the one below it is the worst.",
           ",.1f", lambda c: _perplexities(c).mean(), _discrete, worst="codebook_perplexity_worst"),
    Metric("codebook_perplexity_worst", "Worst perplexity", "vectors", "higher",
           "The lowest perplexity of a codebook.",
           ",.1f", lambda c: _perplexities(c).min(), _discrete, column=False),
    Metric("distinct_codes", "Distinct codes", "of the test items", "",
           "How many different codes the test items have. Items with the same code cannot be distinguished.",
           ",.0f", lambda c: distinct_codes(c.codes, c.code), _discrete),
    Metric("distinct_code_share", "Share of distinct codes", "%", "",
           "Distinct codes, divided by the number of test items.",
           ".1%", lambda c: distinct_codes(c.codes, c.code) / len(c.codes), _discrete, column=False),
    Metric("entropy_per_item", "Entropy", "bits per item", "",
           "What a code would take if each of its elements were coded by its own frequencies on the test items, "
           "summed: fewer bits than above where some values are more frequent than others. Elements that depend on "
           "each other could be coded in less. The tables of frequencies are not counted.",
           ",.1f", lambda c: c.position_entropies.sum(), _discrete),
    Metric("entropy_per_position", "Entropy of an element", "bits", "",
           "The entropy of a code divided by its elements.",
           ",.2f", lambda c: c.position_entropies.mean(), _discrete, column=False),
    Metric("active_fraction", "Active", "% of units", "",
           "Units of the code that an item activates: above a tenth of the largest value that the unit takes. A sparse "
           "code has few.",
           ".1%", lambda c: item_metrics.active_fractions(c.codes), lambda c: not c.discrete, per_item=True),
    Metric("encode_items_per_second", "Encoding", "items/s", "higher",
           "Items encoded in a second by ONNX Runtime, in memory, on the machine that evaluated. It is one timing "
           "without an interval, so no best is marked.",
           ",.0f", source="throughput"),
    Metric("parameters", "Parameters", "trained", "", "Numbers that training set.", ",.0f", source="record"),
    Metric("trial_seconds", "Training", "s, whole sweep", "",
           "Seconds that all trials of the sweep took, summed.",
           ",.1f", source="record"),
)  # fmt: skip
METRIC: dict[str, Metric] = {metric.key: metric for metric in METRICS}
