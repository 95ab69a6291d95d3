"""The whole flow on digits, by the commands that a user types: real DVC, Ray, MLflow on SQLite, ONNX Runtime."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow_state import mlflow_state
from PIL import Image
from sandbox import PARAMS, Sandbox

from pipelines.compare.experiments import read_entries
from pipelines.project import Project
from pipelines.register.stage import dvc_stages
from pipelines.settings.params import load_params
from pipelines.tracking.projection import Projection
from pipelines.tracking.store import Store

EXPERIMENTS = list(PARAMS["experiments"])
STUDY = "subspaces-itself"
SETTINGS = PARAMS | {"studies": {"subspaces": {"itself": {"pca": "digits-pca", "linear": "digits-pca"}}}}


@pytest.fixture(scope="module")
def finished(make_sandbox: Callable[[], Sandbox]) -> Sandbox:
    """A project after its first `dvc repro`."""
    sandbox = make_sandbox()
    sandbox.write_params(SETTINGS)
    sandbox.git()
    done = sandbox.run("dvc", "repro")
    for name in EXPERIMENTS:
        assert f"{name}: " in done.stdout
    return sandbox


def test_every_stage_leaves_what_the_next_one_needs(finished: Sandbox) -> None:
    for name in EXPERIMENTS:
        metrics = json.loads((finished.root / "metrics" / f"{name}.json").read_text())
        assert metrics["squared_error"] == pytest.approx(metrics["mse"] * 64, rel=1e-6)
        for figure in ("squared_error", "mse", "psnr", "ssim", "knn_accuracy", "probe_accuracy"):
            low, high = metrics["intervals"][figure]
            assert low <= metrics[figure] <= high
        assert metrics["encode_items_per_second"] > 0
        assert (finished.root / "plots" / name / "reconstructions.png").stat().st_size > 1000
    vqvae = json.loads((finished.root / "metrics" / "digits-vqvae.json").read_text())
    assert vqvae["bits_per_item"] == 16 * 5  # a 4x4 grid of one in 32
    assert 0 < vqvae["codebook_usage"] <= 1
    assert 1 <= vqvae["codebook_perplexity"] <= 32
    rows = json.loads((finished.root / "reports" / "leaderboard.json").read_text())
    assert {row["experiment"] for row in rows} == set(EXPERIMENTS)
    report = (finished.root / "reports" / "index.html").read_text()
    assert "digits-vqvae" in report
    assert f'href="studies/{STUDY}.html"' in report
    assert (finished.root / "reports" / "studies" / f"{STUDY}.html").is_file()


def test_pca_is_as_good_as_another_pca(finished: Sandbox) -> None:
    from sklearn.decomposition import PCA

    data = finished.root / "data" / "digits"
    train, test = (np.load(data / f"{s}-items.npy").reshape(-1, 64) / 255.0 for s in ("train", "test"))
    peer = PCA(8).fit(train)
    expected = ((peer.inverse_transform(peer.transform(test)) - test) ** 2).sum(1).mean()
    metrics = json.loads((finished.root / "metrics" / "digits-pca.json").read_text())
    assert metrics["squared_error"] == pytest.approx(expected, rel=1e-4)


def test_dvc_shows_metrics_and_plots(finished: Sandbox) -> None:
    shown = json.loads(finished.run("dvc", "metrics", "show", "--json").stdout)
    assert set(shown[""]["data"]) == {f"metrics/{name}.json" for name in [*EXPERIMENTS, f"studies/{STUDY}"]}
    finished.run("dvc", "plots", "show", "-o", str(finished.root / "shown"))
    page = (finished.root / "shown" / "index.html").read_text()
    assert "squared_error" in page
    shutil.rmtree(finished.root / "shown")


def test_mlflow_holds_each_run_once_and_each_model_as_champion(finished: Sandbox) -> None:
    state = mlflow_state(finished.root)
    trials = {name: 1 if name == "digits-pca" else 3 for name in EXPERIMENTS}
    expected = EXPERIMENTS + [f"{n} trial {i + 1}" for n in EXPERIMENTS for i in range(trials[n])] + [STUDY]
    assert sorted(name for name, *_ in state["runs"]) == sorted(expected)
    assert state["aliases"] == sorted((name, "champion", 1) for name in EXPERIMENTS)
    metrics = json.loads((finished.root / "metrics" / "digits-deep.json").read_text())
    assert ("digits-deep", "squared_error", 0, metrics["squared_error"]) in state["metrics"]


def test_a_second_repro_runs_register_alone_and_writes_nothing(finished: Sandbox) -> None:
    before = mlflow_state(finished.root)
    content = hashlib.sha256("".join(sqlite3.connect(finished.root / "mlflow.db").iterdump()).encode()).hexdigest()
    done = finished.run("dvc", "repro")
    ran = [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]
    assert ran == ["register"]
    assert done.stdout.count("nothing new") == len(EXPERIMENTS) + 1
    assert mlflow_state(finished.root) == before
    after = hashlib.sha256("".join(sqlite3.connect(finished.root / "mlflow.db").iterdump()).encode()).hexdigest()
    assert after == content
    status = json.loads(finished.run("dvc", "status", "--json").stdout)
    assert list(status) == ["register"]


def test_mlflow_is_rebuilt_from_disk_alone(finished: Sandbox) -> None:
    before = mlflow_state(finished.root)
    (finished.root / "mlflow.db").unlink()
    shutil.rmtree(finished.root / "mlartifacts")
    finished.stage("register")
    assert mlflow_state(finished.root) == before


def projection_in(root: Path, name: str) -> tuple[Projection, Store]:
    project = Project(root, root)
    entry = next(e for e in read_entries(project, load_params(project)) if e.name == name)
    return Projection(entry, project.bundle(name), dvc_stages(project)[name]), Store.of(root)


def test_a_register_that_dies_half_way_is_made_whole_by_the_next(
    finished: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = mlflow_state(finished.root)
    (finished.root / "mlflow.db").unlink()
    shutil.rmtree(finished.root / "mlartifacts")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for dies_in in ("create_model_version", "set_registered_model_alias", "log_image", "set_terminated"):
        projection, store = projection_in(finished.root, "digits-vqvae")
        with monkeypatch.context() as patch:

            def die(*_: object, **__: object) -> None:
                raise OSError("killed here")

            patch.setattr(store.client, dies_in, die)
            with pytest.raises(OSError, match="killed here"):
                projection.apply(store)
    finished.stage("register")
    after = mlflow_state(finished.root)
    assert after == before
    models = sqlite3.connect(finished.root / "mlflow.db").execute("select count(*) from logged_models").fetchone()
    assert models == (len(EXPERIMENTS),)


def test_figures_that_were_measured_anew_are_the_ones_shown(finished: Sandbox) -> None:
    path = finished.root / "metrics" / "digits-deep.json"
    original = path.read_text()
    changed = json.loads(original) | {"squared_error": 0.25, "encode_items_per_second": 7.0}
    path.write_text(json.dumps(changed))
    assert "digits-deep: figures and pictures" in finished.stage("register").stdout
    assert "digits-deep: nothing new" in finished.stage("register").stdout
    latest = "select value from latest_metrics join runs using (run_uuid) where name = 'digits-deep' and key = ?"
    database = sqlite3.connect(finished.root / "mlflow.db")
    assert database.execute(latest, ["squared_error"]).fetchall() == [(0.25,)]
    tags = "select value from model_version_tags where name = 'digits-deep' and key = 'squared_error'"
    assert database.execute(tags).fetchall() == [("0.25",)]
    path.write_text(original)
    finished.stage("register")
    assert database.execute(latest, ["squared_error"]).fetchall() == [(json.loads(original)["squared_error"],)]


def test_figures_of_another_bundle_are_not_registered(finished: Sandbox) -> None:
    path = finished.root / "metrics" / "digits-deep.json"
    original = path.read_text()
    path.write_text((finished.root / "metrics" / "digits-pca.json").read_text())
    failed = finished.stage("register", fails=True)
    path.write_text(original)
    assert "digits-deep: evaluate worked from" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_encode_gives_the_codes_that_were_evaluated(finished: Sandbox, name: str) -> None:
    out = finished.root / "codes" / name
    items = finished.root / "data" / "digits" / "test-items.npy"
    hourglass = [sys.executable, "-m", "serving.cli"]
    finished.run(*hourglass, "encode", str(items), "--model", f"models:/{name}@champion", "--out", str(out))
    manifest = json.loads((out / "manifest.json").read_text())
    bundle = json.loads((finished.root / "bundles" / name / "bundle.json").read_text())
    table = pq.read_table(sorted(out.glob("part-*.parquet")))
    codes = np.array(table["code"].to_pylist(), dtype=bundle["code"]["dtype"])
    evidence = json.loads((finished.root / "metrics" / f"{name}.json").read_text())["evidence"][0]
    assert table["id"].to_pylist()[:2] == ["0", "1"]
    assert hashlib.sha256(np.ascontiguousarray(codes).tobytes()).hexdigest() == evidence["codes_sha256"]
    assert bundle["digest"] in json.dumps(manifest)
    assert bundle["certificate"]["passed"]

    rebuilt = finished.root / "rebuilt" / name
    finished.run(*hourglass, "decode", str(out), "--model", f"bundles/{name}", "--out", str(rebuilt))
    pictures = sorted(rebuilt.rglob("*.png"))
    assert len(pictures) == len(codes)
    assert Image.open(pictures[0]).size == (8, 8)


def test_one_changed_setting_reruns_its_experiment_alone_and_challenges(finished: Sandbox) -> None:
    params = copy.deepcopy(SETTINGS)
    params["experiments"]["digits-pca"]["model"]["size"] = 9
    finished.write_params(params)
    done = finished.run("dvc", "repro")
    ran = [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]
    assert set(ran[2:4]) == {"evaluate@digits-pca", "subspaces@itself"}
    assert [*ran[:2], *ran[4:]] == ["sweep@digits-pca", "export@digits-pca", "compare", "register"]
    aliases = mlflow_state(finished.root)["aliases"]
    assert ("digits-pca", "champion", 1) in aliases
    assert ("digits-pca", "challenger", 2) in aliases
    assert ("digits-deep", "champion", 1) in aliases


def test_registering_without_mlflow_says_what_is_wrong_and_loses_nothing(finished: Sandbox) -> None:
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    failed = finished.stage("register", fails=True, **away)
    assert "MLflow at http://127.0.0.1:9" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "nothing new" in finished.stage("register").stdout
