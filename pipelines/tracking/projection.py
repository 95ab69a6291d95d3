"""What one experiment is in MLflow, and how it gets there: only what is missing is written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipelines.compare.experiments import Entry, read_picture
from pipelines.project import StageError
from pipelines.settings.experiment import ExperimentSettings
from pipelines.sweep.record import digest_of
from pipelines.tracking.models import MODEL_TAG, crown, find_version, log_model, register_version
from pipelines.tracking.runs import SweepRuns, log_parameters
from pipelines.tracking.store import CONTENT, Store, metric

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class Projection:
    """One experiment on its way into MLflow.

    Attributes:
        entry: everything on disk about it.
        bundle: the folder of its bundle.
        stage: a digest of its stages in dvc.lock.
    """

    entry: Entry
    bundle: Path
    stage: str

    @property
    def figures(self) -> dict[str, float]:
        """The test split's figures; without mse, which is squared_error over an item's values."""
        extra = self.entry.metrics.__pydantic_extra__
        figures = {"bits_per_item": self.entry.metrics.bits_per_item, **extra}
        return {name: float(value) for name, value in figures.items() if name != "mse"}

    @property
    def content(self) -> str:
        """Digest of what is projected; a parent run that bears it is whole."""
        entry = self.entry
        parts = (entry.record.key, entry.manifest.digest, self.figures, sorted(entry.pictures), entry.collapsed)
        return digest_of(*parts)

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the model, its version, and the parent run."""
        schema, figures = self.entry.schema, self.figures
        shown = {name: f"{value:.4g}" for name, value in figures.items() if name in ("squared_error", "bits_per_item")}
        return {
            "dataset": schema.name,
            "data_digest": schema.digest,
            "certificate": f"passed: {self.entry.manifest.certificate.summary}",
            "git_commit": self.entry.record.git_commit,
            "dvc_stage": self.stage,
            "collapsed": self.entry.collapsed or "no",
            **shown,
        }

    def apply(self, store: Store) -> list[str]:
        """Write what the store lacks; return what was written, in words."""
        record, written = self.entry.record, []
        runs = self._runs(store)
        parent = runs.parent(min(trial.started for trial in record.trials))
        trials = sum(runs.complete(parent, trial) for trial in record.trials)
        if trials:
            written.append(f"{trials} trial{'s' * (trials > 1)}")
        version = find_version(store, self.entry.manifest)
        if version is None:
            model_id = log_model(store, self.bundle, self.entry.manifest, parent, self.tags)
            number = register_version(store, self.entry.manifest, model_id, self.tags)
            written.append(f"version {number}")
        else:
            model_id, number = version.tags[MODEL_TAG], str(version.version)
        if alias := crown(store, record.experiment, number, self.entry.collapsed):
            written.append(alias)
        if parent.data.tags.get(CONTENT) != self.content:
            for key, value in self.tags.items():
                store.client.set_model_version_tag(record.experiment, number, key, value)
            self._complete_parent(store, parent, model_id, runs.given(record.best.parameters))
            written.append("figures and pictures")
        return written

    def _runs(self, store: Store) -> SweepRuns:
        record = self.entry.record
        try:
            settings = ExperimentSettings.model_validate(record.settings)
            settings.model_settings(record.best.parameters)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(["settings", *map(str, first["loc"])])
            raise StageError(
                f"{record.experiment}: record.json: {where}: {first['msg']}; run its sweep again"
            ) from error
        return SweepRuns.of(
            store, record.experiment, settings.model_dump(mode="json"), record.key, record.budget, record.objective
        )

    def _complete_parent(self, store: Store, parent: Run, model_id: str, best: dict[str, str]) -> None:
        from mlflow.entities import LoggedModelOutput, RunTag

        client, run_id, record = store.client, parent.info.run_id, self.entry.record
        ended = max(trial.ended for trial in record.trials)
        schema, figures = self.entry.schema, self.figures
        ties = {"model_id": model_id, "dataset_name": schema.name, "dataset_digest": schema.digest[:32]}
        # MLflow shows the figure of the highest step: a bundle that is evaluated anew takes the next one.
        step = len(client.get_metric_history(run_id, "bits_per_item")) if parent.data.metrics else 0
        metrics = [metric(name, value, ended, step, **ties) for name, value in figures.items()]
        spent = {"trials_spent": len(record.trials), "epochs_spent": sum(len(t.history) for t in record.trials)}
        if all(parent.data.metrics.get(name) == value for name, value in figures.items()):
            metrics = []
        metrics += [
            metric(name, count, ended, 0) for name, count in spent.items() if parent.data.metrics.get(name) != count
        ]
        client.log_inputs(run_id, [self._dataset_input()])
        log_parameters(store, parent, best)
        client.log_batch(run_id, metrics=metrics, tags=[RunTag(k, v) for k, v in self.tags.items()])
        outputs = client.get_run(run_id).outputs
        if model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
            client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])
        for picture in self.entry.pictures.values():
            client.log_artifact(run_id, str(picture), "pictures")
            client.log_image(
                run_id, read_picture(picture), key=picture.stem, step=step, timestamp=ended, synchronous=True
            )
        client.set_tag(run_id, "mlflow.note.content", self._note())
        client.set_terminated(run_id, "FINISHED", ended)
        client.set_tag(run_id, CONTENT, self.content)  # last: a run without it is made whole next time

    def _dataset_input(self) -> Any:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        schema = self.entry.schema
        counts = {split: schema.splits[split].count for split in ("train", "validation", "test")}
        item = {"kind": schema.item.kind, "shape": list(schema.item.shape), "dtype": schema.item.dtype}
        dataset = Dataset(
            name=schema.name,
            digest=schema.digest[:32],
            source_type="prepared-dataset",
            source=json.dumps({"uri": schema.source, "licence": schema.licence}),
            schema=json.dumps(item),
            profile=json.dumps(counts),
        )
        return DatasetInput(dataset, [InputTag("mlflow.data.context", "training and evaluation")])

    def _note(self) -> str:
        record = self.entry.record
        ranges = record.space.items() if record.searched else ()
        searched = "\n".join(f"- `{path}`: {text}" for path, text in ranges) or "- nothing"
        return (
            f"**{record.experiment}** on {record.dataset}: trial {record.best_trial} of {len(record.trials)} was best "
            f"(validation {record.objective.removeprefix('validation_').replace('_', ' ')} "
            f"{record.best_metrics[record.objective]:.4g} at epoch {record.best_epoch}).\n\n"
            f"Metrics are of the test split, through ONNX Runtime.\n\nSearched:\n{searched}\n\n"
            f"Bundle `{self.entry.manifest.digest[:12]}`, {self.tags['certificate']}."
        )
