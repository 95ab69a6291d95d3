"""Kills of a sweep: its driver's processes, the raylet, the gcs, and the workers of trials.

A round runs a small line-up of digits as its user would, kills one of its processes at a random moment, and runs it
again until it ends. What it comes to must be what a sweep that nobody disturbed comes to.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.outcome import Outcome, draws
from tests.faults.running import draw_fault
from tests.faults.swept import Swept, differences, repeated

SUBJECT = "sweep-kills"
FULL = 20
RUNS = 4  # until a sweep must have ended that was killed once


def rounds(seed: int, count: int) -> Iterator[Outcome]:
    """Yield one outcome a round."""
    with tempfile.TemporaryDirectory() as folder:
        swept = Swept(Path(folder))
        whole = undisturbed(swept)
        for number in range(count):
            yield disturbed(swept, whole, draws(seed, number), f"round {number} (seed {seed})", f"{seed}-{number}")


def undisturbed(swept: Swept) -> dict[str, Any]:
    """Return the records that a sweep comes to which nobody disturbs; nothing is left of it."""
    ended = swept.run("undisturbed")
    if ended.code or ended.problems or swept.leftovers():
        raise RuntimeError(f"the sweep fails without any fault: {ended.problems or swept.leftovers() or ended.printed}")
    return taken(swept)


def trained_here(swept: Swept) -> dict[str, Any]:
    """Return the records that the sweep comes to without Ray, which is quicker; nothing is left of it."""
    swept.sandbox.train_here()
    return taken(swept)


def taken(swept: Swept) -> dict[str, Any]:
    """Return the records, and leave none."""
    records = swept.results()
    swept.forget()
    return records


def disturbed(swept: Swept, whole: dict[str, Any], draw: Random, name: str, mark: str) -> Outcome:
    """Run a sweep from nothing with a kill at a random moment, then again until it ends; say what is wrong."""
    swept.forget()
    fault = draw_fault(draw, epochs_in(whole))
    running = swept.start(f"{mark}-0")
    hit = running.suffer(fault, lambda: swept.progress)
    ended = running.finish()
    problems, runs = ended.problems, 1
    while ended.code and runs < RUNS:
        before = swept.known()
        ended = swept.run(f"{mark}-{runs}")
        problems += ended.problems + repeated(before, swept.known())
        runs += 1
    problems += compared(swept, whole) if ended.code == 0 else [f"did not end in {runs} runs"]
    what = f"{name}: {fault}" + ("" if hit else " (which came too late)")
    return Outcome(what, tuple(problems), fault.victim if hit else "missed")


def compared(swept: Swept, whole: dict[str, Any]) -> list[str]:
    """Name what a finished sweep has not come to, and what it has left."""
    return differences(whole, swept.results()) + swept.leftovers()


def epochs_in(records: dict[str, Any]) -> int:
    """Return the number of epochs in the records of a line-up."""
    return sum(len(trial["history"]) for record in records.values() for trial in record["trials"])
