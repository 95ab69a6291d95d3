"""Successive halving: which trials go on follows from their histories, and not from the order in which they came."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sweep.halving import Halving
from pipelines.sweep.record import EpochRecord, Status, TrialRecord

OBJECTIVE = "validation_squared_error"


def trial(number: int, values: list[float], status: Status = "running") -> TrialRecord:
    history = tuple(
        EpochRecord(epoch=n, timestamp=n, seconds=1, metrics={OBJECTIVE: value}) for n, value in enumerate(values, 1)
    )
    return TrialRecord(number=number, parameters={}, status=status, started=0, history=history)


def halving(trials: int, epochs: int, first_rung: int, reduction: float = 3) -> Halving:
    return Halving(OBJECTIVE, trials, epochs, first_rung, reduction)


def test_rungs_rise_by_the_reduction_and_end_with_all_epochs() -> None:
    assert halving(9, 27, 3).rungs == [3, 9, 27]
    assert halving(9, 20, 3).rungs == [3, 9, 20]
    assert halving(3, 6, 2).rungs == [2, 6]
    assert halving(3, 6, 6).rungs == [6]
    assert halving(1, 6, 2).rungs == [6]  # a single trial has nothing to be compared with


def test_all_trials_train_to_the_first_rung_and_wait_there_for_the_others() -> None:
    rule = halving(3, 6, 2)
    assert rule.decide({}) == ({1: 2, 2: 2, 3: 2}, set())
    assert rule.decide({1: trial(1, [5, 4]), 2: trial(2, [9])}) == ({2: 2, 3: 2}, set())


def test_the_best_at_a_rung_goes_on_and_the_others_are_stopped() -> None:
    known = {1: trial(1, [5, 4]), 2: trial(2, [9, 3]), 3: trial(3, [1, 8])}
    assert halving(3, 6, 2).decide(known) == ({3: 6}, {1, 2})  # its best epoch so far counts, not its last
    known |= {1: trial(1, [5, 4], "stopped"), 2: trial(2, [9, 3], "stopped")}
    assert halving(3, 6, 2).decide(known) == ({3: 6}, set())
    known[3] = trial(3, [1, 8, 1, 1, 1, 1], "finished")
    assert halving(3, 6, 2).decide(known) == ({}, set())


def test_a_third_of_nine_then_one_go_on() -> None:
    first = {n: trial(n, [float(n)] * 3) for n in range(1, 10)}
    segments, stopped = halving(9, 27, 3).decide(first)
    assert (segments, stopped) == ({1: 9, 2: 9, 3: 9}, {4, 5, 6, 7, 8, 9})
    second = {n: trial(n, [float(n)] * 9) for n in (1, 2, 3)} | {n: trial(n, [1.0] * 3, "stopped") for n in stopped}
    assert halving(9, 27, 3).decide(second) == ({1: 27}, {2, 3})


def test_a_trial_that_failed_or_diverged_is_not_waited_for_and_takes_no_place() -> None:
    known = {1: trial(1, [], "failed"), 2: trial(2, [0.1], "diverged"), 3: trial(3, [7, 6])}
    assert halving(3, 6, 2).decide(known) == ({3: 6}, set())
    assert halving(2, 6, 2).decide({1: trial(1, [], "failed"), 2: trial(2, [], "failed")}) == ({}, set())


def test_of_equal_trials_the_lower_number_goes_on() -> None:
    known = {n: trial(n, [1.0, 1.0]) for n in (1, 2, 3)}
    assert halving(3, 6, 2).decide(known) == ({1: 6}, {2, 3})


@given(st.lists(st.floats(0, 10), min_size=3, max_size=6), st.randoms())
def test_the_order_in_which_trials_come_decides_nothing(values: list[float], random: object) -> None:
    """Play whole sweeps, the segments in any order: the same trials are stopped."""
    rule, ends = halving(len(values), 4, 2), []
    for order in itertools.islice(itertools.permutations(range(1, len(values) + 1)), 0, 24, 7):
        known: dict[int, TrialRecord] = {}
        while True:
            segments, stopped = rule.decide(known)
            for number in stopped:
                known[number] = known[number].model_copy(update={"status": "stopped"})
            if not segments:
                break
            number = next(n for n in order if n in segments)
            until = segments[number]
            known[number] = trial(number, [values[number - 1]] * until, "finished" if until == 4 else "running")
        ends.append({number: each.status for number, each in known.items()})
    assert all(end == ends[0] for end in ends)
    assert list(ends[0].values()).count("finished") == max(1, len(values) // 3)


CURVES = Path(__file__).with_name("curves.json")


@pytest.mark.parametrize("experiment", sorted(json.loads(CURVES.read_text())["curves"]) if CURVES.exists() else [])
def test_the_winner_of_full_runs_passes_the_first_rung(experiment: str) -> None:
    """By recorded curves of MNIST: no trial is stopped because its learning rate is still high."""
    curves = json.loads(CURVES.read_text())["curves"][experiment]
    full = {n: trial(n, values) for n, values in enumerate(curves.values(), 1)}
    epochs = len(next(iter(curves.values())))
    winner = min(full, key=lambda n: min(e.metrics[OBJECTIVE] for e in full[n].history))
    for others in itertools.combinations(sorted(full.keys() - {winner}), 2):
        kept = sorted({winner, *others})
        rule = halving(3, epochs, max(1, epochs // 4))
        known = {place: trial(place, list(curves.values())[n - 1][: rule.rungs[0]]) for place, n in enumerate(kept, 1)}
        segments, _ = rule.decide(known)
        assert list(segments) == [kept.index(winner) + 1]
