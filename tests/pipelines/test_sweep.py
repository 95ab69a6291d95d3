"""Sweeps as their user runs them: whole line-ups, cut off and killed, and trials that fail."""

from __future__ import annotations

import copy
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.data import open_dataset
from pipelines.project import StageError
from pipelines.sweep.journal import Journal, journals
from pipelines.sweep.record import RECORD, WEIGHTS, RunRecord, TrialRecord, read_record, sealed
from pipelines.sweep.trained import read_model, read_weights
from pipelines.units.storage import Storage
from tests.faults.processes import MARK, left_behind, marked
from tests.pipelines.nodes import wait_for
from tests.pipelines.sandbox import PARAMS, Sandbox

RATE = "model.training.learning_rate"
COMMAND = [sys.executable, "-m", "pipelines.sweep", "digits"]


def only(name: str, **changed: Any) -> dict[str, Any]:
    """Return settings with a single experiment, `deep` of PARAMS with what is changed."""
    params = copy.deepcopy(PARAMS)
    params["experiments"] = {"digits": {name: params["experiments"]["digits"]["deep"] | changed}}
    return params


def long_sweep(epochs: int, trials: int) -> dict[str, Any]:
    """Return settings whose trials are long enough to be hit; none is stopped early."""
    return only("deep", quick={"epochs": epochs, "trials": trials}, sweep={"first_rung": epochs})


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


def work(sandbox: Sandbox) -> Path:
    """Return the folder of the journals."""
    return sandbox.root / ".hourglass" / "work" / "sweeps"


def journaled(sandbox: Sandbox) -> list[TrialRecord]:
    """Return the trials that the journals hold."""
    found = [journal for folder in work(sandbox).glob("*/") for journal in journals(Storage(folder))]
    return [journal.read() for journal in found if journal.exists()]


def record_of(sandbox: Sandbox, name: str) -> RunRecord:
    return read_record(sandbox.root / "runs" / "digits" / name)


def assert_complete(record: RunRecord, trials: int, epochs: int) -> None:
    assert [trial.number for trial in record.trials] == list(range(1, trials + 1))
    for trial in record.trials:
        assert trial.status == "finished"
        assert [epoch.epoch for epoch in trial.history] == list(range(1, epochs + 1))
    values = {t.number: min(e.metrics[record.objective] for e in t.history) for t in record.trials}
    assert record.best_trial == min(values, key=lambda number: values[number])


@pytest.fixture(scope="module")
def swept(make_sandbox: Callable[[], Sandbox]) -> tuple[Sandbox, str]:
    """A project whose whole line-up was swept, and what that printed."""
    sandbox = make_sandbox()
    sandbox.stage("prepare", "digits")
    return sandbox, sandbox.stage("sweep", "digits").stdout


def test_a_whole_line_up_is_swept_in_one_session(swept: tuple[Sandbox, str]) -> None:
    sandbox, printed = swept
    assert "7 trials on 1 node" in printed
    assert printed.count(" trials on ") == 1
    assert not any(work(sandbox).glob("*/")), "a finished sweep leaves no journals"
    names = ["digits-deep", *(f"digits-deep trial {n}" for n in (1, 2, 3)), "digits-pca", "digits-pca trial 1"]
    assert run_names(sandbox.root) == [*names, "digits-vqvae", *(f"digits-vqvae trial {n}" for n in (1, 2, 3))]
    pca = record_of(sandbox, "pca")
    assert [(trial.status, len(trial.history)) for trial in pca.trials] == [("finished", 1)]


@pytest.mark.parametrize(("name", "rung", "epochs"), [("deep", 1, 4), ("vqvae", 2, 8)])
def test_the_best_of_three_at_the_rung_goes_on_alone(
    swept: tuple[Sandbox, str], name: str, rung: int, epochs: int
) -> None:
    record = record_of(swept[0], name)
    at_rung = {t.number: min(e.metrics[record.objective] for e in t.history[:rung]) for t in record.trials}
    winner = min(at_rung, key=lambda number: at_rung[number])
    ends = {trial.number: (trial.status, len(trial.history)) for trial in record.trials}
    assert ends == {n: ("finished", epochs) if n == winner else ("stopped", rung) for n in (1, 2, 3)}
    assert record.best_trial == winner
    assert len({trial.parameters[RATE] for trial in record.trials}) == 3
    folder = swept[0].root / "runs" / "digits" / name
    weights = read_weights(folder)
    item = open_dataset(swept[0].root / "data" / "digits").schema.item
    assert weights.keys() == read_model(folder, record, item).state_dict().keys()


