from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from items.ahead import map_ahead


def test_results_come_in_order_whichever_is_done_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("items.ahead.available_cpus", lambda: 2)
    second_done = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second_done.wait(10)
        if number == 1:
            second_done.set()
        return number * number

    assert list(map_ahead(work, range(9), count=4)) == [number * number for number in range(9)]


@pytest.mark.parametrize(
    ("bounds", "most"), [({"count": 3}, 4), ({"count": 100, "size_of": lambda _: 10, "total_size": 25}, 3)]
)
def test_only_so_much_is_taken_ahead(bounds: dict, most: int) -> None:
    taken = 0

    def given() -> Iterator[int]:
        nonlocal taken
        for number in range(20):
            taken += 1
            yield number

    for got, number in enumerate(map_ahead(str, given(), **bounds)):
        assert number == str(got)
        assert taken <= got + most
    assert taken == 20


def test_an_error_comes_in_its_turn_and_ends_the_threads() -> None:
    def work(number: int) -> int:
        return 1 // (3 - number)

    results = map_ahead(work, range(9), count=5)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
