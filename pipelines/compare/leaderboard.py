"""The experiments of one dataset side by side: every metric of each, and which are best in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from pipelines.compare.experiments import FAMILIES, ExperimentResult, Family
from pipelines.metrics.significance import differs
from pipelines.metrics.table import METRICS, Metric

Mark = Literal["best", "near", ""]
Row = dict[str, str | float | None]


@dataclass(frozen=True)
class Best:
    """The best experiment in a metric, and those that are not significantly different from it, by their values."""

    metric: Metric
    result: ExperimentResult
    near: tuple[ExperimentResult, ...]


@dataclass(frozen=True)
class Cell:
    """One value as text, with its interval below it, or the worst of the values that it is the mean of.

    It is marked `best` where it is significantly better than all others, and `near` where it is the best, or is not
    significantly different from the best.
    """

    text: str
    below: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class Table:
    """Metrics as columns, and for each experiment a cell for each of them."""

    metrics: tuple[Metric, ...]
    lines: tuple[tuple[ExperimentResult, tuple[Cell, ...]], ...]

    @property
    def families(self) -> dict[Family, list[tuple[ExperimentResult, tuple[Cell, ...]]]]:
        """The lines by family; they must be sorted so."""
        return {family: list(lines) for family, lines in groupby(self.lines, key=lambda line: line[0].family)}


def leaderboard(results: Sequence[ExperimentResult]) -> Table:
    """Return all metrics of the evaluation, with the best marked; the experiments in the order given."""
    metrics = tuple(m for m in found(results) if m.column and m.source == "evaluation")
    best = {one.metric.key: one for one in best_by_metric(results)}
    return Table(metrics, tuple((r, tuple(cell(r, m, best.get(m.key)) for m in metrics)) for r in results))


def costs(results: Sequence[ExperimentResult]) -> Table:
    """Return what a code, its training and encoding cost, by family, then by bits. Timings have no best."""
    metrics = tuple(m for m in found(results) if m.column and (m.key == "bits_per_item" or m.source != "evaluation"))
    ordered = sorted(results, key=lambda r: (FAMILIES.index(r.family), r.bits, r.name))
    return Table(metrics, tuple((r, tuple(cell(r, m, None) for m in metrics)) for r in ordered))


def found(results: Sequence[ExperimentResult]) -> list[Metric]:
    """Return the metrics that any of the experiments has."""
    return [metric for metric in METRICS if any(result.value(metric.key) is not None for result in results)]


def best_by_metric(results: Sequence[ExperimentResult]) -> list[Best]:
    """Return the best in each metric that ranks at least two experiments. Collapsed ones are left out."""
    sound = [result for result in results if not result.collapsed]
    ranked = [(metric, by_value(sound, metric)) for metric in METRICS if metric.ranked and metric.column]
    return [
        Best(metric, first, tuple(other for other in rest if not significant(first, other, metric)))
        for metric, (first, *rest) in ((metric, order) for metric, order in ranked if len(order) > 1)
    ]


def by_value(results: Sequence[ExperimentResult], metric: Metric) -> list[ExperimentResult]:
    """Return those that have a metric, the best first."""
    sign = -1.0 if metric.better == "higher" else 1.0
    known = [(sign * value, result) for result in results if (value := result.value(metric.key)) is not None]
    return [result for _, result in sorted(known, key=lambda pair: (pair[0], pair[1].name))]


def significant(one: ExperimentResult, other: ExperimentResult, metric: Metric) -> bool:
    """Return whether two experiments differ significantly in a metric; an exact metric, whether they differ."""
    if metric.exact:
        return one.value(metric.key) != other.value(metric.key)
    return differs(one.values[metric.key], other.values[metric.key]) != 0


def cell(result: ExperimentResult, metric: Metric, best: Best | None) -> Cell:
    """Return an experiment's value of a metric as text, marked where it may be the best."""
    value, interval = result.value(metric.key), result.interval(metric.key)
    if value is None:
        return Cell("–")
    worst = result.value(metric.worst) if metric.worst else None
    below = metric.interval_text(interval) if interval else ""
    if worst is not None:
        below = f"worst {metric.text(worst).removesuffix('%')}"
    mark: Mark = ""
    if best is not None and result in (best.result, *best.near):
        mark = "near" if best.near else "best"
    return Cell(metric.text(value).removesuffix("%"), below, mark)


def row(result: ExperimentResult) -> Row:
    """Return an experiment's row of leaderboard.json: every metric, and the interval of those that have one."""
    values: Row = {}
    for metric in METRICS:
        values[metric.key] = result.value(metric.key)
        if metric.per_item:
            values[f"{metric.key}_low"], values[f"{metric.key}_high"] = result.interval(metric.key) or (None, None)
    return {
        "dataset": result.dataset,
        "experiment": result.name,
        **result.kinds,
        **values,
        "collapsed": result.collapsed or None,
        "trials": len(result.record.trials),
    }
