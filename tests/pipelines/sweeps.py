"""Sweeps of digits that tests run and look into."""

from __future__ import annotations

import copy
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

from pipelines.sweep.journal import journals
from pipelines.sweep.record import RunRecord, TrialRecord, read_record
from pipelines.units.storage import Storage
from tests.pipelines.sandbox import PARAMS, Sandbox

RATE = "model.training.learning_rate"
TIMES = ("started", "node", "timestamp", "seconds", "train_items_per_second", "encode_items_per_second")
COMMAND = [sys.executable, "-m", "pipelines.sweep", "digits"]


def only(name: str, **changed: Any) -> dict[str, Any]:
    """Return settings with a single experiment, `deep` of PARAMS with what is changed."""
    params = copy.deepcopy(PARAMS)
    params["experiments"] = {"digits": {name: params["experiments"]["digits"]["deep"] | changed}}
    return params


def long_sweep(epochs: int, trials: int) -> dict[str, Any]:
    """Return settings whose trials are long enough to be hit; none is stopped early."""
    return only("deep", quick={"epochs": epochs, "trials": trials}, sweep={"first_rung": epochs})


def run_names(root: Path) -> list[str]:
    rows = sqlite3.connect(root / "mlflow.db").execute("select name from runs").fetchall()
    return sorted(name for (name,) in rows)


def work(sandbox: Sandbox) -> Path:
    """Return the folder of the journals."""
    return sandbox.root / ".hourglass" / "work" / "sweeps"


def journaled(sandbox: Sandbox, sweeps: Storage | None = None) -> list[TrialRecord]:
    """Return the trials that the journals hold, in the project or in a storage of their own."""
    sweeps = sweeps or Storage(work(sandbox))
    found = [journal for name in sweeps.names() for journal in journals(sweeps / name)]
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


def results(root: Path) -> dict[str, Any]:
    """Return what the stages left, without times and what is derived from them."""

    def timeless(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: timeless(value) for key, value in tree.items() if key not in TIMES}
        return [timeless(one) for one in tree] if isinstance(tree, list) else tree

    found = {}
    for path in sorted(root.rglob("*.json")):
        if path.relative_to(root).parts[0] in ("runs", "metrics", "studies") and path.name != "unit.json":
            tree = json.loads(path.read_text())
            tree.pop("digest", None)  # of a record: it covers the times
            tree.pop("git_commit", None)
            tree.pop("key", None)  # it covers the code, which a test may have slowed
            found[str(path.relative_to(root))] = timeless(tree)
    return found
