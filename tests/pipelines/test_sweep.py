"""Sweeps in processes of their own, killed and cut off from MLflow, and over two nodes."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sandbox import PARAMS, Sandbox

from components.data import open_dataset
from components.models import PCASettings
from components.state import State
from pipelines.cluster.confined import Emit, Lost, confined
from pipelines.project import Project, StageError
from pipelines.settings.params import load_params
from pipelines.sweep.journal import Journal, Superseded, check_journals, journals
from pipelines.sweep.plan import SweepPlan
from pipelines.sweep.record import (
    WEIGHTS,
    EpochRecord,
    RunRecord,
    TrialRecord,
    read_model,
    read_record,
    read_weights,
    write_record,
)
from tests.faults.processes import MARK, left_behind, marked


def long_sweep(epochs: int, trials: int) -> dict[str, Any]:
    params = copy.deepcopy(PARAMS)
    params["experiments"]["digits-deep"]["quick"] = {"epochs": epochs, "trials": trials}
    params["experiments"]["digits-deep"]["sweep"] = {"first_rung": epochs}  # no trial is stopped early
    return params


def break_training(sandbox: Sandbox, line: str) -> None:
    """Put a line at the start of each epoch of training."""
    path = sandbox.root / "components" / "training.py"
    code = path.read_text()
    start = "        began = time.perf_counter()\n"
    assert code.count(start) == 1
    path.write_text(code.replace(start, f"{start}        {line}\n"))


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
    command = [sys.executable, "-m", "pipelines.sweep.stage", "digits-deep"]
    log = (sandbox.root / "log").open("w")
    environment = sandbox.environment | {MARK: "killed"}
    killed = subprocess.Popen(command, cwd=sandbox.root, env=environment, stdout=log, stderr=log)
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
    assert left_behind("killed") == ()
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
    command = [sys.executable, "-m", "pipelines.sweep.stage", "digits-deep"]
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
    break_training(sandbox, "1 / (4 - epoch)")
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
    command = [sys.executable, "-m", "pipelines.sweep.stage", "digits-deep"]
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


def assert_another_model_is_one_line(sandbox: Sandbox, folder: Path) -> None:
    record = read_record(folder)
    item = open_dataset(sandbox.root / "data" / "digits").schema.item
    for size in (4, 1000):
        write_record(folder, record.model_copy(update={"model": PCASettings(size=size)}))
        remedy = "run `python -m pipelines.sweep digits-pca`"
        expected = f"{folder}: {WEIGHTS} does not fit the model of record.json: .*; {remedy}$"
        with pytest.raises(StageError, match=expected) as refusal:
            read_model(folder, read_record(folder), item)
        assert "\n" not in str(refusal.value)
    for field, value, said in (
        ("best_trial", 7, "best_trial is 7, and no trial has that number"),
        ("best_epoch", 7, "best_epoch is 7, and trial 1 has none of that number"),
        ("objective", "x", "objective is x, and an epoch has no figure of that name"),
    ):
        write_record(folder, record.model_copy(update={field: value}))
        with pytest.raises(StageError, match=said):
            read_record(folder)


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
    assert_another_model_is_one_line(sandbox, folder)
    write_record(folder, whole)
    text = (folder / "record.json").read_text()
    (folder / "record.json").write_text(text.replace('"best_trial"', '"best_trail"'))
    with pytest.raises(StageError, match=r"record.json: best_trial: Field required"):
        read_record(folder)
    (folder / "record.json").write_text(text[:-40])
    with pytest.raises(StageError, match=r"record.json: the file: Invalid JSON"):
        read_record(folder)
    (folder / "record.json").unlink()
    with pytest.raises(StageError, match=r"run `python -m pipelines.sweep digits-pca`"):
        read_record(folder)


def test_a_cluster_with_tokens_runs_a_sweep_on_the_nodes_that_can(sandbox: Sandbox, free_port: int) -> None:
    """Two nodes share it, as README starts them; a third does not see the project's folder."""
    trial = sandbox.root / "pipelines" / "trial.py"
    code = trial.read_text().replace("Path(sweep)", 'Path(os.environ.get("SEEN_BELOW", "") + sweep)')
    trial.write_text(code.replace("import time\n", "import os\nimport time\n", 1))
    sandbox.write_params(long_sweep(epochs=6, trials=4))
    sandbox.stage("prepare", "digits")
    token = sandbox.root / "token"
    token.write_text("0123456789abcdef" * 4)
    tokens = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    address = f"127.0.0.2:{free_port}"
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        head = ("--head", "--node-ip-address=127.0.0.2", f"--port={free_port}", "--include-dashboard=false")
        nodes.append(start_node(sandbox, *head, **tokens))
        nobody = {"HOME": str(sandbox.root), "RAY_py_gcs_connect_timeout_s": "3"}
        refused = sandbox.stage("sweep", "digits-deep", fails=True, RAY_ADDRESS=address, **nobody)
        for host, environment in (("127.0.0.3", tokens), ("127.0.0.4", tokens | {"SEEN_BELOW": "/nowhere"})):
            nodes.append(start_node(sandbox, f"--address={address}", f"--node-ip-address={host}", **environment))
        done = sandbox.stage("sweep", "digits-deep", RAY_ADDRESS=address, **tokens)
    finally:
        for node in reversed(nodes):
            node.terminate()
        for node in nodes:
            node.wait(60)
    assert refused.stderr.startswith(f"error: RAY_ADDRESS is {address}, and joining failed: ")
    assert refused.stderr.count("\n") == 1
    assert "4 trials of at most 6 epochs on 2 nodes, 2 CPUs, 0 GPUs (without 127.0.0.4 does not see" in done.stdout
    record = read_record(sandbox.root / "runs" / "digits-deep")
    assert_complete(record, trials=4, epochs=6)
    assert len({trial.node for trial in record.trials}) == 2


