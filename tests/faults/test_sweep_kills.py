from __future__ import annotations

from tests.faults.sweep_rows import rounds


def test_a_killed_worker_and_a_killed_raylet_cost_a_sweep_nothing() -> None:
    outcomes = list(rounds(seed=3267, count=2, quick=True))
    assert [problem for outcome in outcomes for problem in outcome.problems] == []
    assert [outcome.kind for outcome in outcomes] == ["worker", "raylet"]
