"""Kills of a sweep: its driver's processes, the raylet, the gcs, and the workers of trials.

A round runs a small sweep of digits as its user would, kills one of its processes at a random moment, and runs it again
until it ends. What it comes to must be what a sweep that nobody disturbed comes to.
"""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tests.faults.outcome import Outcome, draws
from tests.faults.processes import MARK, left_behind, marked
from tests.pipelines.sandbox import PARAMS, Sandbox

SUBJECT = "sweep-kills"
FULL = 100

EXPERIMENT = "digits-deep"
COMMAND = [sys.executable, "-m", "pipelines.sweep.stage", EXPERIMENT]
TRIALS, EPOCHS = 3, 40
RUNS = 4  # of one sweep, at most, until it must have ended
LONGEST = 300.0  # seconds that a run may take

# Whom to kill, by a pattern of the command line. The driver is three processes: the user's, its warden, and Tune's.
VICTIMS = {
    "driver": r" -m pipelines\.sweep ",
    "raylet": r"^\S+/raylet ",
    "gcs": r"^\S+/gcs_server ",
    "trial worker": r"^ray::ImplicitFunc",
}


class Ended(NamedTuple):
    """A run that is over: what it printed, and its exit status."""

    code: int
    printed: str


def rounds(seed: int, count: int) -> Iterator[Outcome]:
    """Yield one outcome a round."""
    with tempfile.TemporaryDirectory() as folder:
        project = made(Path(folder))
        whole = result(project) if run(project, mark="whole").code == 0 else None
        assert whole is not None, "the sweep fails without any fault"
        for number in range(count):
            yield disturbed(project, whole, draws(seed, number), f"round {number} (seed {seed})", f"{seed}-{number}")


def made(folder: Path) -> Sandbox:
    """Return a project whose sweep is long enough to be hit, its data prepared."""
    params = copy.deepcopy(PARAMS)
    params["experiments"][EXPERIMENT]["quick"] = {"epochs": EPOCHS, "trials": TRIALS}
    params["experiments"][EXPERIMENT]["sweep"] = {"first_rung": EPOCHS}  # no trial is stopped early
    project = Sandbox(folder)
    project.write_params(params)
    project.stage("prepare", "digits")
    return project


def disturbed(project: Sandbox, whole: Any, random: Random, name: str, mark: str) -> Outcome:
    """Run a sweep from nothing with a kill at a random moment, then again until it ends; say what is wrong."""
    forget(project)
    victim = random.choice([*VICTIMS])
    # Most kills come once trials learn, at a random epoch; the others while Ray starts, or has just begun.
    epochs = random.randrange(1, TRIALS * EPOCHS) if random.random() < 0.6 else 0
    delay = random.uniform(0, 1) if epochs else random.uniform(0, 8)
    which = random.random()
    ended, hit = killed(project, f"{mark}-0", victim, which, epochs, delay)
    when = f"{delay:.2f} s after epoch {epochs}" if epochs else f"{delay:.2f} s after it appeared"
    problems = list(left_behind(f"{mark}-0"))
    runs, known = [ended], journaled(project)
    while runs[-1].code and len(runs) < RUNS:
        before = known
        runs.append(run(project, f"{mark}-{len(runs)}"))
        problems += left_behind(f"{mark}-{len(runs) - 1}")
        known = journaled(project) or known
        problems += repeated(before, known if runs[-1].code else epochs_of(project))
    printed = "\n".join(run.printed for run in runs)
    if "Traceback" in printed:
        problems.append("a traceback: " + printed[printed.index("Traceback") :][:500])
    if runs[-1].code:
        problems.append(f"did not end in {RUNS} runs: {runs[-1].printed[-500:]}")
    else:
        problems += differences(whole, result(project))
    for early in runs[:-1]:
        if early.code > 0 and not early.printed.rstrip().splitlines()[-1].startswith("error: "):
            problems.append(f"exit status {early.code} without a reason: {early.printed[-300:]}")
    what = f"{name}: kill -9 of the {victim} {when}" + ("" if hit else " (it was not there any more)")
    return Outcome(what, tuple(problems), victim if hit else "missed")


