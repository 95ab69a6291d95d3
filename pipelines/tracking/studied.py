"""What one study is in MLflow: a run with its figures and pictures, found by its content."""

from __future__ import annotations

from dataclasses import dataclass

from items.digests import sha256_of
from pipelines.studies.results import Result
from pipelines.sweep.record import digest_of
from pipelines.tracking.store import CONTENT, KEY, TAG, Store, metric


@dataclass(frozen=True)
class StudyProjection:
    """One study on its way into MLflow.

    Attributes:
        result: everything on disk about it.
        measured: when the last of its project's trials ended, milliseconds since 1970; a study notes no time.
    """

    result: Result
    measured: int

    @property
    def content(self) -> str:
        """Digest of what is projected; a run that bears it is whole."""
        pictures = {name: sha256_of(path) for name, path in self.result.pictures.items()}
        return digest_of(self.result.study.model_dump(mode="json"), pictures)

    def apply(self, store: Store) -> list[str]:
        """Write what the store lacks; return what was written, in words.

        Studies have an MLflow experiment beside their dataset's, so that figures which one run alone has are no
        columns of the table in which models are compared.
        """
        study, client = self.result.study, store.client
        experiment_id = store.experiment_id(f"{study.dataset}.studies")
        key = f"{study.place}/{self.content}"
        run = store.find_run(experiment_id, key)
        if run is None:
            tags = {KEY: key, f"{TAG}kind": "study", "dataset": study.dataset, "study": study.place}
            run = client.create_run(experiment_id, self.measured, tags, study.place)
        elif run.data.tags.get(CONTENT) == self.content:
            return []
        run_id = run.info.run_id
        metrics = [metric(name, value, self.measured, 0) for name, value in study.figures.items()]
        for start in range(0, len(metrics), 1000):
            client.log_batch(run_id, metrics=metrics[start : start + 1000])
        for path in self.result.pictures.values():
            client.log_artifact(run_id, str(path), "pictures")
        client.set_tag(run_id, "mlflow.note.content", self._note())
        client.set_terminated(run_id, "FINISHED", self.measured)
        client.set_tag(run_id, CONTENT, self.content)  # last: a run without it is made whole next time
        return ["figures and pictures"]

    def _note(self) -> str:
        study = self.result.study
        findings = "\n".join(f"- {finding}" for finding in study.findings)
        compared = f"\n\nOf {', '.join(self.result.experiments)}." if self.result.experiments else ""
        return f"**{study.title}**\n\n{study.question}\n\n{findings}{compared}"