def test_what_changes_no_outcome_trains_nothing_and_what_does_trains_its_own(
    swept: tuple[Sandbox, str], tmp_path: Path
) -> None:
    sandbox, _ = swept
    before = {name: record_of(sandbox, name).digest for name in ("pca", "deep", "vqvae")}
    for file in (
        "components/training.py",
        "serving/bundle.py",
        "pipelines/studies/planes.py",
        "pipelines/sweep/halving.py",
    ):
        path = sandbox.root / file
        path.write_text('"""Another docstring."""\n' + path.read_text().partition('"""\n')[2] + "\n# and a comment\n")
    params = copy.deepcopy(PARAMS)
    params["experiments"]["digits"]["deep"]["sweep"] = {"cpus": 0.5}  # a share decides nothing
    sandbox.write_params(params)
    assert "to epoch" not in sandbox.stage("sweep", "digits").stdout
    assert {name: record_of(sandbox, name).digest for name in before} == before

    params["experiments"]["digits"]["pca"]["model"]["size"] = 9
    del params["experiments"]["digits"]["vqvae"]
    sandbox.write_params(params)
    printed = sandbox.stage("sweep", "digits").stdout
    assert "digits-pca  trial 1/1" in printed
    assert "digits-deep  trial" not in printed
    assert record_of(sandbox, "pca").digest != before["pca"]
    assert record_of(sandbox, "deep").digest == before["deep"]
    assert not (sandbox.root / "runs" / "digits" / "vqvae").exists()


def test_a_sweep_killed_half_way_goes_on_where_it_was(sandbox: Sandbox) -> None:
    trials, epochs = 3, 150
    sandbox.write_params(long_sweep(epochs, trials))
    sandbox.stage("prepare", "digits")
    log = (sandbox.root / "log").open("w")
    environment = sandbox.environment | {MARK: "killed"}
    killed = subprocess.Popen(COMMAND, cwd=sandbox.root, env=environment, stdout=log, stderr=log)

    def hit() -> bool:  # one trial is finished and another has begun to learn
        past = journaled(sandbox)
        return any(t.status == "finished" for t in past) and any(t.status == "running" and t.history for t in past)

    wait_for(lambda: hit() or killed.poll() is not None)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL, "the sweep was over before it could be killed"
    assert left_behind("killed") == ()
    before = {trial.number: trial for trial in journaled(sandbox)}

    printed = sandbox.stage("sweep", "digits").stdout
    record = record_of(sandbox, "deep")
    assert_complete(record, trials, epochs)
    for number, trial in before.items():
        assert record.trials[number - 1].history[: len(trial.history)] == trial.history
        if trial.status == "finished":
            assert f"trial {number}/{trials}  to epoch" not in printed
    assert not any(work(sandbox).glob("*/"))
    assert run_names(sandbox.root) == ["digits-deep", *(f"digits-deep trial {n + 1}" for n in range(trials))]
    points = "select count(*), count(distinct run_uuid || key || step) from metrics"
    total, distinct = sqlite3.connect(sandbox.root / "mlflow.db").execute(points).fetchone()
    assert total == distinct == trials * epochs * 2


def test_a_single_trial_needs_no_ray_and_goes_on_after_a_kill(sandbox: Sandbox) -> None:
    epochs = 200
    sandbox.write_params(long_sweep(epochs, trials=1))
    sandbox.stage("prepare", "digits")
    log = (sandbox.root / "log").open("w")
    killed = subprocess.Popen(COMMAND, cwd=sandbox.root, env=sandbox.environment, stdout=log, stderr=log)
    wait_for(lambda: (past := journaled(sandbox)) and len(past[0].history) >= 5)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL, "the sweep was over before it could be killed"
    (past,) = journaled(sandbox)

    done = sandbox.stage("sweep", "digits")
    assert " trials on " not in done.stdout
    record = record_of(sandbox, "deep")
    assert_complete(record, trials=1, epochs=epochs)
    assert record.trials[0].history[:5] == past.history[:5]
    assert 1e-3 <= float(record.best.parameters[RATE]) <= 1e-2


def test_an_unreachable_mlflow_costs_a_warning_and_no_sweep(sandbox: Sandbox) -> None:
    sandbox.write_params(long_sweep(2, trials=1))
    sandbox.stage("prepare", "digits")
    done = sandbox.stage(
        "sweep", "digits", MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"
    )
    assert done.stderr.count("warning: not logging live. MLflow at http://127.0.0.1:9") == 1
    assert len(record_of(sandbox, "deep").trials) == 1


