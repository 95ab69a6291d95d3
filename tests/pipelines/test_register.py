"""register: it writes what MLflow lacks, and says at once where nothing is lacking."""

from __future__ import annotations

import hashlib
import io
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import MLP, Lab, write
from mlflow_state import mlflow_state
from PIL import Image
from sandbox import REPOSITORY

from pipelines.compare.summary import read_summary
from pipelines.metrics.table import METRICS
from pipelines.project import StageError
from pipelines.register import next_steps
from pipelines.register import stage as register
from pipelines.tracking.present import is_projected, tracking_uri
from pipelines.tracking.store import Store
from pipelines.tracking.tags import alias_changes

PROGRAM = """
import sys
from pipelines.register import stage
stage.main()
print(sorted({"mlflow", "torch", "pandas", "sqlalchemy"} & set(sys.modules)))
"""


def picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (3, 2)).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A project whose two experiments and study are registered."""
    lab = Lab(tmp_path_factory.mktemp("registered"))
    lab.dataset("digits")
    lab.experiment("pca", pictures=picture())
    lab.experiment("deep", model=MLP, pictures=picture())
    lab.study("same", "pca", "deep")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        lab.compare(patch)
        register.main()
    return lab


@pytest.fixture(scope="module")
def kept(first: Lab) -> Path:
    """A copy of the project, MLflow's database and all."""
    root = first.project.root
    return Path(shutil.copytree(root, root.with_name("kept")))


