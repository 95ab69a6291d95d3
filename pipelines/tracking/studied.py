"""One study on its way into MLflow: a run with its metrics and pictures, found by its content."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.compare.summary import StudySummary
from pipelines.tracking.store import Store, metric
from pipelines.tracking.tags import CONTENT, KEY, TAG, studies_of


@dataclass(frozen=True)
class StudyProjection:
    """One study as a run of the MLflow experiment beside its dataset's.

    Attributes:
        summary: its place in params.yaml, and the digest of all that its run shows; a run with this tag is whole.
        folder: its page, which `compare` has checked.
        ended: when the last of its dataset's trials ended, milliseconds since 1970; a study has no time of its own.
    """

    summary: StudySummary
    folder: Path
    ended: int

    def apply(self, store: Store) -> list[str]:
        """Write what the store lacks; return what was written, in words."""
        summary, client = self.summary, store.client
        experiment_id = store.experiment_id(studies_of(summary.dataset))
        key = f"{summary.name}/{summary.content}"
        run = store.find_run(experiment_id, key)
        if run is None:
            tags = {KEY: key, f"{TAG}kind": "study", "dataset": summary.dataset, "study": summary.name}
            run = client.create_run(experiment_id, self.ended, tags, summary.name)
        elif (run.data.tags.get(CONTENT), run.info.status) == (summary.content, "FINISHED"):
            return []
        run_id, study = run.info.run_id, json.loads((self.folder / "study.json").read_bytes())
        metrics = [metric(name, value, self.ended, 0) for name, value in study["metrics"].items()]
        for start in range(0, len(metrics), 1000):
            client.log_batch(run_id, metrics=metrics[start : start + 1000])
        for picture in study["pictures"]:
            client.log_artifact(run_id, str(self.folder / picture["file"]), "pictures")
        client.set_tag(run_id, "mlflow.note.content", note(study))
        client.set_terminated(run_id, "FINISHED", self.ended)
        client.set_tag(run_id, CONTENT, summary.content)  # last: a run without it is made whole next time
        return ["metrics and pictures"]


def note(study: dict[str, Any]) -> str:
    """Return a study's description in MLflow."""
    experiments = ", ".join(study["made_from"])
    return f"**{study['title']}**\n\n{study['question']}\n\n{study['summary']}\n\nExperiments: {experiments}"
