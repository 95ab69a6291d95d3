"""A sweep as MLflow runs: one parent, its trials nested below. Written live and from the record by the same lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.record import EpochRecord, TrialRecord
from pipelines.search import Parameters, fill, find_space
from pipelines.tracking.store import KEY, TAG, Store, metric

if TYPE_CHECKING:
    from mlflow.entities import Run

NAME_LENGTH, VALUE_LENGTH = 250, 6000  # that MLflow stores
STATUS = {"finished": "FINISHED", "stopped": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}


@dataclass(frozen=True)
class SweepRuns:
    """The runs of one sweep; each is found by its key, and made where it is not there.

    Attributes:
        store: where.
        experiment: the experiment's name, which the parent run bears.
        settings: the experiment as params.yaml has it.
        key: the sweep's.
        budget: `quick` or `paper`.
        objective: the figure that trials are compared by.
    """

    store: Store
    experiment: str
    settings: dict[str, Any]
    key: str
    budget: str
    objective: str

    @property
    def dataset(self) -> str:
        """The dataset's name, which groups runs in the UI."""
        return str(self.settings["dataset"])

    def parent(self, started: int) -> Run:
        """Return the parent run."""
        allowed = {"budget": self.budget, **self.settings[self.budget]}
        parameters = given(self.settings["model"]) | allowed
        return self._ensure(self.key, self.experiment, started, parameters, {f"{TAG}kind": "sweep"})

    def trial(self, parent: Run, number: int, parameters: Parameters, started: int) -> Run:
        """Return a trial's run."""
        tags = {"mlflow.parentRunId": parent.info.run_id, f"{TAG}kind": "trial"}
        every = self.of_trial(parameters)
        return self._ensure(f"{self.key}/{number}", f"{self.experiment} trial {number}", started, every, tags)

    def of_trial(self, parameters: Parameters) -> dict[str, Any]:
        """Return a trial's settings: those that params.yaml fixes, and the values that it drew."""
        return given(fill(self.settings["model"], parameters, "model"))

    def logged(self, run: Run) -> set[int]:
        """Return the epochs that a trial's run already has."""
        return {point.step for point in self.store.client.get_metric_history(run.info.run_id, self.objective)}

    def log(self, run: Run, epochs: list[EpochRecord]) -> None:
        """Log epochs to a trial's run: the loss, the objective, and a codebook's perplexity."""
        names = ("train_loss", self.objective, "validation_codebook_perplexity")
        metrics = [
            metric(name, epoch.metrics[name], epoch.timestamp, epoch.epoch)
            for epoch in epochs
            for name in names
            if name in epoch.metrics
        ]
        for start in range(0, len(metrics), 1000):
            self.store.client.log_batch(run.info.run_id, metrics=metrics[start : start + 1000])

    def complete(self, parent: Run, trial: TrialRecord) -> bool:
        """Make a trial's run whole from the record; return whether anything was missing."""
        run = self.trial(parent, trial.number, trial.parameters, trial.started)
        if run.info.status == STATUS[trial.status]:
            return False
        self.log_parameters(run, self.of_trial(trial.parameters))
        there = self.logged(run)
        self.log(run, [epoch for epoch in trial.history if epoch.epoch not in there])
        self.store.client.set_tag(run.info.run_id, f"{TAG}status", trial.status)
        self.store.client.set_terminated(run.info.run_id, STATUS[trial.status], trial.ended)
        return True

    def _ensure(self, key: str, name: str, started: int, parameters: dict[str, Any], tags: dict[str, str]) -> Run:
        experiment_id = self.store.experiment_id(self.dataset)
        found = self.store.find_run(experiment_id, key)
        if found is not None:
            return found
        run = self.store.client.create_run(experiment_id, started, {KEY: key, **tags}, name)
        self.log_parameters(run, parameters)
        return run

    def log_parameters(self, run: Run, parameters: dict[str, Any]) -> None:
        """Log settings to a run, as many at once and as long as MLflow takes them."""
        from mlflow.entities import Param

        params = [Param(name[:NAME_LENGTH], written(value)) for name, value in parameters.items()]
        for start in range(0, len(params), 100):
            self.store.client.log_batch(run.info.run_id, params=params[start : start + 100])


def given(model: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a model that params.yaml gives, each by its path; those that are searched left out.

    A part's kind stands under the part's own name: `{network: {kind: mlp, hidden: [8]}}` becomes
    `{network: mlp, network.hidden: [8]}`, and the model's own kind stands under `model`.
    """
    searched = find_space(model)
    found: dict[str, Any] = {}

    def walk(node: Any, path: str) -> None:
        if path in searched:
            return
        if isinstance(node, dict):
            for key, child in node.items():
                walk(child, (path or "model") if key == "kind" else f"{path}.{key}" if path else str(key))
        elif isinstance(node, list) and any(isinstance(child, dict) for child in node):
            for number, child in enumerate(node):
                walk(child, f"{path}.{number}")
        else:
            found[path] = node

    walk(model, "")
    return found


def written(value: object) -> str:
    """Return a setting's value as MLflow shows it."""
    return (f"{value:.4g}" if isinstance(value, float) else str(value))[:VALUE_LENGTH]
