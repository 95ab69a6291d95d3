"""What may be said of experiments side by side, in figures and in words.

Two experiments are called apart in a figure only where their 95 % intervals do not overlap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup

if TYPE_CHECKING:
    from pipelines.compare.experiments import Entry

NAMED = 3  # of those not apart from the best, in a sentence; the leaderboard marks them all
SIGNIFICANT = "four significant digits"


@dataclass(frozen=True)
class Column:
    """A figure of the leaderboard and what it tells a newcomer.

    `better` is empty where neither side is. `worst` is the key of the lowest of the values that the figure is the mean
    of, where that is measured.
    """

    key: str
    title: str
    unit: str
    better: Literal["lower", "higher", ""]
    meaning: str
    style: str
    worst: str = ""

    @property
    def marked(self) -> bool:
        """Whether the best is marked: only where figures are exact, or means over items with intervals."""
        return self.key in ("bits_per_item", "squared_error", "psnr", "ssim", "knn_accuracy", "probe_accuracy")


COLUMNS = (
    Column("bits_per_item", "Bits", "per item", "lower",
           "What one item's code takes to store or send: 32 bits for each real number, and for discrete codes the "
           "logarithm to base 2 of the choices, summed over the code. It is exact, so it has no interval.", ",.0f"),
    Column("squared_error", "Squared error", "per item", "lower",
           "The squared difference between an item and what was rebuilt from its code, summed over the item's values "
           "and averaged over the test items. Pixels are scaled to 0–1.", SIGNIFICANT),
    Column("psnr", "PSNR", "dB", "higher",
           "Peak signal-to-noise ratio: the squared error a pixel on a logarithmic scale. 3 dB more is half the error.",
           ".2f"),
    Column("ssim", "SSIM", "0–1", "higher",
           "Structural similarity: how alike local patterns of light and contrast are; 1 is identical.", ".3f"),
    Column("knn_accuracy", "k-NN", "% right", "higher",
           "Test items whose class the five nearest training codes tell. No model saw a class in training.", ".2%"),
    Column("probe_accuracy", "Probe", "% right", "higher",
           "Test items whose class a linear classifier tells from the code alone.", ".2%"),
    Column("codebook_usage", "Codebook used", "%", "higher",
           "Codebook entries that the test items use at all. Only discrete codes have codebooks; each stage of a "
           "residual quantizer, each variable and each bit is one of its own. The figure is their mean, below it is "
           "the worst.", ".1%", "codebook_usage_worst"),
    Column("codebook_perplexity", "Perplexity", "entries", "higher",
           "How many entries of a codebook, if all were used evenly, would carry as much as the ones in use. The mean "
           "over codebooks, below it the worst.", ",.1f", "codebook_perplexity_worst"),
    Column("distinct_codes", "Distinct codes", "of the test items", "",
           "How many different codes the test items have. Items with the same code cannot be distinguished.", ",.0f"),
    Column("entropy_per_item", "Entropy", "bits per item", "",
           "What a code would take if each of its elements were coded by its own frequencies on the test items, "
           "summed: fewer bits than the price where entries are used unevenly. Elements that depend on each other "
           "could be coded in less; the tables of frequencies are not counted.", ",.1f"),
    Column("active_fraction", "Active", "% of units", "",
           "Units of the code that an item activates, above a tenth of the largest value that the unit takes. A sparse "
           "code has few.", ".1%"),
    Column("encode_items_per_second", "Encoding", "items/s", "higher",
           "Items encoded in a second by ONNX Runtime, in memory, on the machine that evaluated. One timing without an "
           "interval, so no best is marked.", ",.0f"),
    Column("parameters", "Parameters", "trained", "", "Numbers that training set.", ",.0f"),
    Column("trial_seconds", "Training", "s, whole sweep", "",
           "Seconds that all trials of the sweep took, summed.", ",.1f"),
)  # fmt: skip
COLUMN = {column.key: column for column in COLUMNS}


@dataclass(frozen=True)
class Standing:
    """Who leads in a figure: the best, those that its interval does not tell it apart from, and the next by mean."""

    best: Entry
    near: tuple[Entry, ...]
    runner_up: Entry | None


def value(entry: Entry, key: str) -> float | None:
    """Return any of the leaderboard's figures of an experiment; None where it was not measured."""
    if key in ("parameters", "trial_seconds"):
        return float(getattr(entry.record, key))
    return entry.figure(key)


def standing(entries: Sequence[Entry], key: str) -> Standing | None:
    """Return who leads in a figure; None where nobody was measured."""
    sign = -1.0 if COLUMN[key].better == "higher" else 1.0
    measured = [(sign * figure, entry) for entry in entries if (figure := value(entry, key)) is not None]
    if not measured:
        return None
    best, *rest = [entry for _, entry in sorted(measured, key=lambda pair: (pair[0], pair[1].name))]
    return Standing(best, tuple(e for e in rest if not apart(best, e, key)), rest[0] if rest else None)


