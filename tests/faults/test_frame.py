from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.faults.__main__ import run, subjects
from tests.faults.outcome import Outcome, Subject, draws
from tests.faults.processes import MARK, left_behind, marked


def two_of_three(seed: int, count: int) -> Iterator[Outcome]:
    for number in range(count):
        drawn = draws(seed, number).random()
        yield Outcome(f"round {number}", ("lost an item",) if number else (), f"{drawn < 1}")


def test_a_subject_is_counted_and_its_problems_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Subject("made up", 3, two_of_three), 0, 3) == 2
    printed = capsys.readouterr().out
    assert "made up: round 2: lost an item\n" in printed
    assert "made up: 3 rounds, 2 problems" in printed
    assert "3 True" in printed


def test_rounds_that_never_came_are_a_problem() -> None:
    assert run(Subject("made up", 3, lambda seed, count: iter(())), 0, 3) == 1


def test_every_program_has_a_name_of_its_own_and_rounds_to_run() -> None:
    assert all(subject.full > 0 for subject in subjects().values())


def test_a_process_that_stays_is_named_and_ended() -> None:
    mark = f"frame-{os.getpid()}"
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env=os.environ | {MARK: mark}, start_new_session=True
    )
    while sleeper.pid not in marked(mark):
        assert sleeper.poll() is None
    (found,) = left_behind(mark, grace=0.2)
    assert f"process {sleeper.pid} is left" in found
    assert sleeper.wait(10) == -9
    assert left_behind(mark, grace=0) == ()
