"""A sweep as MLflow runs: one parent, its trials nested below. Written live and from the record by the same lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.record import EpochRecord, TrialRecord
from pipelines.search import Parameters
from pipelines.tracking.store import KEY, TAG, Store, metric

if TYPE_CHECKING:
    from mlflow.entities import Run

STATUS = {"finished": "FINISHED", "stopped": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}


@dataclass(frozen=True)
class SweepRuns:
    """The runs of one sweep; each is found by its key, and made where it is not there.

    Attributes:
        store: where.
        experiment: the experiment's name, which the parent run bears.
        dataset: its dataset's, which groups runs in the UI.
        key: the sweep's.
        parameters: few and readable, for the parent: what a person would filter by.
        objective: the figure that trials are compared by.
    """

    store: Store
    experiment: str
    dataset: str
    key: str
    parameters: dict[str, str]
    objective: str

    @classmethod
    def of(
        cls, store: Store, experiment: str, settings: dict[str, Any], key: str, budget: str, objective: str
    ) -> SweepRuns:
        """Return the runs of a sweep of `settings`, an experiment as params.yaml has it."""
        model = settings["model"]
        parts = {part: model[part]["kind"] for part in ("corruption", "network", "bottleneck") if part in model}
        if penalties := model.get("penalties"):
            parts["penalties"] = " + ".join(penalty["kind"] for penalty in penalties)
        parameters = {"model": model["kind"], **parts, "budget": budget}
        return cls(store, experiment, settings["dataset"], key, parameters, objective)

    def parent(self, started: int) -> Run:
        """Return the parent run."""
        return self._ensure(self.key, self.experiment, started, self.parameters, {f"{TAG}kind": "sweep"})

    def trial(self, parent: Run, number: int, parameters: Parameters, started: int) -> Run:
        """Return a trial's run."""
        tags = {"mlflow.parentRunId": parent.info.run_id, f"{TAG}kind": "trial"}
        short = short_names(parameters)
        return self._ensure(f"{self.key}/{number}", f"{self.experiment} trial {number}", started, short, tags)

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
        self._log_parameters(run, short_names(trial.parameters))
        there = self.logged(run)
        self.log(run, [epoch for epoch in trial.history if epoch.epoch not in there])
        self.store.client.set_tag(run.info.run_id, f"{TAG}status", trial.status)
        self.store.client.set_terminated(run.info.run_id, STATUS[trial.status], trial.ended)
        return True

    def _ensure(self, key: str, name: str, started: int, parameters: dict[str, Any], tags: dict[str, str]) -> Run:
        with self.store.alone():
            experiment_id = self.store.experiment_id(self.dataset)
            found = self.store.find_run(experiment_id, key)
            if found is not None:
                return found
            run = self.store.client.create_run(experiment_id, started, {KEY: key, **tags}, name)
            self._log_parameters(run, parameters)
            return run

    def _log_parameters(self, run: Run, parameters: dict[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(value)) for name, value in parameters.items()]
        self.store.client.log_batch(run.info.run_id, params=params)


def short_names(parameters: Parameters) -> dict[str, str]:
    """Return searched values under the last word of their paths, or the whole path where two share it."""
    last = [path.rpartition(".")[2] for path in parameters]
    short = {path: name if last.count(name) == 1 else path for path, name in zip(parameters, last, strict=True)}
    return {
        short[path]: f"{value:.4g}" if isinstance(value, float) else str(value) for path, value in parameters.items()
    }