def apart(one: Entry, other: Entry, key: str) -> bool:
    """Return whether two experiments' intervals of a figure do not overlap; exact figures are apart if they differ."""
    if key == "bits_per_item":
        return value(one, key) != value(other, key)
    first, second = one.interval(key), other.interval(key)
    if first is None or second is None:
        return False
    return first[1] < second[0] or second[1] < first[0]


def findings(entries: Sequence[Entry]) -> Iterator[Markup]:
    """Yield what a dataset's figures say, one sentence or two each, and no more than their intervals allow."""
    error = standing(entries, "squared_error")
    if error is not None:
        best = error.best
        yield Markup("{} rebuilds items with the lowest squared error, {}, for {}. {}").format(
            link(best), spoken(best, "squared_error"), price(best), hedge(error, "squared_error")
        )
        yield from price_finding(entries, best)
    for key, how in (("knn_accuracy", "their nearest neighbours"), ("probe_accuracy", "a linear probe")):
        if (leader := standing(entries, key)) is not None:
            yield Markup("The codes of {} tell most about an item’s class by {}: {} right. {}").format(
                link(leader.best), how, spoken(leader.best, key), hedge(leader, key)
            )


def price_finding(entries: Sequence[Entry], best: Entry) -> Iterator[Markup]:
    """Yield what the smallest code keeps, beside the one of lowest error; nothing where there is no choice."""
    errors = {entry.name: error for entry in entries if (error := value(entry, "squared_error")) is not None}
    if len(errors) < 2:
        return
    cheap = min(
        (entry for entry in entries if entry.name in errors),
        key=lambda entry: (entry.metrics.bits_per_item, errors[entry.name]),
    )
    if cheap is best:
        yield Markup(
            "No code is smaller than that of {}: here the lowest error is to be had at the lowest price."
        ).format(link(best))
        return
    if not apart(cheap, best, "squared_error"):
        how = Markup("not apart from that of {}").format(link(best))
    elif errors[best.name] > 0:
        how = Markup("{:.2g} times that of {}").format(errors[cheap.name] / errors[best.name], link(best))
    else:
        how = Markup("apart from that of {}").format(link(best))
    alone = sum(entry.metrics.bits_per_item == cheap.metrics.bits_per_item for entry in entries) == 1
    yield Markup("{} has {}, {}. Its squared error is {}, {}.").format(
        link(cheap),
        "the smallest code" if alone else "a code as small as any",
        price(cheap),
        spoken(cheap, "squared_error"),
        how,
    )


def hedge(leader: Standing, key: str) -> Markup:
    """Return in words whether the best is apart from the others."""
    if leader.runner_up is None:
        return Markup("No other experiment has this figure.")
    if not leader.near:
        return Markup("That is apart from every other; the next is {} with {}.").format(
            link(leader.runner_up), spoken(leader.runner_up, key)
        )
    named, more = leader.near[:NAMED], len(leader.near) - NAMED
    names = Markup(", ").join(Markup("{} with {}").format(link(e), spoken(e, key)) for e in named)
    if more > 0:
        names += f" and {more} more"
    return Markup("That is not apart from {}: the intervals overlap, so any of them may be the best.").format(names)


def price(entry: Entry) -> str:
    """Return what a code costs: `441 bits an item, 14 times smaller than the raw item`."""
    bits, raw = entry.metrics.bits_per_item, entry.schema.item.bits
    times = f", {raw / bits:.3g} times smaller than the raw item" if 0 < bits < raw else ""
    return f"{bits:,.10g} bits an item{times}"


def spoken(entry: Entry, key: str) -> str:
    """Return a figure and its interval: `97.47% (97.15–97.76)`; empty where it was not measured."""
    figure, interval, style = value(entry, key), entry.interval(key), COLUMN[key].style
    if figure is None:
        return ""
    return written(figure, style) + (f" ({ends(interval, style)})" if interval else "")


def written(figure: float, style: str) -> str:
    """Return a figure in a column's style: a format, or four significant digits without an exponent."""
    if style != SIGNIFICANT:
        return f"{figure:{style}}"
    decimals = 3 - math.floor(math.log10(abs(figure))) if figure else 3
    return f"{figure:,.{min(max(decimals, 0), 9)}f}"


def ends(interval: tuple[float, float] | None, style: str) -> str:
    """Return an interval's two ends: `97.15–97.76`; empty where there is none."""
    return "–".join(written(end, style).removesuffix("%") for end in interval or ())


def link(entry: Entry) -> Markup:
    """Return an experiment's name, leading to its section."""
    return Markup('<a href="#experiment-{0}">{0}</a>').format(entry.name)
