"""Sweeps in processes of their own, killed and cut off from MLflow, and over two nodes."""

from __future__ import annotations

import copy
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster
from sandbox import PARAMS, Sandbox

from pipelines.journal import journals
from pipelines.project import StageError
from pipelines.record import WEIGHTS, RunRecord, read_record, read_weights


def long_sweep(epochs: int, trials: int) -> dict[str, Any]:
    params = copy.deepcopy(PARAMS)
    params["experiments"]["digits-deep"]["quick"] = {"epochs": epochs, "trials": trials}
    params["experiments"]["digits-deep"]["sweep"] = {"first_rung": epochs}  # no trial is stopped early
    return params


def run_names(root: Path) -> list[str]:
    rows = sqlite3.connect(root / "mlflow.db").execute("select name from runs").fetchall()
    return sorted(name for (name,) in rows)


def assert_complete(record: RunRecord, trials: int, epochs: int) -> None:
    assert [trial.number for trial in record.trials] == list(range(1, trials + 1))
    for trial in record.trials:
        assert trial.status == "finished"
        assert [epoch.epoch for epoch in trial.history] == list(range(1, epochs + 1))
    values = {t.number: min(e.metrics[record.objective] for e in t.history) for t in record.trials}
    assert record.best_trial == min(values, key=lambda number: values[number])


def test_a_sweep_killed_half_way_goes_on_where_it_was(sandbox: Sandbox) -> None:
    trials, epochs = 3, 300
    sandbox.write_params(long_sweep(epochs, trials))
    sandbox.stage("prepare", "digits")
    command = [sys.executable, "-m", "pipelines.sweep", "digits-deep"]
    log = (sandbox.root / "log").open("w")
    killed = subprocess.Popen(command, cwd=sandbox.root, env=sandbox.environment, stdout=log, stderr=log)
    sweeps = sandbox.root / ".hourglass" / "sweeps"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:  # until one trial is finished and another has begun to learn
        folder = next(iter(sweeps.glob("digits-deep-*/")), None)
        past = [journal.read() for journal in journals(folder)] if folder else []
        if any(t.status == "finished" for t in past) and any(t.status == "running" and t.history for t in past):
            break
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL, "the sweep was over before it could be killed"
    before = {t.number: t for t in (journal.read() for journal in journals(folder)) if t.status == "finished"}
    assert before
    assert len(before) < trials

    printed = sandbox.stage("sweep", "digits-deep").stdout
    record = read_record(sandbox.root / "runs" / "digits-deep")
    assert_complete(record, trials, epochs)
    for number, trial in before.items():
        assert record.trials[number - 1] == trial
        assert f"trial {number}/{trials}  starts" not in printed
    assert not any(sweeps.glob("*/")), "a finished sweep leaves nothing behind"
    names = ["digits-deep", *(f"digits-deep trial {n + 1}" for n in range(trials))]
    assert run_names(sandbox.root) == names
    points = "select count(*), count(distinct run_uuid || key || step) from metrics"
    total, distinct = sqlite3.connect(sandbox.root / "mlflow.db").execute(points).fetchone()
    assert total == distinct == trials * epochs * 2


def test_a_single_trial_draws_from_its_space_and_goes_on_after_a_kill(sandbox: Sandbox) -> None:
    epochs = 400
    sandbox.write_params(long_sweep(epochs, trials=1))
    sandbox.stage("prepare", "digits")
    command = [sys.executable, "-m", "pipelines.sweep", "digits-deep"]
    log = (sandbox.root / "log").open("w")
    killed = subprocess.Popen(command, cwd=sandbox.root, env=sandbox.environment, stdout=log, stderr=log)
    deadline = time.monotonic() + 120
    past: list[Any] = []
    while time.monotonic() < deadline and not (past and len(past[0].history) >= 5):
        folder = next(iter((sandbox.root / ".hourglass" / "sweeps").glob("digits-deep-*/")), None)
        past = [journal.read() for journal in journals(folder)] if folder else []
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL, "the sweep was over before it could be killed"

    done = sandbox.stage("sweep", "digits-deep")
    assert "trial 1/1  epoch 1/" not in done.stdout
    record = read_record(sandbox.root / "runs" / "digits-deep")
    assert_complete(record, trials=1, epochs=epochs)
    assert record.trials[0].history[:5] == past[0].history[:5]
    assert 1e-3 <= record.best.parameters["model.training.learning_rate"] <= 1e-2
    total = "select count(*), count(distinct run_uuid || key || step) from metrics"
    assert len(set(sqlite3.connect(sandbox.root / "mlflow.db").execute(total).fetchone())) == 1


def test_a_single_trial_that_fails_is_no_result_and_can_go_on(sandbox: Sandbox) -> None:
    sandbox.write_params(long_sweep(40, trials=1))
    sandbox.stage("prepare", "digits")
    trial = sandbox.root / "pipelines" / "trial.py"
    code = trial.read_text()
    reported = "            report(history[-1])\n"
    broken = code.replace(reported, f"{reported}            1 / (3 - epoch.number)\n")
    assert broken != code
    trial.write_text(broken)
    failed = sandbox.stage("sweep", "digits-deep", fails=True)
    assert "digits-deep: trial 1 failed: ZeroDivisionError: division by zero; run it again to go on" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (sandbox.root / "runs" / "digits-deep").exists()
    (folder,) = (sandbox.root / ".hourglass" / "sweeps").glob("digits-deep-*/")
    (left,) = (journal.read() for journal in journals(folder))
    assert (left.status, len(left.history)) == ("running", 3)


