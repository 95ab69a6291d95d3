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
from PIL import Image

from pipelines.compare import stage as compare
from pipelines.compare.experiments import read_experiment
from pipelines.compare.summary import read_summary
from pipelines.project import Project, StageError
from pipelines.register import stage as register
from pipelines.tracking.projection import Projection
from pipelines.tracking.store import Store
from tests.pipelines.mlflow_state import mlflow_state
from tests.pipelines.sandbox import PARAMS, Sandbox

EXPERIMENTS = list(PARAMS["experiments"]["digits"])
MODELS = [f"digits-{name}" for name in EXPERIMENTS]
SETTINGS = PARAMS | {"studies": {"digits": {"itself": {"kind": "subspaces", "pca": "pca", "linear": "pca"}}}}


@pytest.fixture(scope="module")
def finished(make_sandbox: Callable[[], Sandbox]) -> Sandbox:
    """A project after its first `dvc repro`."""
    sandbox = make_sandbox()
    sandbox.write_params(SETTINGS)
    sandbox.git()
    done = sandbox.run("dvc", "repro")
    for name in MODELS:
        assert f"{name}: " in done.stdout
    return sandbox


def test_every_stage_leaves_what_the_next_one_needs(finished: Sandbox) -> None:
    for name in EXPERIMENTS:
        metrics = json.loads((finished.root / "metrics" / "digits" / f"{name}.json").read_text())
        assert metrics["squared_error"] == pytest.approx(metrics["mse"] * 64, rel=1e-6)
        for metric in ("squared_error", "mse", "psnr", "ssim", "knn_accuracy", "probe_accuracy"):
            low, high = metrics["intervals"][metric]
            assert low <= metrics[metric] <= high
        assert metrics["encode_items_per_second"] > 0
        assert (finished.root / "evaluations" / "digits" / name / "reconstructions.png").stat().st_size > 1000
    vqvae = json.loads((finished.root / "metrics" / "digits" / "vqvae.json").read_text())
    assert vqvae["bits_per_item"] == 16 * 5  # a 4x4 grid of one in 32
    assert 0 < vqvae["codebook_usage"] <= 1
    assert 1 <= vqvae["codebook_perplexity"] <= 32
    rows = json.loads((finished.root / "reports" / "leaderboard.json").read_text())
    assert {row["experiment"] for row in rows} == set(EXPERIMENTS)
    report = (finished.root / "reports" / "index.html").read_text()
    assert "vqvae" in report
    assert 'href="studies/digits-itself.html"' in report
    assert (finished.root / "reports" / "studies" / "digits-itself.html").is_file()


def test_pca_is_as_good_as_another_pca(finished: Sandbox) -> None:
    from sklearn.decomposition import PCA

    data = finished.root / "data" / "digits"
    train, test = (np.load(data / f"{s}-items.npy").reshape(-1, 64) / 255.0 for s in ("train", "test"))
    peer = PCA(8).fit(train)
    expected = ((peer.inverse_transform(peer.transform(test)) - test) ** 2).sum(1).mean()
    metrics = json.loads((finished.root / "metrics" / "digits" / "pca.json").read_text())
    assert metrics["squared_error"] == pytest.approx(expected, rel=1e-4)


def test_dvc_shows_metrics_and_plots(finished: Sandbox) -> None:
    shown = json.loads(finished.run("dvc", "metrics", "show", "--json").stdout)
    files = [*(f"digits/{name}" for name in EXPERIMENTS), "studies/digits/itself"]
    assert set(shown[""]["data"]) == {f"metrics/{file}.json" for file in files}
    finished.run("dvc", "plots", "show", "-o", str(finished.root / "shown"))
    page = (finished.root / "shown" / "index.html").read_text()
    assert "squared_error" in page
    shutil.rmtree(finished.root / "shown")


def test_mlflow_holds_each_run_once_and_each_model_as_champion(finished: Sandbox) -> None:
    state = mlflow_state(finished.root)
    trials = {name: 1 if name == "digits-pca" else 3 for name in MODELS}
    expected = MODELS + [f"{name} trial {i + 1}" for name in MODELS for i in range(trials[name])] + ["itself"]
    assert sorted(name for name, *_ in state["runs"]) == sorted(expected)
    assert state["aliases"] == sorted((name, "champion", 1) for name in MODELS)
    metrics = json.loads((finished.root / "metrics" / "digits" / "deep.json").read_text())
    assert ("digits-deep", "squared_error", 0, metrics["squared_error"]) in state["metrics"]


