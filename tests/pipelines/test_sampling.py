"""Parameters of trials: spread first, then learnt from the trials that there are."""

from __future__ import annotations

import itertools

import pytest

from pipelines.settings.spaces import Distribution
from pipelines.sweep.record import EpochRecord, Status, TrialRecord
from pipelines.sweep.sampling import SPREAD, draw

OBJECTIVE = "validation_squared_error"
UNIT = {"model.a": Distribution("uniform", (0.0, 1.0))}
SPACE = {
    "model.a": Distribution("log_uniform", (1e-4, 1e-1)),
    "model.b": Distribution("integer", (2, 9)),
    "model.c": Distribution("choice", ("x", "y", "z")),
}


def trial(number: int, parameters: dict[str, object], values: list[float], status: Status = "finished") -> TrialRecord:
    history = [
        EpochRecord(epoch=n, timestamp=n, seconds=1, metrics={OBJECTIVE: value}) for n, value in enumerate(values, 1)
    ]
    return TrialRecord.model_validate(
        {"number": number, "parameters": parameters, "status": status, "started": 0, "history": history}
    )


def test_nothing_is_drawn_where_nothing_is_searched() -> None:
    assert draw(3, {}, {}, OBJECTIVE, seed=0) == {}


@pytest.mark.parametrize("seed", range(5))
def test_few_trials_are_spread_over_the_space(seed: int) -> None:
    drawn = sorted(float(draw(number, UNIT, {}, OBJECTIVE, seed)["model.a"]) for number in range(1, 5))
    assert all(quarter / 4 <= value < (quarter + 1) / 4 for quarter, value in enumerate(drawn))


def test_the_first_trials_depend_on_their_number_and_the_seed_alone() -> None:
    past = {1: trial(1, draw(1, SPACE, {}, OBJECTIVE, 0), [1.0])}
    assert draw(2, SPACE, past, OBJECTIVE, 0) == draw(2, SPACE, {}, OBJECTIVE, 0)
    assert draw(2, SPACE, {}, OBJECTIVE, 0) != draw(2, SPACE, {}, OBJECTIVE, 1)
    for number in range(1, SPREAD + 1):
        drawn = draw(number, SPACE, {}, OBJECTIVE, 0)
        assert 1e-4 <= float(drawn["model.a"]) <= 1e-1
        assert drawn["model.b"] in range(2, 10)
        assert drawn["model.c"] in ("x", "y", "z")


def test_the_estimator_closes_in_on_what_is_good() -> None:
    past: dict[int, TrialRecord] = {}
    distances = []
    for number in range(1, 41):
        parameters = draw(number, UNIT, past, OBJECTIVE, 0)
        distances.append(abs(float(parameters["model.a"]) - 0.3))
        past[number] = trial(number, dict(parameters), [distances[-1]])
    by_chance = (0.3**2 + 0.7**2) / 2  # the mean distance of a point anywhere between 0 and 1
    assert sum(distances[-15:]) / 15 < 0.5 * by_chance


def test_the_estimator_learns_from_stopped_trials_at_the_epoch_that_they_reached() -> None:
    """Half of the space was stopped after an epoch: what went on lies in the other half, and so do new trials."""
    past = {}
    for number in range(1, 21):
        value = number / 21
        good = value > 0.5
        values, status = ([0.5, 0.4, 0.3], "finished") if good else ([0.9], "stopped")
        past[number] = trial(number, {"model.a": value}, values, status)  # type: ignore[arg-type]
    drawn = [float(draw(number, UNIT, past, OBJECTIVE, 0)["model.a"]) for number in range(21, 41)]
    assert sum(value > 0.5 for value in drawn) >= 16


def test_trials_drawn_while_others_run_keep_away_from_them() -> None:
    past = {n: trial(n, dict(draw(n, UNIT, {}, OBJECTIVE, 0)), [float(n)]) for n in range(1, SPREAD + 1)}
    alone = draw(SPREAD + 1, UNIT, past, OBJECTIVE, 0)
    running = {SPREAD + 1 + n: trial(SPREAD + 1 + n, dict(alone), [], "running") for n in range(1, 6)}
    together = draw(SPREAD + 1, UNIT, past | running, OBJECTIVE, 0)
    assert abs(float(together["model.a"]) - float(alone["model.a"])) > 0.01


def test_trials_that_start_from_the_same_past_draw_differently() -> None:
    past = {n: trial(n, dict(draw(n, SPACE, {}, OBJECTIVE, 0)), [float(n)]) for n in range(1, SPREAD + 1)}
    together = [draw(number, SPACE, past, OBJECTIVE, 0) for number in range(SPREAD + 1, SPREAD + 4)]
    assert all(left != right for left, right in itertools.combinations(together, 2))
