"""The progress of sweeps: a line for each thing that happens, and a bar where there is a screen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines.sweep.plan import Sweep

EVERY = 2.0  # seconds between two lines of one trial


class SweepProgress:
    """Prints `mnist-deep  trial 2/3  epoch 4/5  validation_squared_error 7.912`."""

    def __init__(self, sweeps: Sequence[Sweep]) -> None:
        self._sweeps = {sweep.name: sweep for sweep in sweeps}
        self._printed: dict[tuple[str, int], float] = {}
        self._console = Console(highlight=False, soft_wrap=True, markup=False)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._bar = self._progress.add_task("sweeps", total=len(sweeps))
        trials = sum(sweep.budget.trials for sweep in sweeps)
        self.say(f"{len(sweeps)} experiments to sweep, {trials} trials")

    def __enter__(self) -> SweepProgress:
        """Start the bar."""
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """End the bar."""
        self._progress.stop()

    def started(self, config: dict[str, Any]) -> None:
        """Print what a trial tries."""
        self._printed[config["name"], config["number"]] = time.monotonic()
        searched = ", ".join(f"{k.rpartition('.')[2]} {_short(v)}" for k, v in config["parameters"].items())
        self._trial(config, f"to epoch {config['until']}{': ' * bool(searched)}{searched}")

    def epoch(self, config: dict[str, Any], metrics: dict[str, Any]) -> None:
        """Print an epoch, but not every one of a fast trial."""
        now, sweep = time.monotonic(), self._sweeps[config["name"]]
        key = config["name"], config["number"]
        if now - self._printed.get(key, 0.0) >= EVERY or metrics["epoch"] == sweep.budget.epochs:
            self._printed[key] = now
            value = f"{sweep.objective} {metrics[sweep.objective]:.4g}"
            self._trial(config, f"epoch {metrics['epoch']}/{sweep.budget.epochs}  {value}")

    def stopped(self, name: str, number: int, epochs: int) -> None:
        """Print that a trial was stopped early."""
        self._trial({"name": name, "number": number}, f"stopped after epoch {epochs}")

    def retried(self, config: dict[str, Any]) -> None:
        """Print that a trial lost its worker."""
        self._trial(config, "lost its worker, and goes on in another")

    def written(self, name: str) -> None:
        """Print that a sweep has its record."""
        self._progress.advance(self._bar)
        self.say(f"{name}: all trials have ended")

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text)

    def _trial(self, config: dict[str, Any], text: str) -> None:
        name, number = config["name"], config["number"]
        self.say(f"{name}  trial {number}/{self._sweeps[name].budget.trials}  {text}")


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