def test_a_second_repro_runs_register_alone_and_writes_nothing(finished: Sandbox) -> None:
    before = mlflow_state(finished.root)
    content = hashlib.sha256("".join(sqlite3.connect(finished.root / "mlflow.db").iterdump()).encode()).hexdigest()
    done = finished.run("dvc", "repro")
    ran = [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]
    assert ran == ["register"]
    assert f"nothing new, experiments: {len(EXPERIMENTS)}, studies: 1" in done.stdout
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


def projection_in(root: Path, model: str) -> tuple[Projection, Store]:
    from pipelines.register.everything import dvc_stages

    project = Project(root, root)
    one = next(one for one in read_summary(project).experiments if one.model == model)
    result = read_experiment(project, one.dataset, one.name)
    stage = dvc_stages(project)[one.dataset]
    return Projection(result, one.content, project.bundle(one.dataset, one.name), stage), Store.of(root)


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
    assert models == (len(MODELS),)


def test_metrics_that_were_computed_anew_are_the_ones_shown(
    finished: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = finished.root / "metrics" / "digits" / "deep.json"
    original = path.read_text()
    path.write_text(json.dumps(json.loads(original) | {"encode_items_per_second": 7.0}))
    with pytest.raises(StageError, match=r"has changed since `compare` read it; run `python -m pipelines.compare`"):
        register.main()
    compare.main()
    capsys.readouterr()
    register.main()
    assert "digits-deep: metrics and pictures" in capsys.readouterr().out
    register.main()
    assert "nothing new" in capsys.readouterr().out
    latest = (
        "select value from latest_metrics join runs using (run_uuid)"
        " where name = 'digits-deep' and key = 'encode_items_per_second'"
    )
    database = sqlite3.connect(finished.root / "mlflow.db")
    assert database.execute(latest).fetchall() == [(7.0,)]
    path.write_text(original)
    compare.main()
    register.main()
    assert database.execute(latest).fetchall() == [(json.loads(original)["encode_items_per_second"],)]


def test_metrics_of_another_bundle_are_not_compared(finished: Sandbox) -> None:
    path = finished.root / "metrics" / "digits" / "deep.json"
    original = path.read_text()
    path.write_text((finished.root / "metrics" / "digits" / "pca.json").read_text())
    failed = finished.stage("compare", fails=True)
    path.write_text(original)
    assert "digits.deep: evaluate worked from" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_encode_gives_the_codes_that_were_evaluated(finished: Sandbox, name: str) -> None:
    out = finished.root / "codes" / name
    items = finished.root / "data" / "digits" / "test-items.npy"
    hourglass = [sys.executable, "-m", "serving.cli"]
    finished.run(*hourglass, "encode", str(items), "--model", f"models:/digits-{name}@champion", "--out", str(out))
    manifest = json.loads((out / "manifest.json").read_text())
    bundle = json.loads((finished.root / "bundles" / "digits" / name / "bundle.json").read_text())
    table = pq.read_table(sorted(out.glob("part-*.parquet")))
    codes = np.array(table["code"].to_pylist(), dtype=bundle["code"]["dtype"])
    evidence = json.loads((finished.root / "metrics" / "digits" / f"{name}.json").read_text())["evidence"][0]
    assert table["id"].to_pylist()[:2] == ["0", "1"]
    assert hashlib.sha256(np.ascontiguousarray(codes).tobytes()).hexdigest() == evidence["codes_sha256"]
    assert bundle["digest"] in json.dumps(manifest)
    assert bundle["certificate"]["passed"]

    rebuilt = finished.root / "rebuilt" / name
    finished.run(*hourglass, "decode", str(out), "--model", f"bundles/digits/{name}", "--out", str(rebuilt))
    pictures = sorted(rebuilt.rglob("*.png"))
    assert len(pictures) == len(codes)
    assert Image.open(pictures[0]).size == (8, 8)


def test_one_changed_experiment_costs_its_own_units_and_challenges(finished: Sandbox) -> None:
    results = [*finished.root.glob("*/digits/*/unit.json")]
    before = {path: (path.stat().st_ino, json.loads(path.read_text())["key"]) for path in results}
    params = copy.deepcopy(SETTINGS)
    params["experiments"]["digits"]["pca"]["model"]["size"] = 9
    finished.write_params(params)
    done = finished.run("dvc", "repro")
    ran = [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]
    assert ran == ["sweep@digits", "export@digits", "evaluate@digits", "study@digits", "compare", "register"]
    kept = {path for path in results if before[path] == (path.stat().st_ino, json.loads(path.read_text())["key"])}
    assert {path.relative_to(finished.root).parts[2].partition(".")[0] for path in kept} == {"deep", "vqvae"}
    remade = {str(path.relative_to(finished.root).parent) for path in results if path not in kept}
    own = {"runs/digits/pca", "bundles/digits/pca", "evaluations/digits/pca", "evaluations/digits/pca.throughput"}
    assert remade == own | {"studies/digits/itself"}
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
