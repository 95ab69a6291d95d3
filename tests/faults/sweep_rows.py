"""Kills of one and the same sweep in a row, then a plain rerun: the record of a sweep that nobody disturbed.

A kill ends the run or does not. Where it does, the next run goes on from what is there, and meets the next kill.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.outcome import Outcome, draws
from tests.faults.running import Fault, Running, draw_fault
from tests.faults.sweep_kills import compared, epochs_in, trained_here
from tests.faults.swept import Known, Swept, repeated

SUBJECT = "sweep-kills-in-a-row"
FULL = 20
LONG, QUICK = 400, 40  # epochs of a trial, at most
SLOWER = 0.1  # seconds that an epoch lasts longer than it must, or the sweep would be over before the last kill


def rounds(seed: int, count: int, quick: bool = False) -> Iterator[Outcome]:
    """Yield an outcome a kill; the last one's problems are those of the rerun too.

    The record to come to is of a sweep that was trained in this process. A `quick` row has a shorter sweep.
    """
    with tempfile.TemporaryDirectory() as folder:
        swept = Swept(Path(folder), QUICK if quick else LONG)
        row = Row(swept, trained_here(swept), f"{seed}-row")
        if not quick:
            swept.sandbox.slow_training(SLOWER)
        for number in range(count):
            fault = draw_fault(draws(seed, number), row.pace(count - number))
            hit, problems = row.suffer(fault)
            if number == count - 1:
                problems += row.end()
            what = f"kill {number} (seed {seed}): {fault}"
            problems += [] if hit else ["the sweep was over before it"]
            yield Outcome(what, tuple(problems), fault.victim if hit else "missed")


class Row:
    """One sweep, from its start to its end."""

    def __init__(self, swept: Swept, whole: dict[str, Any], mark: str) -> None:
        self._swept, self._whole, self._mark = swept, whole, mark
        self._total = epochs_in(whole)
        self._known = Known()
        self._running: Running | None = None
        self._runs = self._code = 0

    def pace(self, kills: int) -> int:
        """Return the epochs within which the next of so many kills should come, to leave some for the others."""
        return 2 * (self._total - self._swept.progress) // (kills + 1)

    def suffer(self, fault: Fault) -> tuple[bool, list[str]]:
        """Run on until a kill; return whether its victim was there, and what is wrong."""
        problems = self._finish() if self._running and self._running.over else []
        running = self._running = self._running or self._start()
        if fault.progress:
            fault = fault._replace(progress=self._swept.progress + fault.progress)
        hit = running.suffer(fault, lambda: self._swept.progress)
        if running.over or (hit and fault.victim == "driver"):
            problems += self._finish()
        return hit, problems + self._look()

    def end(self) -> list[str]:
        """Run to the end, which takes no more than a plain rerun; return what is wrong with what it came to."""
        problems = self._finish() if self._running else []
        if self._code:
            self._running = self._start()
            problems += self._finish()
        if self._code:
            return [*problems, f"a plain rerun gave {self._code}"]
        return problems + self._look() + compared(self._swept, self._whole)

    def _start(self) -> Running:
        self._runs += 1
        return self._swept.start(f"{self._mark}-{self._runs}")

    def _finish(self) -> list[str]:
        assert self._running
        ended, self._running = self._running.finish(), None
        self._code = ended.code
        return ended.problems

    def _look(self) -> list[str]:
        before, self._known = self._known, self._swept.known()
        return repeated(before, self._known)
