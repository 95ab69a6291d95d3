"""A small line-up to be swept under fire, what its journals and records hold, and whether anything came twice.

Two of its experiments have three trials each, which successive halving stops at one rung or at several. Which it stops
follows from their histories alone, so that a killed sweep comes to the record of one that nobody disturbed, in all but
times and nodes.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from pipelines.project import StageError
from pipelines.sweep.journal import journals
from pipelines.sweep.record import RECORD, TrialRecord, read_record
from pipelines.units.storage import Storage
from tests.faults.running import Ended, Running
from tests.pipelines.sandbox import Sandbox

COMMAND = [sys.executable, "-m", "pipelines.sweep", "digits"]
EXPERIMENTS = ("pca", "linear", "deep")
EPOCHS = 48

Known = dict[str, list[int]]  # when each epoch ended, by trial


def params(epochs: int) -> dict[str, Any]:
    """Return the settings."""
    budget = {"epochs": epochs, "trials": 3}

    def trained(network: dict[str, Any], **sweep: Any) -> dict[str, Any]:
        model = {
            "kind": "autoencoder",
            "network": network,
            "bottleneck": {"kind": "identity", "size": 8},
            "training": {"learning_rate": {"log_uniform": [1e-3, 1e-2]}},
        }
        return {"model": model, "sweep": sweep, "quick": budget, "paper": budget}

    pca = {"model": {"kind": "pca", "size": 8}}
    deep = trained({"kind": "mlp", "hidden": [256, 128]}, first_rung=epochs // 4, reduction=1.5)
    experiments = dict(zip(EXPERIMENTS, (pca, trained({"kind": "linear"}), deep), strict=True))
    return {"datasets": {"digits": {"kind": "digits"}}, "experiments": {"digits": experiments}}


class Swept:
    """The project."""

    def __init__(self, folder: Path, epochs: int = EPOCHS) -> None:
        self.sandbox = Sandbox(folder)
        self.sandbox.write_params(params(epochs))
        self.sandbox.prepare()

    def start(self, mark: str) -> Running:
        """Start the sweep, or go on with it."""
        return Running(self.sandbox, COMMAND, mark)

    def run(self, mark: str) -> Ended:
        """Run the sweep undisturbed."""
        return self.start(mark).finish()

    def forget(self) -> None:
        """Delete all that earlier rounds left."""
        for name in (".hourglass/work", "runs", "mlruns", "mlartifacts"):
            shutil.rmtree(self.sandbox.root / name, ignore_errors=True)
        for file in self.sandbox.root.glob("mlflow.db*"):
            file.unlink()

    def known(self) -> Known:
        """Return the epochs of every trial that are on the disk: in its experiment's record, else in its journal."""
        return {
            f"{name} trial {trial.number}": [epoch.timestamp for epoch in trial.history]
            for name in EXPERIMENTS
            for trial in self._trials(name)
        }

    @property
    def progress(self) -> int:
        """The number of epochs on the disk."""
        return sum(map(len, self.known().values()))

    def _trials(self, name: str) -> list[TrialRecord]:
        folder = self.sandbox.root / "runs" / "digits" / name
        for _ in range(20):  # while it is looked at, the record may take the journals' place
            if (folder / RECORD).is_file():
                return list(read_record(folder).trials)
            try:
                below = sorted((self.sandbox.root / ".hourglass/work/sweeps").glob(f"digits-{name}-*/"))
                found = [journal for sweep in below for journal in journals(Storage(sweep))]
                return [journal.read() for journal in found if journal.exists()]
            except (StageError, FileNotFoundError):
                continue
        raise AssertionError(f"{name}: its journals cannot be read")

    def results(self) -> dict[str, Any]:
        """Return each record without times and nodes."""
        runs = self.sandbox.root / "runs" / "digits"
        return {name: timeless(json.loads((runs / name / RECORD).read_text())) for name in EXPERIMENTS}

    def leftovers(self) -> list[str]:
        """Name what a finished sweep has left: journals, files half written, what is in MLflow twice."""
        root = self.sandbox.root
        left = [*(root / ".hourglass" / "work").glob("sweeps/*"), *(root / "runs" / "digits").glob(".*")]
        problems = [f"left behind: {path.relative_to(root)}" for path in left]
        database = sqlite3.connect(root / "mlflow.db")
        for query in (
            "select name from runs",
            "select run_uuid, key, step from metrics where key not like '%items_per_second'",
        ):
            counts = Counter(database.execute(query).fetchall())
            problems += [f"in MLflow {number} times: {row}" for row, number in counts.items() if number > 1]
        database.close()
        return problems


def timeless(record: dict[str, Any]) -> dict[str, Any]:
    """Return a run record without times, nodes, and the key, which covers the code that a test may have slowed."""
    del record["digest"], record["key"]  # the digest covers all of them
    for trial in record["trials"]:
        del trial["started"], trial["node"]
        for epoch in trial["history"]:
            del epoch["timestamp"], epoch["seconds"]
            epoch["metrics"].pop("train_items_per_second", None)  # a closed form has none
    return record


def repeated(before: Known, after: Known) -> list[str]:
    """Name the trials of which epochs that were journaled were run again."""
    return [
        f"{trial}: {len(ended)} epochs were journaled and some were run again"
        for trial, ended in before.items()
        if after.get(trial, [])[: len(ended)] != ended
    ]


def differences(whole: Any, found: Any, path: str = "record") -> list[str]:
    """Name where a record is not the undisturbed one."""
    if isinstance(whole, dict) and isinstance(found, dict) and whole.keys() == found.keys():
        return [each for name in whole for each in differences(whole[name], found[name], f"{path}.{name}")]
    if isinstance(whole, list) and isinstance(found, list) and len(whole) == len(found):
        pairs = enumerate(zip(whole, found, strict=True))
        return [each for number, (a, b) in pairs for each in differences(a, b, f"{path}.{number}")]
    return [] if whole == found else [f"{path} is {str(found)[:100]}, undisturbed {str(whole)[:100]}"]
