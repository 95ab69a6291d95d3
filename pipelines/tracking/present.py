"""What MLflow holds already, read without MLflow: importing it takes longer than all that is asked here."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from pipelines.compare.summary import ExperimentSummary, StudySummary, Summary
from pipelines.tracking.tags import CONTENT, DIGEST, KEY, PARENT, STATUS, alias_changes, studies_of
from serving.registry import database_of

RUNS = """
    select e.name, key.value, r.run_uuid, r.status, coalesce(content.value, ''), coalesce(parent.value, '')
    from runs r join experiments e using (experiment_id)
    join tags key on key.run_uuid = r.run_uuid and key.key = ?
    left join tags content on content.run_uuid = r.run_uuid and content.key = ?
    left join tags parent on parent.run_uuid = r.run_uuid and parent.key = ?
    where r.lifecycle_stage = 'active' and e.lifecycle_stage = 'active'
"""
VERSIONS = """
    select v.name, tag.value, v.version
    from model_versions v join model_version_tags tag using (name, version)
    where tag.key = ? and v.current_stage != 'Deleted_Internal'
"""
ALIASES = "select name, alias, version from registered_model_aliases"


@dataclass(frozen=True)
class HeldRun:
    """An active run."""

    id: str
    status: str
    content: str
    parent: str


@dataclass(frozen=True)
class Held:
    """Runs by MLflow experiment and key, versions by model and bundle, and each model's versions by alias."""

    runs: dict[tuple[str, str], HeldRun] = field(default_factory=dict)
    versions: dict[tuple[str, str], str] = field(default_factory=dict)
    aliases: defaultdict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def has_experiment(self, one: ExperimentSummary) -> bool:
        """Return whether all of an experiment is there: its runs whole, its version, the alias that it is due."""
        parent = self.runs.get((one.dataset, one.key))
        version = self.versions.get((one.model, one.bundle))
        if parent is None or version is None or (parent.content, parent.status) != (one.content, "FINISHED"):
            return False
        if alias_changes(self.aliases[one.model], version, one.collapsed):
            return False
        for number, status in one.trials.items():
            trial = self.runs.get((one.dataset, f"{one.key}/{number}"))
            if trial is None or (trial.parent, trial.status) != (parent.id, STATUS.get(status)):
                return False
        return True

    def has_study(self, one: StudySummary) -> bool:
        """Return whether a study's run is there and whole."""
        run = self.runs.get((studies_of(one.dataset), f"{one.name}/{one.content}"))
        return run is not None and (run.content, run.status) == (one.content, "FINISHED")


def tracking_uri(home: Path) -> str:
    """Return MLflow's name for the store: MLFLOW_TRACKING_URI, else SQLite in the project's home."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"


def is_projected(summary: Summary, uri: str) -> bool:
    """Return whether the store at `uri` is known to hold everything. Only a SQLite database can be asked so quickly."""
    database = database_of(uri)
    if database is None or not database.is_file():
        return False
    try:
        held = held_in(database)
    except sqlite3.Error:
        return False  # MLflow itself will say what is wrong with it
    return all(map(held.has_experiment, summary.experiments)) and all(map(held.has_study, summary.studies))


def held_in(database: Path) -> Held:
    """Return what a SQLite database of MLflow holds; it is only read."""
    held = Held()
    with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as connection:
        for experiment, key, *rest in connection.execute(RUNS, (KEY, CONTENT, PARENT)):
            held.runs[experiment, key] = HeldRun(*rest)
        for name, digest, version in connection.execute(VERSIONS, (DIGEST,)):
            held.versions[name, digest] = str(version)
        for name, alias, version in connection.execute(ALIASES):
            held.aliases[name][alias] = str(version)
    return held
