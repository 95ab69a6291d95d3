from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipelines.settings.spaces import Distribution, corners, fill, find_space
from pipelines.sweep.journal import Journal, journals
from pipelines.sweep.record import EpochRecord
from pipelines.sweep.suggest import SPREAD, JournaledSearch

OBJECTIVE = "validation_squared_error"
SPACE = {
    "model.a": Distribution("log_uniform", (1e-4, 1e-1)),
    "model.b": Distribution("integer", (2, 9)),
    "model.c": Distribution("choice", ("x", "y", "z")),
}


@given(st.floats(0, 1, exclude_max=True))
def test_a_share_of_a_distribution_lies_between_its_ends(share: float) -> None:
    assert 1e-4 <= float(SPACE["model.a"].at(share)) <= 1e-1
    assert SPACE["model.b"].at(share) in range(2, 10)
    assert SPACE["model.c"].at(share) in ("x", "y", "z")


def test_half_of_a_distribution_is_its_middle() -> None:
    assert Distribution("uniform", (1.0, 3.0)).at(0.5) == 2.0
    assert Distribution("log_uniform", (0.01, 1.0)).at(0.5) == pytest.approx(0.1)


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


def end(sweep: Path, number: int, value: float) -> None:
    """Write what a trial's worker would have written."""
    from components.state import State

    history = [EpochRecord(epoch=1, timestamp=1, seconds=1, metrics={OBJECTIVE: value}).model_dump()]
    State({}, {"epoch": 1, "history": history}).save(Journal.of(sweep, number).state)
    Journal.of(sweep, number).close("stopped")


def search_in(sweep: Path, trials: int = 12) -> JournaledSearch:
    return JournaledSearch(sweep, SPACE, OBJECTIVE, trials, seed=0)


def test_trials_are_numbered_counted_and_journaled(tmp_path: Path) -> None:
    search = search_in(tmp_path, trials=2)
    first, second, third = (search.suggest(name) for name in "abc")
    assert (first or {})["number"] == 1
    assert (second or {})["number"] == 2
    assert third is None
    assert [journal.read().status for journal in journals(tmp_path)] == ["running", "running"]


def test_a_resumed_search_hands_out_the_unfinished_then_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    def run(sweep: Path, cut_off_after: int | None) -> list[object]:
        search, drawn = search_in(sweep), []
        for number in range(1, 13):
            suggestion = search.suggest(str(number))
            if number == cut_off_after:  # the process dies; a new one starts on the same folder
                search = search_in(sweep)
                again = search.suggest(str(number))
                assert again == suggestion
            assert suggestion is not None
            drawn.append(suggestion["parameters"])
            end(sweep, number, value=float(number % 5))
            search.on_trial_complete(str(number), {})
        return drawn

    straight = run(tmp_path / "straight", None)
    assert straight == run(tmp_path / "cut", 5)
    assert straight == run(tmp_path / "late", 11)


def test_a_finished_trial_is_never_handed_out_again(tmp_path: Path) -> None:
    search = search_in(tmp_path, trials=2)
    search.suggest("a")
    end(tmp_path, 1, 1.0)
    search.on_trial_complete("a", {})
    resumed = search_in(tmp_path, trials=2)
    assert resumed.to_run == 1
    assert (resumed.suggest("b") or {})["number"] == 2
    assert resumed.suggest("c") is None


def test_a_journal_that_was_lost_is_drawn_again(tmp_path: Path) -> None:
    search = search_in(tmp_path, trials=3)
    drawn = [search.suggest(str(number)) for number in (1, 2, 3)]
    for number in (1, 2, 3):
        end(tmp_path, number, 1.0)
        search.on_trial_complete(str(number), {})
    (Journal.of(tmp_path, 1).folder / "trial.json").unlink()
    again = search_in(tmp_path, trials=3)
    assert again.to_run == 1
    assert (again.suggest("a") or {})["parameters"] == (drawn[0] or {})["parameters"]


def test_the_scheduler_of_a_resumed_sweep_does_not_decide_again_on_what_was_decided(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from pipelines.sweep.halving import ResumedHalving

    def halving() -> ResumedHalving:
        return ResumedHalving(tmp_path, OBJECTIVE, epochs=9, first_rung=1, reduction=3)

    def result(value: float, again: bool, epoch: int = 1) -> dict[str, object]:
        return {"epoch": epoch, OBJECTIVE: value, "again": again}

    search = search_in(tmp_path, trials=4)
    for number, value in ((1, 1.0), (2, 2.0)):
        search.suggest(str(number))
        end(tmp_path, number, value)
        search.on_trial_complete(str(number), {})
    resumed, trial = halving(), SimpleNamespace(trial_id="unfinished")
    resumed.on_trial_add(None, trial)
    assert resumed.on_trial_result(None, trial, result(9.0, again=True)) == "CONTINUE"
    suggested = search.suggest("new")
    new = SimpleNamespace(trial_id="new", config=suggested)
    resumed.on_trial_add(None, new)
    assert resumed.on_trial_result(None, new, result(5.0, again=False)) == "STOP"
    assert Journal.of(tmp_path, (suggested or {})["number"]).read().status == "stopped"
    best = SimpleNamespace(trial_id="best")
    resumed.on_trial_add(None, best)
    assert resumed.on_trial_result(None, best, result(0.5, again=False)) == "CONTINUE"


def test_few_trials_are_spread_over_the_space(tmp_path: Path) -> None:
    space = {"model.a": Distribution("uniform", (0.0, 1.0))}
    search = JournaledSearch(tmp_path, space, OBJECTIVE, 4, seed=0)
    drawn = sorted((search.suggest(str(i)) or {})["parameters"]["model.a"] for i in range(4))
    assert all(quarter / 4 <= value < (quarter + 1) / 4 for quarter, value in enumerate(drawn))


def test_the_estimator_closes_in_on_what_is_good(tmp_path: Path) -> None:
    space = {"model.a": Distribution("uniform", (0.0, 1.0))}
    search = JournaledSearch(tmp_path, space, OBJECTIVE, 60, seed=0)
    drawn = []
    for number in range(1, 61):
        value = (search.suggest(str(number)) or {})["parameters"]["model.a"]
        drawn.append(abs(value - 0.3))
        end(tmp_path, number, drawn[-1])
        search.on_trial_complete(str(number), {})
    by_chance = (0.3**2 + 0.7**2) / 2  # the mean distance of a point anywhere between 0 and 1
    assert sum(drawn[-20:]) / 20 < 0.5 * by_chance


def test_trials_that_start_from_the_same_past_draw_differently(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    for number in range(1, SPREAD + 1):
        search.suggest(str(number))
        end(tmp_path, number, value=float(number))
        search.on_trial_complete(str(number), {})
    together = [(search.suggest(str(number)) or {})["parameters"] for number in range(SPREAD + 1, SPREAD + 4)]
    assert all(left != right for left, right in itertools.combinations(together, 2))


def test_the_first_word_about_how_a_trial_ended_stands(tmp_path: Path) -> None:
    journal = Journal.of(tmp_path, 1)
    journal.open(1, {})
    journal.close("finished")
    journal.close("stopped")
    assert journal.read().status == "finished"
