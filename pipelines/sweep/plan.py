"""What a sweep is to do, and the folder of its journals."""

from __future__ import annotations

import fcntl
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from components.data import PreparedDataset
from pipelines.project import Project
from pipelines.settings.params import Budget, ExperimentSettings, Params
from pipelines.sweep.journal import journals
from pipelines.sweep.record import TrialRecord, digest_of
from pipelines.tracking.runs import SweepRuns
from pipelines.tracking.store import Store
from pipelines.units.code import code_digest


class SweepPlan:
    """What is to be swept, under a key that changes with anything that could change the outcome."""

    def __init__(
        self, project: Project, params: Params, name: str, experiment: ExperimentSettings, dataset: PreparedDataset
    ) -> None:
        self.name, self.experiment, self.dataset = name, experiment, dataset
        self.seed, self.budget_name = params.seed, params.budget
        self.budget: Budget = params.budget_of(experiment)
        self.objective = f"validation_{experiment.sweep.objective}"
        self.code = code_digest()
        settings = experiment.model_dump(mode="json", exclude={"quick", "paper"})
        settings["budget"] = self.budget.model_dump()
        self.key = digest_of(name, settings, self.seed, dataset.schema.digest, self.code)
        self.folder = project.cache / "sweeps" / f"{name}-{self.key[:12]}"
        self.home = project.home

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Hold the sweep's folder, which working copies share; yield whether another process had to be waited for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.folder.with_suffix(".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                waited = False
            except OSError:
                sys.stdout.write(f"{self.name}: the same sweep is running in another process; waiting for it\n")
                sys.stdout.flush()
                fcntl.flock(lock, fcntl.LOCK_EX)
                waited = True
            self.folder.mkdir(parents=True, exist_ok=True)  # the other process may have ended its sweep
            yield waited

    def trials(self) -> list[TrialRecord]:
        """Return the trials that were begun, as far as they are known."""
        return [journal.read() for journal in journals(self.folder)]

    def left(self) -> int:
        """Return how many trials of the budget have not ended by their own journals."""
        return self.budget.trials - sum(trial.status != "running" for trial in self.trials())

    def reached(self) -> int:
        """Return how far the trials have come: epochs, and ends."""
        return sum(len(trial.history) + (trial.status != "running") for trial in self.trials())

    def forget(self) -> None:
        """Delete the journals; renamed first, so that a kill in between leaves none rather than some."""
        doomed = self.folder.with_suffix(".done")
        shutil.rmtree(doomed, ignore_errors=True)
        self.folder.rename(doomed)
        shutil.rmtree(doomed)

    def tracked(self) -> SweepRuns:
        """Return where the sweep's runs are tracked."""
        settings = self.experiment.model_dump(mode="json")
        store = Store.of(self.home)
        return SweepRuns.of(store, self.name, settings, self.key, self.budget_name, self.objective)

    def for_trials(self) -> dict[str, Any]:
        """Return what every trial is given, but for the data."""
        return {
            "sweep": str(self.folder),
            "experiment": self.experiment.model_dump(mode="json"),
            "item": self.dataset.schema.item.model_dump(mode="json"),
            "run": {"epochs": self.budget.epochs, "seed": self.seed},
            "objective": self.objective,
        }
