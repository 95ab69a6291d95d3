"""A sweep: the trials of one experiment, under a key that changes with anything that could change their outcome."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from components.data import PreparedDataset
from components.models import ModelSettings
from pipelines.project import Project, model_name
from pipelines.settings.experiment import Budget, ExperimentSettings
from pipelines.settings.params import Params
from pipelines.settings.spaces import corners
from pipelines.sweep.halving import Halving
from pipelines.sweep.journal import Journal, journals
from pipelines.sweep.record import TrialRecord
from pipelines.units.key import code_digest, digest_of
from pipelines.units.storage import Storage
from pipelines.units.unit import result_key

DECISIVE = ("components.models", "pipelines.sweep.halving", "pipelines.sweep.sampling")  # the code in the key


@dataclass(frozen=True)
class Sweep:
    """One experiment's sweep.

    Attributes:
        dataset, experiment: its place in params.yaml.
        settings: as they are there.
        budget: epochs and trials.
        budget_name: `quick` or `paper`.
        seed: of the project.
        data: what it trains on.
        folder: where its run record goes.
        storage: where the journals of all sweeps are.
    """

    dataset: str
    experiment: str
    settings: ExperimentSettings
    budget: Budget
    budget_name: str
    seed: int
    data: PreparedDataset
    folder: Path
    storage: Storage

    @property
    def name(self) -> str:
        """The model's name, such as `mnist-deep`."""
        return model_name(self.dataset, self.experiment)

    @cached_property
    def objective(self) -> str:
        """The metric that trials are compared by."""
        if self.settings.sweep.objective == "loss":
            return "validation_loss"
        return f"validation_{self._model.objective}"

    @property
    def objective_in_words(self) -> str:
        """The objective with its unit, as a picture's axis has it."""
        name = self.objective.replace("_", " ")
        return name if self.settings.sweep.objective == "loss" else f"{name}, {self._model.unit}"

    @cached_property
    def _model(self) -> ModelSettings:
        return self.settings.model_settings(next(corners(self.settings.space)))

    @cached_property
    def key(self) -> str:
        """The digest of all that decides the outcome."""
        settings = self.settings.model_dump(mode="json", exclude={"quick", "paper"})
        for share in ("cpus", "gpus"):
            settings["sweep"].pop(share)
        budget = self.budget.model_dump()
        return digest_of(code_digest(*DECISIVE), settings, budget, self.seed, self.data.schema.digest)

    @property
    def done(self) -> bool:
        """Whether the run record is there."""
        return result_key(Storage(self.folder)) == self.key

    @property
    def journals(self) -> Storage:
        """The folder of the trials' journals."""
        return self.storage / "sweeps" / f"{self.name}-{self.key[:12]}"

    @property
    def halving(self) -> Halving:
        """The rungs at which trials are stopped."""
        epochs, share = self.budget.epochs, self.settings.sweep
        first = share.first_rung or max(1, epochs // 4)
        return Halving(self.objective, self.budget.trials, epochs, first, share.reduction)

    def journal(self, number: int) -> Journal:
        """Return the journal of a trial."""
        return Journal.of(self.journals, number)

    def trials(self) -> dict[int, TrialRecord]:
        """Return the trials that were begun, by number, as far as they are known.

        Raises:
            StageError: a journal is damaged: a history that nobody wrote must not decide which trials are stopped.
        """
        begun = [journal for journal in journals(self.journals) if journal.exists()]
        for journal in begun:
            journal.check()
        return {trial.number: trial for trial in (journal.read() for journal in begun)}

    def for_trials(self) -> dict[str, Any]:
        """Return what every trial of the sweep is given, but for the data."""
        return {
            "experiment": self.settings.model_dump(mode="json"),
            "item": self.data.schema.item.model_dump(mode="json"),
            "epochs": self.budget.epochs,
            "seed": self.seed,
            "objective": self.objective,
        }


def sweeps_of(
    project: Project, params: Params, dataset: str, only: tuple[str, ...], data: PreparedDataset
) -> list[Sweep]:
    """Return the sweeps of a dataset's experiments, each checked to be one that can be trained.

    Raises:
        SettingError: a model cannot take the items.
        StageError: there is no experiment of a name in `only`.
    """
    storage = params.storage_of(project)
    found = []
    for name, settings in params.experiments_of(dataset, only).items():
        settings.check(f"{dataset}.{name}", data.schema.item)
        budget, folder = params.budget_of(settings), project.run(dataset, name)
        found.append(Sweep(dataset, name, settings, budget, params.budget, params.seed, data, folder, storage))
    return found