def test_faults_of_the_machine_and_of_trials_keep_to_their_own(sandbox: Sandbox) -> None:
    """One trial meets a full disk each time, another's code raises, a sweep diverges whole, and the rest is done."""
    params = copy.deepcopy(PARAMS)
    deep = params["experiments"]["digits"]["deep"]
    batch = {"batch_size": 2000}  # one batch an epoch: the training loss is of the weights before they explode

    def searched(*rates: float) -> dict[str, Any]:
        training = batch | {"learning_rate": {"choice": list(rates)}}
        quick = {"epochs": 2, "trials": 4}
        return copy.deepcopy(deep) | {"model": deep["model"] | {"training": training}, "quick": quick}

    params["experiments"]["digits"] = {
        "diverging": searched(1e30, 2e30),
        "mixed": searched(1e-3, 1e25),
        "failing": searched(0.011, 0.012) | {"sweep": {"first_rung": 2}},
        "unlucky": searched(0.003, 0.021) | {"sweep": {"first_rung": 2}},
    }
    sandbox.write_params(params)
    sandbox.stage("prepare", "digits")
    break_training(sandbox, "if settings.learning_rate == 0.021: raise OSError(28, 'No space left on device')")
    break_training(sandbox, "assert settings.learning_rate != 0.012, 'too steep'")
    stage = sandbox.root / "pipelines" / "sweep" / "stage.py"
    stage.write_text(stage.read_text().replace("SESSIONS = 3", "SESSIONS = 1"))
    failed = sandbox.stage("sweep", "digits", fails=True)
    assert "Traceback" not in failed.stdout + failed.stderr
    reason = "digits-unlucky trial 1: OSError: [Errno 28] No space left on device"
    assert "trials did not come to an end (" in failed.stderr
    assert "digits-unlucky trial" in failed.stderr
    assert "OSError: [Errno 28] No space left on device" in failed.stderr, reason
    assert failed.stderr.rstrip().endswith("their journals are kept: run it again to go on")
    mixed, failing = record_of(sandbox, "mixed"), record_of(sandbox, "failing")
    ended = {(trial.parameters[RATE], trial.status) for trial in mixed.trials}
    assert (1e25, "diverged") in ended
    assert mixed.best.parameters[RATE] == 1e-3
    own = {(trial.parameters[RATE], trial.status, trial.reason) for trial in failing.trials}
    assert own == {(0.011, "finished", ""), (0.012, "failed", "AssertionError: too steep")}
    assert not (sandbox.root / "runs" / "digits" / "unlucky").exists()
    unlucky = {(t.parameters[RATE], t.status) for t in journaled(sandbox) if t.parameters.get(RATE) in (0.003, 0.021)}
    assert unlucky == {(0.003, "finished"), (0.021, "running")}

    break_training(sandbox, "pass")
    code = (sandbox.root / "components" / "training.py").read_text()
    (sandbox.root / "components" / "training.py").write_text(code.replace("raise OSError(28", "(28"))
    again = sandbox.stage("sweep", "digits", "--only", "diverging", fails=True)
    assert "digits-diverging: no trial came to a result" in again.stderr
    assert "trial 1 diverged: " in again.stderr
    assert "loss became" in again.stderr or "squared_error became" in again.stderr
    assert "Traceback" not in again.stderr


@pytest.mark.parametrize(
    ("share", "environment", "expected"),
    [
        ({"gpus": 99}, {}, "experiments.digits.deep.sweep: 1 CPUs and 99 GPUs, must fit on a node; the nodes have"),
        ({}, {"RAY_ADDRESS": "127.0.0.1:9"}, "RAY_ADDRESS is 127.0.0.1:9, and nothing listens there"),
        ({}, {"RAY_ADDRESS": "local"}, "RAY_ADDRESS is local, must be host:port of a cluster's head, or auto"),
    ],
)
def test_what_ray_would_wait_for_without_end_is_an_error(
    sandbox: Sandbox, share: dict[str, int], environment: dict[str, str], expected: str
) -> None:
    sandbox.write_params(only("deep", sweep=share))
    sandbox.stage("prepare", "digits")
    failed = sandbox.stage("sweep", "digits", fails=True, **environment)
    assert expected in failed.stderr
    assert "Traceback" not in failed.stderr


