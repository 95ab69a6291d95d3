from __future__ import annotations

from tests.faults import sweep_kills


def test_a_killed_raylet_and_a_killed_worker_cost_a_sweep_nothing() -> None:
    outcomes = list(sweep_kills.rounds(seed=21, count=2))
    assert [problem for outcome in outcomes for problem in outcome.problems] == []
    assert [outcome.kind for outcome in outcomes] == ["raylet", "trial worker"]
