"""Studies in MLflow, on SQLite: each content once, beside the experiments that models are compared in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab import Lab

from pipelines.compare.summary import read_summary
from pipelines.tracking.store import Store
from pipelines.tracking.studied import StudyProjection


def projection(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> StudyProjection:
    lab.compare(monkeypatch)
    (summary,) = read_summary(lab.project).studies
    return StudyProjection(summary, lab.project.study("digits", "one"), ended=3500)


def runs(store: Store) -> list[Any]:
    return list(store.client.search_runs([store.experiment_id("digits.studies")]))


def test_a_study_is_one_run_with_its_metrics_text_and_pictures(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    lab.experiment("pca")
    lab.experiment("linear")
    lab.study("one", "pca", "linear")
    store = Store.of(tmp_path)
    with monkeypatch.context() as patch:

        def die(*_: object, **__: object) -> None:
            raise OSError("killed here")

        patch.setattr(store.client, "set_terminated", die)
        with pytest.raises(OSError, match="killed here"):
            projection(lab, monkeypatch).apply(store)
    assert projection(lab, monkeypatch).apply(store) == ["metrics and pictures"]
    assert projection(lab, monkeypatch).apply(store) == []
    (run,) = runs(store)
    assert (run.info.run_name, run.info.status, run.data.metrics) == ("one", "FINISHED", {"largest_angle": 3.5})
    assert run.data.tags["hourglass.kind"] == "study"
    for text in ("**One subspace**", "Is it?", "Nearly.", "Experiments: pca, linear"):
        assert text in run.data.tags["mlflow.note.content"]
    assert [f.path for f in store.client.list_artifacts(run.info.run_id, "pictures")] == ["pictures/angles.png"]

    lab.study("one", "pca", "linear", summary="Hardly.")
    changed = projection(lab, monkeypatch)
    assert changed.apply(store) == ["metrics and pictures"]
    assert {run.data.tags["hourglass.content"] for run in runs(store)} >= {changed.summary.content}
    assert len(runs(store)) == 2
