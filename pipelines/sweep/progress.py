"""A sweep's progress: a line for what happened, and a bar where there is a screen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines.settings.spaces import Parameters
from pipelines.sweep.journal import Journal

if TYPE_CHECKING:
    from pipelines.sweep.plan import SweepPlan

EVERY = 2.0  # seconds between two lines of one trial


class SweepProgress:
    """Prints `mnist-deep  trial 2/3  epoch 4/5  validation_squared_error 7.912`."""

    def __init__(self, plan: SweepPlan, where: str) -> None:
        self._name, self._objective, self._folder = plan.name, plan.objective, plan.folder
        self._trials, self._epochs = plan.budget.trials, plan.budget.epochs
        self._at: dict[int, int] = {}
        self._printed: dict[int, float] = {}
        self._console = Console(highlight=False, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        already = sum(len(trial.history) for trial in plan.trials())
        self._bar = self._progress.add_task(self._name, total=self._trials * self._epochs, completed=already)
        plural = "s" * (self._trials > 1)
        self._console.print(f"{self._name}: {self._trials} trial{plural} of at most {self._epochs} epochs on {where}")

    def __enter__(self) -> SweepProgress:
        """Start the bar."""
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """End the bar."""
        self._progress.stop()

    def started(self, number: int, parameters: Parameters) -> None:
        """Print what a trial tries."""
        self._printed[number] = time.monotonic()
        searched = ", ".join(f"{k.rpartition('.')[2]} {_short(v)}" for k, v in parameters.items())
        self._say(number, f"starts{': ' * bool(searched)}{searched}")

    def epoch(self, number: int, result: dict[str, Any]) -> None:
        """Print an epoch, but not those that a resumed trial reports again, nor every one of a fast trial."""
        now = time.monotonic()
        self._at[number] = result["epoch"]
        if result["again"]:
            return
        self._progress.advance(self._bar)
        if now - self._printed[number] >= EVERY or result["epoch"] in (1, self._epochs):
            self._printed[number] = now
            figure = f"{self._objective} {result[self._objective]:.4g}"
            self._say(number, f"epoch {result['epoch']}/{self._epochs}  {figure}")

    def ended(self, number: int) -> None:
        """Print how a trial ended, unless it finished."""
        trial = Journal.of(self._folder, number).read()
        left = self._epochs - self._at.get(number, 0)
        self._progress.advance(self._bar, left)
        if left:
            why = f": {trial.reason}" if trial.reason else ""
            self._say(number, f"{trial.status} after epoch {self._at.get(number, 0)}{why}")

    def retried(self, number: int) -> None:
        """Print that a trial lost its worker."""
        self._say(number, "lost its worker, and goes on in another")

    def _say(self, number: int, text: str) -> None:
        self._console.print(f"{self._name}  trial {number}/{self._trials}  {text}")


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
