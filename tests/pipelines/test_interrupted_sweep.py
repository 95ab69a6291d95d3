"""Sweeps that are cut off, killed and run again, and trials that fail."""

from __future__ import annotations

import copy
import json
import re
import signal
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from tests.faults.processes import MARK, left_behind, marked
from tests.pipelines.nodes import wait_for
from tests.pipelines.sandbox import PARAMS, Sandbox
from tests.pipelines.sweeps import (
    COMMAND,
    RATE,
    assert_complete,
    journaled,
    long_sweep,
    record_of,
    run_names,
    work,
)


def test_a_sweep_cut_off_and_then_killed_goes_on_where_it_was(sandbox: Sandbox) -> None:
    trials, epochs = 3, 90
    sandbox.write_params(long_sweep(epochs, trials))
    sandbox.prepare()
    environment = sandbox.environment | {MARK: "killed", "RAY_AUTH_MODE": "disabled"}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            COMMAND, cwd=sandbox.root, env=environment, stdout=log, stderr=subprocess.PIPE, text=True
        )

    def half_way() -> bool:  # one trial is finished and another has begun to learn
        past = journaled(sandbox)
        return any(t.status == "finished" for t in past) and any(t.status == "running" and t.history for t in past)

    log = (sandbox.root / "log").open("w")
    cut_off = start()
    wait_for(lambda: any(trial.history for trial in journaled(sandbox)))
    (gcs,) = (pid for pid, command in marked("killed").items() if command.split()[0].endswith("/gcs_server"))
    secured = dict(line.split("=", 1) for line in Path(f"/proc/{gcs}/environ").read_text().split("\0") if "=" in line)
    assert (secured["RAY_AUTH_MODE"], len(secured["RAY_AUTH_TOKEN"])) == ("token", 64)
    cut_off.terminate()
    _, said = cut_off.communicate(timeout=60)
    assert cut_off.returncode == 1
    assert said == "error: sweep of digits: cut off; its journals are kept: run it again to go on\n"
    assert left_behind("killed") == ()

    killed = start()
    wait_for(lambda: half_way() or killed.poll() is not None)
    killed.kill()
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


def test_a_single_trial_needs_no_ray_and_after_a_kill_two_at_once_finish_it_once(sandbox: Sandbox) -> None:
    epochs = 200
    sandbox.write_params(long_sweep(epochs, trials=1))
    sandbox.prepare()
    killed = subprocess.Popen(COMMAND, cwd=sandbox.root, env=sandbox.environment, stdout=subprocess.DEVNULL)
    wait_for(lambda: (past := journaled(sandbox)) and len(past[0].history) >= 5)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL, "the sweep was over before it could be killed"
    (past,) = journaled(sandbox)

    (path,) = work(sandbox).glob("*/trial-001/trial.json")
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | {"parameters": {RATE: 0.5}}))
    failed = sandbox.stage("sweep", "digits", fails=True)
    assert failed.stderr.startswith(f"error: {path} is damaged: its content does not have the sha256 that it names")
    assert failed.stderr.count("\n") == 1
    path.write_text(whole)

    pair = [
        subprocess.Popen(COMMAND, cwd=sandbox.root, env=sandbox.environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert sum("trial 1/1  to epoch" in text for text in printed) == 1
    assert sum("running in another process; waiting" in text for text in printed) == 1
    assert not any(" trials on " in text for text in printed)
    assert run_names(sandbox.root) == ["digits-deep", "digits-deep trial 1"]
    record = record_of(sandbox, "deep")
    assert_complete(record, trials=1, epochs=epochs)
    assert record.trials[0].history[: len(past.history)] == past.history
    assert 1e-3 <= float(record.best.parameters[RATE]) <= 1e-2


def test_faults_of_the_machine_and_of_trials_keep_to_their_own(sandbox: Sandbox) -> None:
    """One trial meets a full disk each time, another's code raises, a sweep diverges whole, and the rest is done."""
    params = copy.deepcopy(PARAMS)
    deep = params["experiments"]["digits"]["deep"]
    batch = {"batch_size": 2000}  # one batch an epoch: the training loss is of the weights before they explode

    def searched(*rates: float, **sweep: int) -> dict[str, Any]:
        training = batch | {"learning_rate": {"choice": list(rates)}}
        quick = {"epochs": 2, "trials": len(rates)}
        return copy.deepcopy(deep) | {"model": deep["model"] | {"training": training}, "quick": quick, "sweep": sweep}

    params["experiments"]["digits"] = {
        "diverging": searched(1e30),
        "mixed": searched(1e-3, 1e25),
        "failing": searched(0.011, 0.012, first_rung=2),
        "unlucky": searched(0.003, 0.021, first_rung=2),
    }
    sandbox.write_params(params)
    sandbox.prepare()
    sandbox.break_training("if settings.learning_rate == 0.021: raise OSError(28, 'No space left on device')")
    sandbox.break_training("assert settings.learning_rate != 0.012, 'too steep'")
    # Each try costs a worker of its own.
    limits = ("sweep/stage.py", "SESSIONS = 3"), ("cluster/tuner.py", "RETRIES = 3")
    for file, limit in limits:
        path = sandbox.root / "pipelines" / file
        assert path.read_text().count(limit) == 1
        path.write_text(path.read_text().replace(limit, limit.replace("3", "1")))
    failed = sandbox.stage("sweep", "digits", fails=True)
    assert "Traceback" not in failed.stdout + failed.stderr
    reason = r"trials did not come to an end \(digits-unlucky trial \d: OSError: \[Errno 28\] No space left on device\)"
    assert re.search(reason, failed.stderr)
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

    again = sandbox.stage("sweep", "digits", "--only", "diverging", fails=True)
    assert "digits-diverging: no trial came to a result" in again.stderr
    assert "trial 1 diverged: " in again.stderr
    assert "loss became" in again.stderr or "squared_error became" in again.stderr
    assert "Traceback" not in again.stderr