@pytest.fixture
def registered(first: Lab, kept: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """The project, whose files get their contents back after the test; the database, which MLflow holds open, too."""
    monkeypatch.chdir(first.project.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield first
    shutil.copytree(kept, first.project.root, dirs_exist_ok=True)


def projected(lab: Lab) -> bool:
    return is_projected(read_summary(lab.project), tracking_uri(lab.project.home))


def written(lab: Lab, capsys: pytest.CaptureFixture[str]) -> str:
    """Register again, and once more, which must find nothing to do; return what the first wrote."""
    assert not projected(lab)
    capsys.readouterr()
    register.main()
    text = capsys.readouterr().out
    assert projected(lab)
    register.main()
    assert capsys.readouterr().out == "nothing new, experiments: 2, studies: 1\n"
    return text


def test_where_nothing_is_new_register_imports_nothing_slow_and_changes_nothing(registered: Lab) -> None:
    database = registered.project.root / "mlflow.db"
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=registered.project.root, env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["nothing new, experiments: 2, studies: 1", "[]"], done.stderr
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before


def test_nothing_that_register_may_import_needs_torch() -> None:
    code = "import sys, pipelines.register.everything, pipelines.tracking.live, mlflow; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr


def test_all_of_an_experiment_is_in_mlflow(registered: Lab) -> None:
    client = Store.of(registered.project.root).client
    experiment = client.get_experiment_by_name("digits")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {f"digits-{n}{trial}" for n in ("pca", "deep") for trial in ("", " trial 1", " trial 2")}
    deep = runs["digits-deep"]
    assert {key: deep.data.metrics[key] for key in ("squared_error", "bits_per_item", "encode_items_per_second")} == {
        "squared_error": pytest.approx(4.0), "bits_per_item": 128.0, "encode_items_per_second": 1234.5,
    }  # fmt: skip
    assert deep.data.params["training.learning_rate"] == "0.002"
    assert {runs[f"digits-deep trial {n}"].data.tags["mlflow.parentRunId"] for n in (1, 2)} == {deep.info.run_id}
    assert [runs[f"digits-deep trial {n}"].info.status for n in (1, 2)] == ["FINISHED", "FAILED"]
    version = client.get_model_version_by_alias("digits-deep", "champion")
    assert version.tags["squared_error"] == "4"
    assert {f.path for f in client.list_artifacts(deep.info.run_id, "pictures")} >= {"pictures/codes.png"}
    folder = Path(client.get_model_version_download_uri("digits-deep", "1").removeprefix("file://"), "bundle")
    assert sorted(path.name for path in folder.iterdir()) == ["bundle.json", "encoder.onnx"]


def test_a_deleted_database_is_rebuilt(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(kept, tmp_path / "project"))
    (root / "mlflow.db").unlink()
    shutil.rmtree(root / "mlartifacts")
    monkeypatch.chdir(root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    register.main()
    assert "digits-deep: trials: 2, version 1, champion, metrics and pictures" in capsys.readouterr().out
    assert mlflow_state(root) == mlflow_state(kept)
    register.main()
    assert "nothing new, experiments: 2, studies: 1" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["digits-deep", "digits-deep trial 1", "same"])
def test_a_deleted_run_is_written_again(registered: Lab, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    client = Store.of(registered.project.root).client
    experiments = [e.experiment_id for e in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"attributes.run_name = '{name}'")
    client.delete_run(run.info.run_id)
    text = written(registered, capsys)
    assert "digits-pca: nothing new" in text
    (again,) = client.search_runs(experiments, f"attributes.run_name = '{name}'")
    assert again.info.run_id != run.info.run_id
    assert again.data.metrics == run.data.metrics
    trials = client.search_runs(experiments, "attributes.run_name like 'digits-deep trial%'")
    (parent,) = client.search_runs(experiments, "attributes.run_name = 'digits-deep'")
    assert [trial.data.tags["mlflow.parentRunId"] for trial in trials] == [parent.info.run_id] * 2


def test_a_deleted_experiment_is_restored(registered: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    client = Store.of(registered.project.root).client
    client.delete_experiment(client.get_experiment_by_name("digits").experiment_id)
    written(registered, capsys)
    assert client.get_experiment_by_name("digits").lifecycle_stage == "active"


def test_a_deleted_version_is_registered_again(registered: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    client = Store.of(registered.project.root).client
    client.delete_model_version("digits-deep", "1")
    assert "digits-deep: version 2, champion" in written(registered, capsys)
    database = sqlite3.connect(registered.project.root / "mlflow.db")
    assert database.execute("select count(*) from logged_models").fetchone() == (2,)  # the logged model is used again


def test_a_deleted_model_is_registered_again(registered: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    Store.of(registered.project.root).client.delete_registered_model("digits-deep")
    assert "digits-deep: version 1, champion" in written(registered, capsys)


def test_a_deleted_alias_is_given_again(registered: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    client = Store.of(registered.project.root).client
    client.delete_registered_model_alias("digits-deep", "champion")
    assert "digits-deep: champion" in written(registered, capsys)


def test_an_alias_that_was_moved_to_another_version_stays_there(
    registered: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Store.of(registered.project.root).client
    client.create_model_version("digits-deep", "somewhere")
    client.set_registered_model_alias("digits-deep", "champion", "2")
    assert "digits-deep: challenger" in written(registered, capsys)
    aliases = client.get_registered_model("digits-deep").aliases
    assert {alias: int(version) for alias, version in aliases.items()} == {"champion": 2, "challenger": 1}


def test_a_run_that_lost_its_last_tag_is_completed(registered: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    client = Store.of(registered.project.root).client
    (run,) = client.search_runs(
        [client.get_experiment_by_name("digits").experiment_id], "attributes.run_name = 'digits-deep'"
    )
    client.delete_tag(run.info.run_id, "hourglass.content")
    assert "digits-deep: metrics and pictures" in written(registered, capsys)


def test_a_new_evaluation_is_the_one_that_is_shown(
    registered: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registered.experiment("deep", model=MLP, pictures=picture(), squared_error=(0.25, 0.01))
    with pytest.raises(StageError, match=r"metrics/digits/deep\.json: has changed since `compare` read it"):
        register.main()
    registered.compare(monkeypatch)
    assert "digits-deep: metrics and pictures" in written(registered, capsys)
    latest = "select value from latest_metrics join runs using (run_uuid) where name = 'digits-deep' and key = ?"
    database = sqlite3.connect(registered.project.root / "mlflow.db")
    assert database.execute(latest, ["squared_error"]).fetchall() == [(pytest.approx(0.25),)]
    tags = "select value from model_version_tags where name = 'digits-deep' and key = 'squared_error'"
    assert database.execute(tags).fetchall() == [("0.25",)]


def test_a_metric_that_evaluate_adds_is_in_mlflow(
    registered: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "sharpness" not in {metric.key for metric in METRICS}
    registered.experiment("deep", model=MLP, pictures=picture(), sharpness=(3.0, 0.1))
    registered.compare(monkeypatch)
    written(registered, capsys)
    database = sqlite3.connect(registered.project.root / "mlflow.db")
    values = "select name, value from latest_metrics join runs using (run_uuid) where key = 'sharpness'"
    assert database.execute(values).fetchall() == [("digits-deep", pytest.approx(3.0))]


def test_a_bundle_without_a_passing_certificate_is_not_registered(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    lab.experiment("bad", passed=False)
    lab.compare(monkeypatch)
    with pytest.raises(StageError, match="digits-bad: not registered, its certificate did not pass: codes differ"):
        register.main()


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 300])
def test_a_damaged_database_is_left_to_mlflow_to_name(registered: Lab, damage: bytes) -> None:
    write(registered.project.root / "mlflow.db", damage)
    assert not projected(registered)


def test_of_a_server_nothing_is_taken_for_granted(registered: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert not projected(registered)


@pytest.mark.parametrize(
    ("aliases", "collapsed", "changes"),
    [
        ({}, False, {"champion": "2"}),
        ({}, True, {}),
        ({"champion": "1"}, False, {"challenger": "2"}),
        ({"champion": "1", "challenger": "2"}, False, {}),
        ({"champion": "2", "challenger": "1"}, False, {}),
        ({"champion": "1"}, True, {}),
        ({"champion": "2"}, True, {"champion": None}),
        ({"champion": "1", "challenger": "2"}, True, {"challenger": None}),
    ],
)
def test_aliases_go_to_sound_versions(aliases: dict[str, str], collapsed: bool, changes: dict[str, Any]) -> None:
    assert alias_changes(aliases, "2", collapsed) == changes
    after = {alias: version for alias, version in (aliases | changes).items() if version is not None}
    assert alias_changes(after, "2", collapsed) == {}


def test_next_steps_name_a_sound_model_with_the_test_items(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.experiment("empty", squared_error=(1.0, 0.1), collapsed=("1 code for 40 different items",))
    lab.experiment("best", squared_error=(2.0, 0.1))
    lab.experiment("other", squared_error=(3.0, 0.1))
    lab.compare(monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    capsys.readouterr()
    next_steps.main()
    assert capsys.readouterr().out.splitlines() == [
        "",
        "Report     reports/index.html",
        "MLflow UI  http://server",
        "Encode     .venv/bin/hourglass encode data/digits/test-items.npy --model models:/digits-best@champion "
        "--out codes/digits-best",
    ]
