"""Search spaces: distributions beside fixed values."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from components.settings import SettingError
from pipelines.settings.spaces import Distribution, corners, fill, find_space

SPACE = {
    "model.a": Distribution("log_uniform", (1e-4, 1e-1)),
    "model.b": Distribution("integer", (2, 9)),
    "model.c": Distribution("choice", ("x", "y", "z")),
}


def test_distributions_are_the_same_for_optuna() -> None:
    assert SPACE["model.a"].optuna() == FloatDistribution(1e-4, 1e-1, log=True)
    assert SPACE["model.b"].optuna() == IntDistribution(2, 9)
    assert SPACE["model.c"].optuna() == CategoricalDistribution(("x", "y", "z"))


def test_distributions_are_found_beside_fixed_values_and_filled_in_place() -> None:
    tree = {"size": 3, "deep": {"rate": {"uniform": [0, 1]}, "kind": "k"}}
    assert find_space(tree, "model") == {"model.deep.rate": Distribution("uniform", (0, 1))}
    assert fill(tree, {"model.deep.rate": 0.5}, "model") == {"size": 3, "deep": {"rate": 0.5, "kind": "k"}}


def test_distributions_in_lists_are_found_by_their_number() -> None:
    tree = {"penalties": [{"kind": "l1", "weight": 1}, {"kind": "contractive", "weight": {"log_uniform": [0.1, 1]}}]}
    assert find_space(tree, "model") == {"model.penalties.1.weight": Distribution("log_uniform", (0.1, 1))}
    filled = fill(tree, {"model.penalties.1.weight": 0.5}, "model")
    assert filled == {"penalties": [{"kind": "l1", "weight": 1}, {"kind": "contractive", "weight": 0.5}]}


def test_corners_hold_every_combination_or_at_least_every_extreme() -> None:
    assert len(list(corners(SPACE))) == 2 * 2 * 3
    seen = list(corners(SPACE, most=11))
    assert len(seen) < 12
    assert {c["model.a"] for c in seen} == {1e-4, 1e-1}
    assert {c["model.b"] for c in seen} == {2, 9}
    assert {c["model.c"] for c in seen} == {"x", "y", "z"}


@pytest.mark.parametrize(
    ("kind", "arguments", "expected"),
    [
        ("uniform", [2, 1], "low must be below high"),
        ("uniform", [1, 1], "low must be below high"),
        ("log_uniform", [0, 1], "low must be above 0"),
        ("uniform", [1], "must be two numbers: [low, high]"),
        ("integer", [1, 2.5], "must be two integers: [low, high]"),
        ("integer", [False, True], "must be two integers: [low, high]"),
        ("choice", [], "must be a list of one or more plain values"),
        ("choice", 3, "must be a list"),
    ],
)
def test_a_distribution_that_cannot_be_is_named(kind: str, arguments: object, expected: str) -> None:
    with pytest.raises(SettingError) as raised:
        find_space({"deep": {"rate": {kind: arguments}}}, "model")
    assert str(raised.value) == f"model.deep.rate.{kind}: {arguments}, {expected}"


def test_a_distribution_is_shown_to_people() -> None:
    shown = [distribution.text for distribution in SPACE.values()]
    assert shown == ["0.0001 … 0.1 (log)", "2 … 9", "x | y | z"]
