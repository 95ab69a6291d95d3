"""What a project has in MLflow, to be compared."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any


def mlflow_state(root: Path) -> dict[str, Any]:
    """Everything that the projection is made of, without the ids and times that MLflow makes up."""
    database = sqlite3.connect(root / "mlflow.db")

    def rows(query: str) -> list[Any]:
        return sorted(database.execute(query).fetchall(), key=str)

    names = "select run_uuid, name from runs"
    run = dict(database.execute(names).fetchall())
    return {
        "runs": rows("select name, status, start_time, end_time from runs"),
        "params": sorted((run[r], k, v) for r, k, v in rows("select run_uuid, key, value from params")),
        "metrics": sorted((run[r], *rest) for r, *rest in rows("select run_uuid, key, step, value from metrics")),
        "tags": sorted(
            (run[r], k, run.get(v, v)) for r, k, v in rows("select run_uuid, key, value from tags")
            if k != "mlflow.loggedImages"
        ),
        "versions": rows("select name, version from model_versions"),
        "version tags": rows(
            "select name, version, key, value from model_version_tags where key != 'model_id'"
        ),
        "aliases": rows("select name, alias, version from registered_model_aliases"),
        "pictures": sorted(path.name for path in root.glob("mlartifacts/*/*/artifacts/pictures/*")),
    }  # fmt: skip
