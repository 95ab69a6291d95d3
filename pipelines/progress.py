"""A sweep's progress: a line for what happened, and a bar where there is a screen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from pipelines.sweep import SweepPlan

EVERY = 2.0  # seconds between two lines of one trial


class SweepProgress:
    """Prints `mnist-deep  trial 2/3  epoch 4/5  validation_squared_error 7.912`."""

    def __init__(self, plan: SweepPlan, where: str, already: int) -> None:
        self._name, self._objective = plan.name, plan.objective
        self._trials, self._epochs = plan.budget.trials, plan.budget.epochs
        self._already = already
        self._at: dict[int, int] = {}
        self._printed: dict[int, float] = {}
        plural = "s" * (self._trials > 1)
        self._greeting = f"{self._name}: {self._trials} trial{plural} of at most {self._epochs} epochs on {where}"

    def setup(self, **info: Any) -> None:
        """Start the bar; not before, for Ray copies a callback and nobody can copy a terminal."""
        self._console = Console(highlight=False, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._bar = self._progress.add_task(self._name, total=self._trials * self._epochs, completed=self._already)
        self._console.print(self._greeting)
        self._progress.start()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print what a trial tries."""
        number = trial.config["number"]
        self._printed[number] = time.monotonic()
        searched = ", ".join(f"{k.rpartition('.')[2]} {_short(v)}" for k, v in trial.config["parameters"].items())
        self._say(number, f"starts{': ' * bool(searched)}{searched}")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Print an epoch, but not those that a resumed trial reports again, nor every one of a fast trial."""
        number, now = trial.config["number"], time.monotonic()
        self._at[number] = result["epoch"]
        if result["again"]:
            return
        self._progress.advance(self._bar)
        if now - self._printed[number] >= EVERY or result["epoch"] in (1, self._epochs):
            self._printed[number] = now
            figure = f"{self._objective} {result[self._objective]:.4g}"
            self._say(number, f"epoch {result['epoch']}/{self._epochs}  {figure}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print an early stop."""
        number = trial.config["number"]
        left = self._epochs - self._at.get(number, 0)
        self._progress.advance(self._bar, left)
        if left:
            self._say(number, f"stopped after epoch {self._at.get(number, 0)}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print a failure."""
        self._say(trial.config["number"], f"failed, see {trial.error_file}")

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """End the bar."""
        self._progress.stop()

    def _say(self, number: int, text: str) -> None:
        self._console.print(f"{self._name}  trial {number}/{self._trials}  {text}")


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
