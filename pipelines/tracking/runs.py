"""A sweep as MLflow runs: one parent, its trials nested below. Live tracking and `register` share this code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.settings.spaces import Parameters, fill
from pipelines.sweep.record import EpochRecord, TrialRecord
from pipelines.tracking.store import Store, metric
from pipelines.tracking.tags import KEY, PARENT, STATUS, TAG

if TYPE_CHECKING:
    from mlflow.entities import Run

AT_ONCE, LONGEST, LONGEST_NAME = 100, 6000, 250  # parameters a call, and their characters: MLflow's limits


@dataclass(frozen=True)
class SweepRuns:
    """The runs of one experiment's sweep; each is found by its key, and created where it is not there.

    Attributes:
        store: the tracking store.
        name: the model's name, which is the parent run's.
        dataset: the dataset's name, and that of the MLflow experiment.
        settings: the experiment as params.yaml has it, distributions and all.
        key: the sweep's key for this experiment.
        parameters: what was asked for, for the parent run.
        objective: the metric that trials are compared by.
    """

    store: Store
    name: str
    dataset: str
    settings: dict[str, Any]
    key: str
    parameters: dict[str, str]
    objective: str

    @classmethod
    def of(
        cls, store: Store, name: str, dataset: str, settings: dict[str, Any], key: str, budget: str, objective: str
    ) -> SweepRuns:
        """Return the runs of a sweep within a budget, `quick` or `paper`."""
        model, asked = settings["model"], settings.get(budget, {})
        parameters = {
            "model": model["kind"],
            "budget": budget,
            **{key: str(asked.get(key, 1)) for key in ("epochs", "trials")},
        }
        if penalties := model.get("penalties"):
            parameters["penalties"] = " + ".join(penalty["kind"] for penalty in penalties)
        return cls(store, name, dataset, settings, key, parameters, objective)

    def parent(self, started: int) -> Run:
        """Return the parent run."""
        return self._ensure(self.key, self.name, started, self.parameters, {f"{TAG}kind": "sweep"})

    def trial(self, parent: Run, number: int, parameters: Parameters, started: int) -> Run:
        """Return a trial's run."""
        tags = {PARENT: parent.info.run_id, f"{TAG}kind": "trial"}
        return self._ensure(
            f"{self.key}/{number}", f"{self.name} trial {number}", started, self.given(parameters), tags
        )

    def given(self, parameters: Parameters) -> dict[str, str]:
        """Return the settings of the model, with the searched values filled in, and of the sweep, by their paths.

        A part's kind stands under the part: `bottleneck: identity`.
        """
        tree = {**fill(self.settings["model"], parameters, "model"), "sweep": self.settings.get("sweep", {})}
        return {("model" if path == "kind" else path.removesuffix(".kind")): text for path, text in flat(tree).items()}

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
        """Complete a trial's run from the record; return whether anything was missing."""
        run = self.trial(parent, trial.number, trial.parameters, trial.started)
        moved: bool = run.data.tags.get(PARENT) != parent.info.run_id
        if moved:  # its parent was deleted, and created anew
            self.store.client.set_tag(run.info.run_id, PARENT, parent.info.run_id)
        if run.info.status == STATUS[trial.status]:
            return moved
        log_parameters(self.store, run, self.given(trial.parameters))
        there = self.logged(run)
        self.log(run, [epoch for epoch in trial.history if epoch.epoch not in there])
        self.store.client.set_tag(run.info.run_id, f"{TAG}status", trial.status)
        self.store.client.set_terminated(run.info.run_id, STATUS[trial.status], trial.ended)
        return True

    def _ensure(self, key: str, name: str, started: int, parameters: dict[str, str], tags: dict[str, str]) -> Run:
        with self.store.alone():
            experiment_id = self.store.experiment_id(self.dataset)
            found = self.store.find_run(experiment_id, key)
            if found is not None:
                return found
            run = self.store.client.create_run(experiment_id, started, {KEY: key, **tags}, name)
            log_parameters(self.store, run, parameters)
            return run


def log_parameters(store: Store, run: Run, parameters: dict[str, str]) -> None:
    """Log parameters to a run, within MLflow's limits."""
    from mlflow.entities import Param

    params = [Param(shortened(name, LONGEST_NAME), shortened(text, LONGEST)) for name, text in parameters.items()]
    for start in range(0, len(params), AT_ONCE):
        store.client.log_batch(run.info.run_id, params=params[start : start + AT_ONCE])


def flat(tree: object, path: str = "") -> dict[str, str]:
    """Return the values of a settings tree by their dotted paths; a list of plain values is one value."""
    plain = isinstance(tree, list) and not any(isinstance(one, dict | list) for one in tree)
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    if plain or not isinstance(tree, dict | list):
        return {path: f"{tree:.6g}" if isinstance(tree, float) else str(tree)}
    found: dict[str, str] = {}
    for key, child in children:
        found |= flat(child, f"{path}.{key}" if path else str(key))
    return found


def shortened(text: str, most: int) -> str:
    """Return a text of at most `most` characters, with its end left out where it is longer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
