"""What one experiment is in MLflow, and how it gets there: only what is missing is written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data import DatasetSchema
from pipelines.record import RunRecord, digest_of
from pipelines.tracking.models import MODEL_TAG, crown, find_version, log_model, register_version
from pipelines.tracking.runs import SweepRuns, short_names
from pipelines.tracking.store import CONTENT, Store, metric
from serving.manifest import Manifest

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class Projection:
    """Everything on disk about one experiment.

    Attributes:
        record: its sweep.
        schema: its dataset.
        manifest: its bundle, in `bundle`.
        metrics: its metrics file.
        pictures: PNG files.
        origin: where it came from, as tags: `git_commit`, `dvc_stage`.
    """

    record: RunRecord
    schema: DatasetSchema
    manifest: Manifest
    bundle: Path
    metrics: dict[str, Any]
    pictures: tuple[Path, ...]
    origin: dict[str, str]

    @property
    def content(self) -> str:
        """Digest of what is projected; a parent run that bears it is whole."""
        pictures = sorted(path.name for path in self.pictures)
        return digest_of(self.record.key, self.manifest.digest, self.metrics, pictures)

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the model, its version, and the parent run."""
        checks = self.manifest.certificate.batches
        worst = max(max(check.encoder_difference, check.decoder_difference) for check in checks)
        different = sum(check.codes_different for check in checks)
        figures = {n: f"{self.metrics[n]:.4g}" for n in ("squared_error", "bits_per_item") if n in self.metrics}
        return {
            "dataset": self.schema.name,
            "data_digest": self.schema.digest,
            "certificate": f"passed: largest difference {worst:.1g}, codes that differ {different}",
            **figures,
            **self.origin,
        }

    def apply(self, store: Store) -> list[str]:
        """Write what the store lacks; return what was written, in words."""
        record, written = self.record, []
        runs = SweepRuns.of(store, record.experiment, record.settings, record.key, record.budget, record.objective)
        parent = runs.parent(min(trial.started for trial in record.trials))
        trials = sum(runs.complete(parent, trial) for trial in record.trials)
        if trials:
            written.append(f"{trials} trial{'s' * (trials > 1)}")
        version = find_version(store, self.manifest)
        if version is None:
            model_id = log_model(store, self.bundle, self.manifest, parent, self.tags)
            number = register_version(store, self.manifest, model_id, self.tags)
            written.append(f"version {number}")
        else:
            model_id, number = version.tags[MODEL_TAG], version.version
        if crown(store, record.experiment, number):
            written.append(f"champion {number}")
        if parent.data.tags.get(CONTENT) != self.content:
            self._complete_parent(store, parent, model_id)
            written.append("figures and pictures")
        return written

    def _complete_parent(self, store: Store, parent: Run, model_id: str) -> None:
        import numpy as np
        from mlflow.entities import LoggedModelOutput, Param, RunTag
        from PIL import Image

        client, run_id, record = store.client, parent.info.run_id, self.record
        ended = max(trial.ended for trial in record.trials)
        ties = {"model_id": model_id, "dataset_name": self.schema.name, "dataset_digest": self.schema.digest[:32]}
        # mse is squared_error over an item's values: one of them is enough to compare runs by.
        figures = {n: value for n, value in self.metrics.items() if isinstance(value, int | float) and n != "mse"}
        metrics = [metric(name, value, ended, 0, **ties) for name, value in figures.items()]
        best = short_names(record.best.parameters)
        params = [Param(name, value) for name, value in {**best, "trials": str(len(record.trials))}.items()]
        client.log_inputs(run_id, [self._dataset_input()])
        client.log_batch(run_id, metrics=metrics, params=params, tags=[RunTag(k, v) for k, v in self.tags.items()])
        client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])
        for picture in self.pictures:
            client.log_artifact(run_id, str(picture), "pictures")
            pixels = np.asarray(Image.open(picture).convert("RGB"))
            client.log_image(run_id, pixels, key=picture.stem, step=0, timestamp=ended, synchronous=True)
        client.set_tag(run_id, "mlflow.note.content", self._note())
        client.set_terminated(run_id, "FINISHED", ended)
        client.set_tag(run_id, CONTENT, self.content)  # last: a run without it is made whole next time

    def _dataset_input(self) -> Any:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        schema = self.schema
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
        record = self.record
        searched = "\n".join(f"- `{path}`: {text}" for path, text in record.space.items()) or "- nothing"
        return (
            f"**{record.experiment}** on {record.dataset}: trial {record.best_trial} of {len(record.trials)} was best "
            f"(validation {record.objective.removeprefix('validation_').replace('_', ' ')} "
            f"{record.best_metrics[record.objective]:.4g} at epoch {record.best_epoch}).\n\n"
            f"Metrics are of the test split, through ONNX Runtime.\n\nSearched:\n{searched}\n\n"
            f"Bundle `{self.manifest.digest[:12]}`, {self.tags['certificate']}."
        )
