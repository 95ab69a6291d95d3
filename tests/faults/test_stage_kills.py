from __future__ import annotations

from tests.faults.stage_kills import STAGES, rounds


def test_a_killed_prepare_leaves_a_whole_dataset_or_none_and_runs_again() -> None:
    outcomes = list(rounds(seed=0, count=1, stages=STAGES[:1]))
    assert [outcome.kind for outcome in outcomes] == ["prepare: held"], outcomes
