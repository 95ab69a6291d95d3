from __future__ import annotations

from tests.faults.encode_kills import rounds


def test_a_killed_encode_goes_on_and_ends_with_the_same_codes() -> None:
    assert [(outcome.what, outcome.problems) for outcome in rounds(7, 3) if outcome.problems] == []
