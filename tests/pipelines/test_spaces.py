"""Search spaces: distributions in params.yaml are checked, found, filled in, and tried at their ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from components.settings import SettingError
from pipelines.settings.spaces import Distribution, Value, corners, fill, find_space

SPACE = {
    "model.a": Distribution("log_uniform", (1e-4, 1e-1)),
    "model.b": Distribution("integer", (2, 9)),
    "model.c": Distribution("choice", ("x", "y", "z")),
}


def test_distributions_are_the_same_for_optuna() -> None:
    assert SPACE["model.a"].optuna() == FloatDistribution(1e-4, 1e-1, log=True)
    assert SPACE["model.b"].optuna() == IntDistribution(2, 9)
    assert SPACE["model.c"].optuna() == CategoricalDistribution(("x", "y", "z"))
    assert Distribution("uniform", (1, 3)).optuna() == FloatDistribution(1.0, 3.0)


@pytest.mark.parametrize(
    ("path", "text"), [("model.a", "0.0001 … 0.1 (log)"), ("model.b", "2 … 9"), ("model.c", "x | y | z")]
)
def test_a_distribution_reads_as_a_range_or_a_choice(path: str, text: str) -> None:
    assert SPACE[path].text == text


def test_distributions_are_found_beside_fixed_values_and_filled_in_place() -> None:
    tree = {"size": 3, "deep": {"rate": {"uniform": [0, 1]}, "kind": "k"}}
    assert find_space(tree, "model") == {"model.deep.rate": Distribution("uniform", (0, 1))}
    assert fill(tree, {"model.deep.rate": 0.5}, "model") == {"size": 3, "deep": {"rate": 0.5, "kind": "k"}}


def test_distributions_in_lists_are_found_by_their_number() -> None:
    tree = {"penalties": [{"kind": "l1", "weight": 1}, {"kind": "contractive", "weight": {"log_uniform": [0.1, 1]}}]}
    assert find_space(tree, "model") == {"model.penalties.1.weight": Distribution("log_uniform", (0.1, 1))}
    filled = fill(tree, {"model.penalties.1.weight": 0.5}, "model")
    assert filled == {"penalties": [{"kind": "l1", "weight": 1}, {"kind": "contractive", "weight": 0.5}]}


@pytest.mark.parametrize(
    ("kind", "arguments", "allowed"),
    [
        ("uniform", 3, "3, must be a list"),
        ("uniform", [1], "[1], must be two numbers: [low, high]"),
        ("uniform", [1, "2"], "[1, '2'], must be two numbers: [low, high]"),
        ("uniform", [False, True], "[False, True], must be two numbers: [low, high]"),
        ("uniform", [2, 2], "[2, 2], low must be below high"),
        ("uniform", [float("nan"), 1], "[nan, 1], low must be below high"),
        ("integer", [1, 2.5], "[1, 2.5], must be two integers: [low, high]"),
        ("log_uniform", [0, 1], "[0, 1], low must be above 0"),
        ("choice", [], "[], must be a list of one or more plain values"),
        ("choice", [[1]], "[[1]], must be a list of one or more plain values"),
    ],
)
def test_a_distribution_that_cannot_be_is_named(kind: str, arguments: object, allowed: str) -> None:
    with pytest.raises(SettingError) as raised:
        find_space({"rate": {kind: arguments}}, "model")
    assert str(raised.value) == f"model.rate.{kind}: {allowed}"


def test_corners_hold_every_combination_or_at_least_every_extreme() -> None:
    assert len(list(corners(SPACE))) == 2 * 2 * 3
    seen = list(corners(SPACE, most=11))
    assert len(seen) < 12
    assert {c["model.a"] for c in seen} == {1e-4, 1e-1}
    assert {c["model.b"] for c in seen} == {2, 9}
    assert {c["model.c"] for c in seen} == {"x", "y", "z"}


def test_a_space_of_nothing_has_one_corner() -> None:
    assert list(corners({})) == [{}]


KEYS = st.text("abc", min_size=1, max_size=2)
VALUES: st.SearchStrategy[Value] = st.floats(allow_nan=False) | st.integers() | st.booleans() | st.text()
TREES = st.recursive(VALUES, lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=3))


@given(st.dictionaries(KEYS, TREES, max_size=3), st.data())
def test_a_tree_filled_with_the_values_of_its_distributions_has_none_left(tree: object, data: st.DataObject) -> None:
    searched = fill_leaves(tree, data)
    space = find_space(searched)
    filled = fill(searched, {path: distribution.extremes[0] for path, distribution in space.items()})
    assert find_space(filled) == {}
    assert repr(filled) == repr(tree)  # the value that stood there is the first of each choice


def fill_leaves(tree: object, data: st.DataObject) -> object:
    """Put a choice in the place of some leaves."""
    if isinstance(tree, dict):
        return {key: fill_leaves(child, data) for key, child in tree.items()}
    if isinstance(tree, list):
        return [fill_leaves(child, data) for child in tree]
    return {"choice": [tree, 1]} if data.draw(st.booleans()) else tree
