"""A stage run as its user would run it, in processes that are marked, so that they can be found and killed."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from tests.faults.processes import MARK, VICTIMS, kill, left_behind, victims
from tests.pipelines.sandbox import Sandbox

LOG = "log.txt"
LONGEST = 300.0  # seconds that a stage may take
LOOK = 0.1  # seconds between two looks at its processes
START = 8.0  # seconds in which a stage and its Ray start, about


class Fault(NamedTuple):
    """A kill to come: of whom, and when.

    Attributes:
        victim: one of VICTIMS.
        which: the share of those there are that the one stands at.
        progress: that the stage must have made.
        delay: seconds after that, and after the victim has appeared.
    """

    victim: str
    which: float
    progress: int
    delay: float

    def __str__(self) -> str:
        since = f"progress {self.progress}" if self.progress else "it appeared"
        return f"kill -9 of the {self.victim} {self.delay:.2f} s after {since}"


def draw_fault(draw: Random, progress: int) -> Fault:
    """Draw a kill: most come once the stage has done a part of `progress`; the others while Ray starts or has begun."""
    victim, which = draw.choice(VICTIMS), draw.random()
    if progress > 0 and draw.random() < 0.6:
        return Fault(victim, which, draw.randint(1, progress), draw.uniform(0, 0.5))
    return Fault(victim, which, 0, draw.uniform(0, START if victim in ("driver", "guard") else START / 4))


class Running:
    """A stage that was started; see :meth:`finish` for what it came to."""

    def __init__(self, project: Sandbox, command: list[str], mark: str) -> None:
        self.mark = f"{mark}-{os.getpid()}"  # another run of the same seed has its own
        self._log = project.root / LOG
        with self._log.open("w") as file:  # no pipe, which what is left behind would hold open
            self._process = subprocess.Popen(
                command, cwd=project.root, env=project.environment | {MARK: self.mark}, stdout=file, stderr=file
            )
        self._deadline = time.monotonic() + LONGEST

    @property
    def over(self) -> bool:
        """Whether it has ended, or taken too long."""
        return self._process.poll() is not None or time.monotonic() > self._deadline

    def suffer(self, fault: Fault, progress: Callable[[], int]) -> bool:
        """Kill at the given moment; return whether that came before the end."""
        while not self.over:
            if victims(self.mark, fault.victim) and (not fault.progress or progress() >= fault.progress):
                time.sleep(fault.delay)
                there = victims(self.mark, fault.victim)  # those seen before may have been of a Ray that was ending
                if there and kill(there[int(fault.which * len(there))]):
                    return True
            time.sleep(LOOK)
        return False

    def finish(self) -> Ended:
        """Wait for the end; one that hangs is ended, and counted as failed."""
        try:
            code = self._process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return Ended(1, f"{self._log.read_text()}\nhung for {LONGEST:g} s", left_behind(self.mark))
        return Ended(code, self._log.read_text(errors="replace"), left_behind(self.mark))


class Ended(NamedTuple):
    """A stage that is over: its exit status, its output, and what is left of it."""

    code: int
    printed: str
    left: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """Processes that are left, a traceback, or a failure without a reason."""
        problems = list(self.left)
        if "Traceback" in self.printed:
            problems.append("a traceback: " + self.printed[self.printed.index("Traceback") :][:1500])
        elif self.code > 0 and not any(line.startswith("error: ") for line in self.printed.splitlines()):
            problems.append(f"exit status {self.code} without a reason: {self.printed[-300:]}")
        return problems
