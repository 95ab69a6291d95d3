"""The tracking store: which server or file, and a client to it."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.project import StageError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TAG = "hourglass."  # every tag of ours begins so; KEY names what a run is a projection of
KEY, CONTENT = f"{TAG}key", f"{TAG}content"

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class UnreachableError(StageError):
    """MLflow does not answer, or refuses."""


@dataclass(frozen=True)
class Store:
    """A tracking server and model registry: MLFLOW_TRACKING_URI, else SQLite in the project's home.

    Attributes:
        uri: as MLflow takes it.
        artifacts: where the project's own store keeps files; None where the store decides.
        lock: a file that only one writer on this machine holds at a time.
    """

    uri: str
    artifacts: str | None
    lock: Path

    @classmethod
    def of(cls, home: Path) -> Store:
        """Return the store that the environment names, or the project's own."""
        uri = os.environ.get("MLFLOW_TRACKING_URI", "")
        if not uri:
            database = home / "mlflow.db"
            return cls(f"sqlite:///{database}", (home / "mlartifacts").as_uri(), _lock_of(database))
        if (file := sqlite_file(uri)) is not None:
            return cls(uri, None, _lock_of(file))
        return cls(uri, None, home / ".hourglass" / "mlflow.lock")

    @property
    def database(self) -> Path | None:
        """The SQLite file, where the store is one."""
        return sqlite_file(self.uri)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes of this machine from writing: MLflow itself finds and makes in two steps."""
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        with self.lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # the lock ends with the process, however that ends
            if self.database is not None and not self.database.exists():
                create_database(self.database)
            yield

    @cached_property
    def client(self) -> MlflowClient:
        """A client, with MLflow's own habits turned down."""
        quieten()
        import mlflow

        if self.database is not None and not self.database.exists():
            with self.alone():
                pass  # which makes it
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        return mlflow.MlflowClient(self.uri, self.uri)

    def experiment_id(self, name: str) -> str:
        """Return the id of the MLflow experiment of this name, making it where it is not there."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            place = self.artifacts and f"{self.artifacts}/{name}"
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return str(self.client.create_experiment(name, place, kind))
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def find_run(self, experiment_id: str, key: str) -> Run | None:
        """Return the run that is the projection of `key`, if there is one."""
        runs = self.client.search_runs([experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1)
        return runs[0] if runs else None


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite URI such as sqlite:///mlflow.db; None for any other store."""
    scheme, separator, path = uri.partition(":///")
    return Path(path) if separator and scheme.partition("+")[0] == "sqlite" and path else None


def quieten() -> None:
    """Turn down MLflow's own habits; before its first import."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.pop("MLFLOW_RUN_ID", None)  # an inherited one would be written into
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def create_database(path: Path) -> None:
    """Make a SQLite store with all of MLflow's tables: whole or absent, even where this process is killed."""
    quieten()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    partial = path.with_name(f"{path.name}.partial")
    for leftover in (partial, partial.with_name(f"{partial.name}-journal")):
        leftover.unlink(missing_ok=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    made = SqlAlchemyStore(f"sqlite:///{partial}", (path.parent / "mlartifacts").as_uri())
    made.engine.dispose()
    partial.replace(path)


def _lock_of(database: Path) -> Path:
    return database.with_name(f"{database.name}.lock")


@contextmanager
def answered(store: Store) -> Iterator[None]:
    """Turn what MLflow and its drivers raise into one line that says what to do.

    Raises:
        UnreachableError: the store does not answer, or refuses.
    """
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, requests.RequestException, SQLAlchemyError, OSError) as error:
        reason = " ".join(str(error).split())[:400]
        if store.database is not None:
            remedy = f"delete or repair {store.database} and run `python -m pipelines.register`, which makes it anew"
        else:
            remedy = "run `dvc repro` again when it answers"
        raise UnreachableError(f"MLflow at {store.uri}: {reason}. Nothing on disk is lost: {remedy}") from error


def metric(key: str, value: float, timestamp: int, step: int, **ties: Any) -> Any:
    """Return an MLflow metric."""
    from mlflow.entities import Metric

    return Metric(key, float(value), timestamp, step, **ties)