def test_an_unreachable_mlflow_costs_a_warning_and_no_sweep(sandbox: Sandbox) -> None:
    sandbox.stage("prepare", "digits")
    done = sandbox.stage(
        "sweep", "digits-deep", MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"
    )
    assert done.stderr.count("warning: not logging live. MLflow at http://127.0.0.1:9") == 1
    record = read_record(sandbox.root / "runs" / "digits-deep")
    assert len(record.trials) == 3
    sandbox.stage("export", "digits-deep")
    assert (sandbox.root / "bundles" / "digits-deep" / "bundle.json").exists()


def test_a_sweep_whose_trials_all_diverge_says_so(sandbox: Sandbox) -> None:
    params = copy.deepcopy(PARAMS)
    params["experiments"]["digits-deep"]["model"]["training"]["learning_rate"] = {"choice": [1e30, 2e30]}
    sandbox.write_params(params)
    sandbox.stage("prepare", "digits")
    failed = sandbox.stage("sweep", "digits-deep", fails=True)
    assert "no trial came to a result" in failed.stderr
    assert "diverged: train_loss became" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_diverged_trial_leaves_the_others_to_go_on(sandbox: Sandbox) -> None:
    params = copy.deepcopy(PARAMS)
    params["experiments"]["digits-deep"]["model"]["training"] = {
        "batch_size": 2000,  # one batch an epoch: the training loss is of the weights before they explode
        "learning_rate": {"choice": [1e-3, 1e25]},
    }
    sandbox.write_params(params)
    sandbox.stage("prepare", "digits")
    sandbox.stage("sweep", "digits-deep")
    record = read_record(sandbox.root / "runs" / "digits-deep")
    ended = {trial.parameters["model.training.learning_rate"]: trial.status for trial in record.trials}
    assert ended[1e25] == "diverged"
    assert record.best.parameters["model.training.learning_rate"] == 1e-3


@pytest.mark.parametrize(
    ("share", "environment", "expected"),
    [
        ({"gpus": 99}, {}, "experiments.digits-deep.sweep: a trial asks for 1 CPUs and 99 GPUs, the nodes have"),
        ({}, {"RAY_ADDRESS": "127.0.0.1:9"}, "RAY_ADDRESS is 127.0.0.1:9, and nobody answers there"),
    ],
)
def test_what_ray_would_wait_for_for_ever_is_an_error(
    sandbox: Sandbox, share: dict[str, int], environment: dict[str, str], expected: str
) -> None:
    params = copy.deepcopy(PARAMS)
    params["experiments"]["digits-deep"]["sweep"] = share
    sandbox.write_params(params)
    sandbox.stage("prepare", "digits")
    failed = sandbox.stage("sweep", "digits-deep", fails=True, **environment)
    assert expected in failed.stderr
    assert "Traceback" not in failed.stderr


def test_the_same_sweep_twice_at_once_is_swept_once(sandbox: Sandbox) -> None:
    sandbox.stage("prepare", "digits")
    command = [sys.executable, "-m", "pipelines.sweep", "digits-deep"]
    pair = [
        subprocess.Popen(command, cwd=sandbox.root, env=sandbox.environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert sum("trial 1/3  starts" in text for text in printed) == 1
    assert sum("running in another process; waiting for it" in text for text in printed) == 1
    assert run_names(sandbox.root) == ["digits-deep", *(f"digits-deep trial {n}" for n in (1, 2, 3))]


def test_a_stage_without_its_word_says_how_it_is_called(sandbox: Sandbox) -> None:
    failed = sandbox.stage("sweep", fails=True)
    assert failed.stderr.strip() == "usage: python -m pipelines.sweep NAME"


def test_a_damaged_run_record_is_named(sandbox: Sandbox) -> None:
    sandbox.stage("prepare", "digits")
    sandbox.stage("sweep", "digits-pca")
    folder = sandbox.root / "runs" / "digits-pca"
    whole = read_record(folder)
    assert set(read_weights(folder)) == {"mean", "components", "variances"}
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(StageError, match=r"weights.safetensors: sha256 is"):
        read_record(folder)
    (folder / WEIGHTS).write_bytes(weights)
    assert read_record(folder) == whole
    text = (folder / "record.json").read_text()
    (folder / "record.json").write_text(text.replace('"best_trial"', '"best_trail"'))
    with pytest.raises(StageError, match=r"record.json: best_trial: Field required"):
        read_record(folder)
    (folder / "record.json").write_text(text[:-40])
    with pytest.raises(StageError, match=r"record.json: the file: Invalid JSON"):
        read_record(folder)
    (folder / "record.json").unlink()
    with pytest.raises(StageError, match="run the sweep of digits-pca first"):
        read_record(folder)


def test_a_running_cluster_of_two_nodes_shares_a_sweep(sandbox: Sandbox) -> None:
    sandbox.write_params(long_sweep(epochs=6, trials=4))
    sandbox.stage("prepare", "digits")
    paths = os.environ.get("PYTHONPATH")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        printed = sandbox.stage("sweep", "digits-deep", RAY_ADDRESS=cluster.address).stdout
    finally:
        cluster.shutdown()
    assert "4 trials of at most 6 epochs on 2 nodes, 2 CPUs" in printed
    record = read_record(sandbox.root / "runs" / "digits-deep")
    assert_complete(record, trials=4, epochs=6)
    assert len({trial.node for trial in record.trials}) == 2
    assert os.environ.get("PYTHONPATH") == paths