def test_the_same_sweep_twice_at_once_is_swept_once(sandbox: Sandbox) -> None:
    sandbox.write_params(long_sweep(epochs=100, trials=1))
    sandbox.stage("prepare", "digits")
    pair = [
        subprocess.Popen(COMMAND, cwd=sandbox.root, env=sandbox.environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert sum("trial 1/1  to epoch" in text for text in printed) == 1
    assert sum("running in another process; waiting" in text for text in printed) == 1
    assert run_names(sandbox.root) == ["digits-deep", "digits-deep trial 1"]


def test_a_damaged_run_record_is_named(sandbox: Sandbox) -> None:
    sandbox.stage("prepare", "digits")
    sandbox.stage("sweep", "digits", "--only", "pca")
    folder = sandbox.root / "runs" / "digits" / "pca"
    whole, text = read_record(folder), (folder / RECORD).read_bytes()
    assert set(read_weights(folder)) == {"mean", "components", "variances"}
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(StageError, match=r"weights.safetensors: sha256 is"):
        read_record(folder)
    (folder / WEIGHTS).write_bytes(weights)
    assert read_record(folder) == whole
    item = open_dataset(sandbox.root / "data" / "digits").schema.item
    for size in (4, 1000):
        (folder / RECORD).write_bytes(sealed(whole.model_copy(update={"model": {"kind": "pca", "size": size}})))
        remedy = "run `python -m pipelines.sweep digits --only pca`"
        expected = f"{folder}: {WEIGHTS} does not fit the model of record.json: .*; {remedy}$"
        with pytest.raises(StageError, match=expected) as refusal:
            read_model(folder, read_record(folder), item)
        assert "\n" not in str(refusal.value)
    for field, value, said in (
        ("best_trial", 7, "best_trial is 7, and no trial has that number"),
        ("best_epoch", 7, "best_epoch is 7, and trial 1 has none of that number"),
        ("objective", "x", "objective is x, and an epoch has no metric of that name"),
    ):
        (folder / RECORD).write_bytes(sealed(whole.model_copy(update={field: value})))
        with pytest.raises(StageError, match=said):
            read_record(folder)
    (folder / RECORD).write_bytes(text.replace(b'"best_trial"', b'"best_trail"'))
    with pytest.raises(StageError, match=r"record.json: best_trial: Field required"):
        read_record(folder)
    (folder / RECORD).write_bytes(text[:-40])
    with pytest.raises(StageError, match=r"record.json: the file: Invalid JSON"):
        read_record(folder)
    (folder / RECORD).unlink()
    with pytest.raises(StageError, match=r"run `python -m pipelines.sweep digits"):
        read_record(folder)
    sandbox.stage("sweep", "digits", "--only", "pca")  # a damaged result is made again
    assert read_record(folder).weights_sha256 == whole.weights_sha256


def test_sigterm_ends_a_sweep_in_one_line_and_its_ray_asks_for_a_token(sandbox: Sandbox) -> None:
    sandbox.write_params(long_sweep(epochs=300, trials=3))
    sandbox.stage("prepare", "digits")
    environment = sandbox.environment | {MARK: "sigterm", "RAY_AUTH_MODE": "disabled"}
    process = subprocess.Popen(
        COMMAND, cwd=sandbox.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: any(trial.history for trial in journaled(sandbox)))
    (gcs,) = (pid for pid, command in marked("sigterm").items() if command.split()[0].endswith("/gcs_server"))
    secured = dict(line.split("=", 1) for line in Path(f"/proc/{gcs}/environ").read_text().split("\0") if "=" in line)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said == "error: sweep of digits: cut off; its journals are kept: run it again to go on\n"
    assert left_behind("sigterm") == ()
    assert secured["RAY_AUTH_MODE"] == "token"
    assert len(secured["RAY_AUTH_TOKEN"]) == 64


def test_a_damaged_journal_ends_the_sweep_in_one_line(sandbox: Sandbox) -> None:
    sandbox.write_params(long_sweep(epochs=300, trials=1))
    sandbox.stage("prepare", "digits")
    process = subprocess.Popen(COMMAND, cwd=sandbox.root, env=sandbox.environment, stdout=subprocess.DEVNULL)
    wait_for(lambda: any(trial.history for trial in journaled(sandbox)))
    process.kill()
    process.wait()
    (path,) = work(sandbox).glob("*/trial-001/trial.json")
    entry = json.loads(path.read_text())
    path.write_text(json.dumps(entry | {"parameters": {RATE: 0.5}}))
    failed = sandbox.stage("sweep", "digits", fails=True)
    assert failed.stderr.startswith(f"error: {path} is damaged: its content does not have the sha256 that it names")
    assert failed.stderr.count("\n") == 1
    assert Journal(Storage(path.parent)).resume() is not None
