"""Trials in MLflow while they run. A store that does not answer costs a warning, never a sweep."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipelines.sweep.record import EpochRecord, RunRecord
from pipelines.tracking.runs import SweepRuns
from pipelines.tracking.store import UnreachableError, answered

if TYPE_CHECKING:
    from mlflow.entities import Run


class LiveTracking:
    """Logs every epoch of one experiment's trials from the driver, under the keys that `register` looks for."""

    def __init__(self, runs: SweepRuns) -> None:
        self._runs = runs
        self._parent: Run | None = None
        self._trials: dict[int, tuple[Run, set[int]]] = {}
        self._broken = False

    def epoch(self, number: int, parameters: dict[str, Any], result: dict[str, Any]) -> None:
        """Log an epoch of a trial, unless the run has it already."""
        self._try(lambda: self._log(number, parameters, result))

    def complete(self, record: RunRecord) -> None:
        """Log what an interrupted sweep did not log, and end the trials' runs."""
        self._try(lambda: self._complete(record))

    def _complete(self, record: RunRecord) -> None:
        parent = self._runs.parent(min(trial.started for trial in record.trials))
        for trial in record.trials:
            self._runs.complete(parent, trial)

    def _log(self, number: int, parameters: dict[str, Any], result: dict[str, Any]) -> None:
        if self._parent is None:
            self._parent = self._runs.parent(result["sweep_started"])
        if number not in self._trials:
            run = self._runs.trial(self._parent, number, parameters, result["started"])
            self._trials[number] = run, self._runs.logged(run)
        run, there = self._trials[number]
        if result["epoch"] not in there:
            there.add(result["epoch"])
            metrics = {name: value for name, value in result.items() if name.startswith(("train_", "validation_"))}
            epoch = EpochRecord(epoch=result["epoch"], timestamp=result["ended"], seconds=0, metrics=metrics)
            self._runs.log(run, [epoch])

    def _try(self, action: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            with answered(self._runs.store):
                action()
        except UnreachableError as error:
            self._broken = True
            sys.stderr.write(f"warning: not logging live. {error}\n")