def start_node(sandbox: Sandbox, *options: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start a node of a Ray cluster; SIGTERM ends it. Ray gives up a node that is slow to start: up to three tries."""
    command = ["ray", "start", "--block", "--num-cpus=1", "--disable-usage-stats", *options]
    for _ in range(3):
        before = started(sandbox)
        with (sandbox.root / "nodes.log").open("a") as log:
            node = subprocess.Popen(command, env=sandbox.environment | environment, stdout=log, stderr=log)
        wait_for(lambda: started(sandbox) > before or node.poll() is not None)  # noqa: B023
        if node.poll() is None:
            return node
    raise AssertionError((sandbox.root / "nodes.log").read_text())


def started(sandbox: Sandbox) -> int:
    """Return how many nodes have started."""
    log = sandbox.root / "nodes.log"
    return log.read_text().count("Ray runtime started.") if log.exists() else 0


def wait_for(reached: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.2", 0))
        port: int = opened.getsockname()[1]
    return port


def test_sigterm_ends_a_sweep_in_one_line_and_its_ray_asks_for_a_token(sandbox: Sandbox) -> None:
    sandbox.write_params(long_sweep(epochs=300, trials=3))
    sandbox.stage("prepare", "digits")
    environment = sandbox.environment | {MARK: "sigterm", "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-m", "pipelines.sweep.stage", "digits-deep"]
    process = subprocess.Popen(
        command, cwd=sandbox.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: any(trial.history for trial in journaled(sandbox)))
    (gcs,) = (pid for pid, command in marked("sigterm").items() if command.split()[0].endswith("/gcs_server"))
    secured = dict(line.split("=", 1) for line in Path(f"/proc/{gcs}/environ").read_text().split("\0") if "=" in line)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said == "error: digits-deep: cut off with 3 of 3 trials to go; run it again to go on\n"
    assert left_behind("sigterm") == ()
    assert len(journaled(sandbox)) == 2
    assert secured["RAY_AUTH_MODE"] == "token"
    assert len(secured["RAY_AUTH_TOKEN"]) == 64


def journaled(sandbox: Sandbox) -> list[TrialRecord]:
    """Return the trials that the journals hold."""
    return [j.read() for folder in (sandbox.root / ".hourglass" / "sweeps").glob("*/") for j in journals(folder)]


def test_a_fault_of_the_machine_is_no_trial_s_failure(sandbox: Sandbox) -> None:
    """One trial meets a full disk each time that it is tried, another's own code raises, and one finishes."""
    params = long_sweep(epochs=4, trials=3)
    sandbox.write_params(params)
    sandbox.stage("prepare", "digits")
    break_training(sandbox, "if settings.learning_rate < 2e-3: raise OSError(28, 'No space left on device')")
    break_training(sandbox, "assert settings.learning_rate < 9e-3, 'too steep'")
    sweep = sandbox.root / "pipelines" / "sweep.py"
    sweep.write_text(sweep.read_text().replace("SESSIONS = 3", "SESSIONS = 1"))
    failed = sandbox.stage("sweep", "digits-deep", fails=True)
    reason = "1 of 3 trials did not come to an end (trial 2: OSError: [Errno 28] No space left on device)"
    assert f"{reason}; their journals are kept: run it again to go on\n" in failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr
    assert not (sandbox.root / "runs" / "digits-deep").exists()
    ended = [(trial.status, trial.reason) for trial in journaled(sandbox)]
    assert ended == [("finished", ""), ("running", ""), ("failed", "AssertionError: too steep")]
    assert "trial 3/3  failed after epoch 0: AssertionError: too steep" in failed.stdout


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """The folder of a sweep with one trial that ended and one that goes on."""
    for number, ended in ((1, True), (2, False)):
        journal = Journal.of(tmp_path, number)
        journal.open(number, {"model.training.learning_rate": 1e-3})
        attempt = journal.begin("a node")
        journal.expect(attempt)
        history = [EpochRecord(epoch=1, timestamp=1, seconds=1, metrics={"validation_loss": 2.0}).model_dump()]
        State({"model.a": torch.ones(2)}, {"epoch": 1}).save(journal.best)
        State({"model.a": torch.ones(2)}, {"epoch": 1, "history": history}).save(journal.state)
        if ended:
            journal.close("finished")
    return tmp_path


@pytest.mark.parametrize("name", ["trial.json", "state.safetensors", "best.safetensors"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_damaged_journal_is_refused_by_name(swept: Path, number: int, name: str) -> None:
    check_journals(swept, "validation_loss")
    path = swept / f"trial-00{number}" / name
    whole = path.read_bytes()
    damages = [whole[:length] for length in (0, 1, 7, 8, 9, len(whole) // 2, len(whole) - 1)]
    damages += [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in range(0, len(whole), 7)]
    damages += [b"null", b"[]", b"{}", b'"x"', b"\xff\xfe", b"[" * 5000]
    if name == "trial.json":
        entry = json.loads(whole)
        damages += [json.dumps(entry | {key: [None]}).encode() for key in entry]
    for damaged in damages:
        path.write_bytes(damaged)
        with pytest.raises(StageError) as refusal:
            check_journals(swept, "validation_loss")
        assert str(refusal.value).startswith(f"{path} is damaged: ")
        assert f"delete {path.parent} to run this trial again" in str(refusal.value)
    path.unlink()
    if (number, name) != (2, "state.safetensors"):  # a trial that has no state has not come to its first epoch
        with pytest.raises(StageError, match=f"{name} is damaged: missing"):
            check_journals(swept, "validation_loss")


def test_a_damaged_journal_ends_the_sweep_in_one_line(sandbox: Sandbox) -> None:
    sandbox.stage("prepare", "digits")
    name = "digits-pca"
    with contextlib.chdir(sandbox.root):
        params = load_params(project := Project.here())
        dataset = open_dataset(project.data("digits"))
        plan = SweepPlan(project, params, name, params.experiment(name), dataset)
    journal = Journal.of(plan.folder, 1)
    journal.open(1, {})
    journal.entry.write_text(journal.entry.read_text()[:-9])
    failed = sandbox.stage("sweep", name, fails=True)
    assert failed.stderr.startswith(f"error: {journal.entry} is damaged: ")
    assert failed.stderr.count("\n") == 1


def test_an_attempt_that_was_superseded_writes_nothing_more(swept: Path) -> None:
    journal = Journal.of(swept, 2)
    assert journal.begin("another node") == 2
    with pytest.raises(Superseded, match="attempt 1: the trial is at attempt 2"):
        journal.expect(1)
    journal.expect(2)
    journal.close("stopped")
    with pytest.raises(Superseded, match="attempt 2 and stopped"):
        journal.expect(2)
    journal.close("failed", "too late")
    assert (journal.read().status, journal.read().reason) == ("stopped", "")


def test_confined_work_hands_on_what_it_emits_and_how_it_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def refuses(emit: Emit) -> None:
        emit([1, "two"])
        raise StageError("not like this")

    def raises(emit: Emit) -> None:
        raise ValueError("x\ny")

    def waits(emit: Emit) -> None:
        subprocess.run(["sleep", "0.8"], check=True)
        time.sleep(60)

    def dies(emit: Emit) -> None:
        subprocess.Popen(["sleep", "60"], env=os.environ | {MARK: "confined"})
        os.kill(os.getpid(), signal.SIGKILL)

    assert list(confined(lambda emit: emit({"a": 1}), log)) == [{"a": 1}]
    events = confined(refuses, log)
    assert next(events) == [1, "two"]
    with pytest.raises(StageError, match="not like this"):
        next(events)
    with pytest.raises(Lost, match="ended by signal 9"):
        list(confined(dies, log))
    assert left_behind("confined", grace=0) == ()
    with pytest.raises(Lost, match="ValueError: x"):
        list(confined(raises, log))
    with pytest.raises(Lost, match="a process that it needs was killed"):
        list(confined(waits, log, vital=("sleep",)))
