"""The experiments of a dataset side by side: who is best in a metric, and who is not significantly different."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lab import ITEMS, MLP, PCA, VQVAE, Lab, read

from pipelines.compare.leaderboard import best_by_metric, costs, leaderboard, significant
from pipelines.metrics.table import METRIC

OTHERS: dict[str, Any] = dict.fromkeys(("mse", "psnr", "ssim", "probe_accuracy"))


def best(lab: Lab) -> dict[str, tuple[str, list[str]]]:
    """Return the best and those that are near it, by metric."""
    return {b.metric.key: (b.result.name, [near.name for near in b.near]) for b in best_by_metric(read(lab))}


def marks(lab: Lab) -> dict[str, dict[str, str]]:
    board = leaderboard(read(lab))
    keys = [metric.key for metric in board.metrics]
    return {result.name: dict(zip(keys, (c.mark for c in cells), strict=True)) for result, cells in board.lines}


def test_the_lowest_error_and_the_highest_accuracy_are_best(lab: Lab) -> None:
    lab.experiment("accurate", bits=64, squared_error=(5.0, 0.1), knn_accuracy=(0.99, 0.01), **OTHERS)
    lab.experiment("faithful", bits=32, squared_error=(2.0, 0.1), knn_accuracy=(0.5, 0.1), **OTHERS)
    assert best(lab) == {
        "bits_per_item": ("faithful", []),
        "squared_error": ("faithful", []),
        "knn_accuracy": ("accurate", []),
    }


def test_a_difference_counts_only_where_the_same_items_show_it(lab: Lab) -> None:
    noise = np.random.default_rng(0).normal(size=ITEMS)
    lab.experiment("best", squared_error=5 + noise, **OTHERS)
    lab.experiment("near", squared_error=5.02 + noise[::-1], **OTHERS)  # other items are difficult
    lab.experiment("far", squared_error=5.02 + noise, **OTHERS)  # the same items, each a little worse
    assert best(lab)["squared_error"] == ("best", ["near"])
    results = {result.name: result for result in read(lab)}
    intervals = [results[name].interval("squared_error") for name in ("best", "far")]
    assert intervals[0] is not None
    assert intervals[1] is not None
    assert intervals[0][1] > intervals[1][0]  # they overlap, and still the difference is significant


def test_marks_show_the_best_and_those_that_are_not_significantly_different(lab: Lab) -> None:
    lab.experiment("a", bits=64, squared_error=(3.0, 0.1), knn_accuracy=(0.90, 0.1))
    lab.experiment("b", bits=32, squared_error=(4.0, 0.1), knn_accuracy=np.linspace(1.01, 0.81, ITEMS))
    found = marks(lab)
    assert (found["a"]["squared_error"], found["b"]["squared_error"]) == ("best", "")
    assert (found["a"]["bits_per_item"], found["b"]["bits_per_item"]) == ("", "best")
    assert (found["a"]["knn_accuracy"], found["b"]["knn_accuracy"]) == ("near", "near")
    timings = [cell.mark for _, cells in costs(read(lab)).lines for cell in cells]
    assert set(timings) == {""}
    assert "codebook_usage" not in found["a"]


def test_exact_metrics_differ_wherever_they_are_not_equal(lab: Lab) -> None:
    for name, bits in (("one", 64), ("two", 64), ("large", 64.001)):
        lab.experiment(name, bits=bits)
    results = {result.name: result for result in read(lab)}
    assert not significant(results["one"], results["two"], METRIC["bits_per_item"])
    assert significant(results["one"], results["large"], METRIC["bits_per_item"])
    assert best(lab)["bits_per_item"] == ("one", ["two"])


def test_a_lone_experiment_is_compared_with_nothing(lab: Lab) -> None:
    lab.experiment("alone", model=VQVAE)
    assert best(lab) == {}
    assert set(marks(lab)["alone"].values()) == {""}


def test_what_only_one_has_is_best_in_nothing(lab: Lab) -> None:
    lab.experiment("alone")
    lab.experiment("blind", squared_error=None, **OTHERS)
    assert "squared_error" not in best(lab)


def test_a_collapsed_code_leads_in_nothing_but_is_shown(lab: Lab) -> None:
    lab.experiment("empty", model=VQVAE, bits=16, squared_error=(3.0, 0.1), collapsed=("1 code for 40 items",))
    lab.experiment("large", model=MLP, bits=128)
    lab.experiment("small", model=MLP, bits=64, squared_error=(5.0, 0.1))
    found = marks(lab)
    assert set(found["empty"].values()) == {""}
    assert found["small"]["bits_per_item"] == found["large"]["squared_error"] == "best"


def test_values_are_shown_with_their_intervals_or_the_worst_of_their_parts(lab: Lab) -> None:
    lab.experiment("vq", model=VQVAE, squared_error=np.full(ITEMS, 4.0), knn_accuracy=np.full(ITEMS, 0.5))
    board = leaderboard(read(lab))
    ((_, cells),) = board.lines
    shown = {metric.key: (cell.text, cell.below) for metric, cell in zip(board.metrics, cells, strict=True)}
    assert shown["squared_error"] == ("4.000", "4.000–4.000")
    assert shown["knn_accuracy"] == ("50.00", "50.00–50.00")
    assert shown["codebook_usage"] == ("75.0", "worst 50.0")
    assert shown["bits_per_item"] == ("128", "")


def test_shares_of_active_units_have_a_column_only_where_there_are_any(lab: Lab) -> None:
    lab.experiment("dense")
    assert "active_fraction" not in marks(lab)["dense"]
    lab.experiment("sparse", active_fraction=(0.125, 0.01))
    board = leaderboard(read(lab))
    place = [metric.key for metric in board.metrics].index("active_fraction")
    assert {result.name: (cells[place].text, cells[place].mark) for result, cells in board.lines} == {
        "dense": ("–", ""),
        "sparse": ("12.5", ""),
    }


def test_costs_go_by_family_and_then_by_size(lab: Lab) -> None:
    gaussian = MLP | {"bottleneck": {"kind": "gaussian", "size": 4}}
    lab.experiment("vq", model=VQVAE, bits=80)
    lab.experiment("pca", model=PCA, bits=128)
    lab.experiment("linear", model=MLP | {"network": {"kind": "linear"}}, bits=64)
    lab.experiment("deep", model=MLP)
    lab.experiment("denoising", model=MLP | {"corruption": {"kind": "masking"}})
    lab.experiment("sparse", model=MLP | {"penalties": [{"kind": "l1", "weight": 0.1}]}, bits=16)
    lab.experiment("top", model=MLP | {"bottleneck": {"kind": "top_k", "size": 4, "active": 2}}, bits=32)
    lab.experiment("vae", model=gaussian | {"corruption": {"kind": "masking"}})
    table = costs(read(lab))
    assert {family: [result.name for result, _ in lines] for family, lines in table.families.items()} == {
        "linear": ["linear", "pca"],
        "plain": ["deep"],
        "regularised": ["sparse", "top", "denoising"],
        "variational": ["vae"],
        "discrete": ["vq"],
    }
    assert list(table.families) == ["linear", "plain", "regularised", "variational", "discrete"]
    keys = [metric.key for metric in table.metrics]
    assert keys == ["bits_per_item", "encode_items_per_second", "parameters", "trial_seconds"]
    board = leaderboard(read(lab))
    assert {metric.key for metric in board.metrics} & set(keys) == {"bits_per_item"}  # no other is shown twice
    (_, cells), _ = table.families["linear"]
    assert [cell.text for cell in cells] == ["64", "1,234", "321", "2.5"]


@pytest.mark.parametrize("kind", ["none", "masking"])
def test_a_corruption_of_kind_none_is_no_part(lab: Lab, kind: str) -> None:
    lab.experiment("one", model=MLP | {"corruption": {"kind": kind}})
    (result,) = read(lab)
    assert result.kinds["corruption"] == (None if kind == "none" else kind)
    assert result.family == ("plain" if kind == "none" else "regularised")
