"""Studies in MLflow, on SQLite: each content once, beside the experiments that models are compared in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab import Lab, read

from pipelines.settings.params import load_params
from pipelines.studies.contract import STUDY
from pipelines.studies.results import read_results
from pipelines.tracking.store import Store
from pipelines.tracking.studied import StudyProjection


def projection(lab: Lab) -> StudyProjection:
    (result,) = read_results(lab.project, load_params(lab.project), read(lab))
    return StudyProjection(result, measured=3500)


def runs(store: Store) -> list[Any]:
    return list(store.client.search_runs([store.experiment_id("digits.studies")]))


def test_a_study_is_one_run_with_its_figures_words_and_pictures(
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
            projection(lab).apply(store)
    assert projection(lab).apply(store) == ["figures and pictures"]
    assert projection(lab).apply(store) == []
    (run,) = runs(store)
    assert (run.info.run_name, run.info.status, run.data.metrics) == (
        "subspaces-one", "FINISHED", {"largest_angle": 3.5},
    )  # fmt: skip
    assert run.data.tags["hourglass.kind"] == "study"
    for words in ("**One subspace**", "Is it?", "- Nearly.", "- Or not.", "Of pca, linear."):
        assert words in run.data.tags["mlflow.note.content"]
    assert [f.path for f in store.client.list_artifacts(run.info.run_id, "pictures")] == ["pictures/angles.png"]

    path = lab.project.study("subspaces", "one") / STUDY
    path.write_text(path.read_text().replace("Nearly.", "Hardly."))
    assert projection(lab).apply(store) == ["figures and pictures"]
    assert {run.data.tags["hourglass.content"] for run in runs(store)} >= {projection(lab).content}
    assert len(runs(store)) == 2