def killed(project: Sandbox, mark: str, victim: str, which: float, epochs: int, delay: float) -> tuple[Ended, bool]:
    """Run the sweep; kill its `victim`, at the given share of those there are, at the given moment."""
    log = project.root / "log"
    with log.open("w") as file:
        process = start(project, mark, file)
        deadline, hit = time.monotonic() + LONGEST, False
        while process.poll() is None and time.monotonic() < deadline:
            if present(mark, victim) and sum(map(len, journaled(project).values())) >= epochs:
                time.sleep(delay)
                found = present(mark, victim)
                hit = bool(found) and _kill(found[int(which * len(found))])
                break
            time.sleep(0.1)
        return finish(process, log), hit


def present(mark: str, victim: str) -> list[int]:
    """Return the processes of a run that a victim's word stands for."""
    word = VICTIMS[victim]
    return sorted(pid for pid, command in marked(mark).items() if re.search(word, command))


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def run(project: Sandbox, mark: str) -> Ended:
    """Run the sweep undisturbed."""
    log = project.root / "log"
    with log.open("w") as file:
        return finish(start(project, mark, file), log)


def start(project: Sandbox, mark: str, file: Any) -> subprocess.Popen[bytes]:
    """Start the sweep, all its processes marked."""
    return subprocess.Popen(COMMAND, cwd=project.root, env=project.environment | {MARK: mark}, stdout=file, stderr=file)


def finish(process: subprocess.Popen[bytes], log: Path) -> Ended:
    """Wait for the end of a run; one that hangs is ended, and counted as failed."""
    try:
        code = process.wait(LONGEST)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return Ended(1, f"{log.read_text()}\nhung for {LONGEST:g} s")
    return Ended(code, log.read_text())


def forget(project: Sandbox) -> None:
    """Delete all that earlier rounds left."""
    for folder in (".hourglass/sweeps", "runs", "mlruns", "mlartifacts"):
        subprocess.run(["rm", "-rf", str(project.root / folder)], check=True)
    for file in project.root.glob("mlflow.db*"):
        file.unlink()


def journaled(project: Sandbox) -> dict[int, list[int]]:
    """Return when each epoch of each trial ended, as far as the journals hold it now."""
    from pipelines.sweep.journal import journals

    found = {}
    for sweep in (project.root / ".hourglass" / "sweeps").glob(f"{EXPERIMENT}-*/"):
        for journal in journals(sweep):
            trial = journal.read()
            found[trial.number] = [epoch.timestamp for epoch in trial.history]
    return found


def epochs_of(project: Sandbox) -> dict[int, list[int]]:
    """Return the same of the record."""
    record = json.loads((project.root / "runs" / EXPERIMENT / "record.json").read_text())
    return {trial["number"]: [epoch["timestamp"] for epoch in trial["history"]] for trial in record["trials"]}


def repeated(before: dict[int, list[int]], after: dict[int, list[int]]) -> list[str]:
    """Name the trials of which epochs that were journaled were run again."""
    return [
        f"trial {number}: {len(ended)} epochs were journaled and some were run again"
        for number, ended in before.items()
        if after.get(number, [])[: len(ended)] != ended
    ]


def result(project: Sandbox) -> dict[str, Any]:
    """Return a sweep's record without times and nodes."""
    record: dict[str, Any] = json.loads((project.root / "runs" / EXPERIMENT / "record.json").read_text())
    del record["digest"]  # it covers the times as well
    for trial in record["trials"]:
        del trial["started"], trial["node"]
        for epoch in trial["history"]:
            del epoch["timestamp"], epoch["seconds"], epoch["metrics"]["train_items_per_second"]
    return record


def differences(whole: Any, found: Any, path: str = "record") -> list[str]:
    """Name where a record is not the undisturbed one."""
    if isinstance(whole, dict) and isinstance(found, dict) and whole.keys() == found.keys():
        return [each for name in whole for each in differences(whole[name], found[name], f"{path}.{name}")]
    if isinstance(whole, list) and isinstance(found, list) and len(whole) == len(found):
        pairs = enumerate(zip(whole, found, strict=True))
        return [each for number, (a, b) in pairs for each in differences(a, b, f"{path}.{number}")]
    return [] if whole == found else [f"{path} is {str(found)[:100]}, undisturbed {str(whole)[:100]}"]
