"""Progress of a stage's units: a line for each that ends, and a bar where there is a screen."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar


class Progress:
    """Prints `mnist-deep: done in 3.2 s`."""

    def __init__(self, title: str, total: int) -> None:
        self._console = Console(highlight=False, soft_wrap=True, markup=False)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Bar(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("units", total=total)
        self.say(title)

    def __enter__(self) -> Progress:
        """Start the bar."""
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """End the bar."""
        self._bar.stop()

    def done(self, name: str, seconds: float) -> None:
        """Print that a unit is done."""
        self._bar.advance(self._task)
        self.say(f"{name}: done in {seconds:.1f} s")

    def failed(self, name: str, reason: str) -> None:
        """Print that a unit failed, and why."""
        self._bar.advance(self._task)
        self.say(f"{name}: failed: {reason}")

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text)
