"""One experiment on its way into MLflow: only what is missing is written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.compare.experiments import ExperimentResult, read_picture
from pipelines.tracking.models import find_version, log_model, register_version, set_alias
from pipelines.tracking.runs import SweepRuns, log_parameters
from pipelines.tracking.store import Store, metric
from pipelines.tracking.tags import CONTENT, MODEL

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class Projection:
    """One experiment as runs, a registered model and its version.

    Attributes:
        result: everything on disk about it.
        content: the digest of all that its parent run shows; a run with this tag is whole.
        bundle: the folder of its bundle.
        stage: a digest of its dataset's stages in dvc.lock.
    """

    result: ExperimentResult
    content: str
    bundle: Path
    stage: str

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the model, its version, and the parent run."""
        result, schema = self.result, self.result.schema
        values = {key: result.value(key) for key in ("squared_error", "bits_per_item")}
        return {
            "dataset": schema.name,
            "data_digest": schema.digest,
            "certificate": f"passed: {result.manifest.certificate.summary}",
            "git_commit": result.record.git_commit,
            "dvc_stage": self.stage,
            "collapsed": result.collapsed or "no",
            **{key: f"{value:.4g}" for key, value in values.items() if value is not None},
        }

    def apply(self, store: Store) -> list[str]:
        """Write what the store lacks; return what was written, in words."""
        result, name, record, written = self.result, self.result.model, self.result.record, []
        runs = SweepRuns.of(store, name, result.dataset, record.settings, record.key, record.budget, record.objective)
        parent = runs.parent(min(trial.started for trial in record.trials))
        trials = sum(runs.complete(parent, trial) for trial in record.trials)
        if trials:
            written.append(f"trials: {trials}")
        version = find_version(store, name, result.manifest)
        if version is None:
            model_id = log_model(store, name, self.bundle, result.manifest, parent, self.tags)
            number = register_version(store, name, result.manifest.digest, model_id, self.tags)
            written.append(f"version {number}")
        else:
            model_id, number = version.tags[MODEL], str(version.version)
        if alias := set_alias(store, name, number, result.collapsed):
            written.append(alias)
        if (parent.data.tags.get(CONTENT), parent.info.status) != (self.content, "FINISHED"):
            for key, value in self.tags.items():
                store.client.set_model_version_tag(name, number, key, value)
            self._complete_parent(store, parent, model_id, runs.given(record.best.parameters))
            written.append("metrics and pictures")
        return written

    def _complete_parent(self, store: Store, parent: Run, model_id: str, best: dict[str, str]) -> None:
        from mlflow.entities import LoggedModelOutput, RunTag

        client, run_id, record = store.client, parent.info.run_id, self.result.record
        ended = max(trial.ended for trial in record.trials)
        schema, values = self.result.schema, self.result.metrics.values
        ties = {"model_id": model_id, "dataset_name": schema.name, "dataset_digest": schema.digest[:32]}
        # MLflow shows the value of the highest step: a bundle that is evaluated anew takes the next one.
        step = len(client.get_metric_history(run_id, "bits_per_item")) if parent.data.metrics else 0
        metrics = [metric(key, value, ended, step, **ties) for key, value in values.items()]
        spent = {"trials_spent": len(record.trials), "epochs_spent": sum(len(t.history) for t in record.trials)}
        if all(parent.data.metrics.get(key) == value for key, value in values.items()):
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
        for picture in self.result.pictures.values():
            client.log_artifact(run_id, str(picture), "pictures")
            client.log_image(
                run_id, read_picture(picture), key=picture.stem, step=step, timestamp=ended, synchronous=True
            )
        client.set_tag(run_id, "mlflow.note.content", self._note())
        client.set_terminated(run_id, "FINISHED", ended)
        client.set_tag(run_id, CONTENT, self.content)  # last: a run without it is made whole next time

    def _dataset_input(self) -> Any:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        schema = self.result.schema
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
        record = self.result.record
        best = f"{record.objective} {record.best_metrics[record.objective]:.4g} at epoch {record.best_epoch}"
        lines = [
            f"**{self.result.model}**: metrics of the test split, through ONNX Runtime.",
            f"- best trial: {record.best_trial} of {len(record.trials)}, {best}",
            *(f"- `{path}`: {record.best.parameters[path]} from {text}" for path, text in record.space.items()),
            f"- bundle: `{self.result.manifest.digest[:12]}`",
            f"- certificate: {self.tags['certificate']}",
        ]
        return "\n".join(lines)
