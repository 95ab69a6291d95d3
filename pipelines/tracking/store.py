"""The tracking store: which server or file, and a client to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.project import StageError, locked
from pipelines.tracking.present import tracking_uri
from pipelines.tracking.tags import KEY
from serving.registry import database_of, remedy_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

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
        uri: MLflow's name for it.
        artifacts: where new experiments keep their files; None leaves that to the server.
        lock: held while something is looked for and, where it is not there, created.
    """

    uri: str
    artifacts: str | None
    lock: Path

    @classmethod
    def of(cls, home: Path) -> Store:
        """Return the store that the environment names, or the project's own."""
        uri = tracking_uri(home)
        database = database_of(uri)
        own = None if os.environ.get("MLFLOW_TRACKING_URI") else (home / "mlartifacts").as_uri()
        return cls(uri, own, _beside(database) if database else home / ".hourglass" / "mlflow.lock")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the store against other processes; within, the same process may hold it again."""
        if self._held:
            yield
            return
        with locked(self.lock):
            self._held.append(True)
            try:
                yield
            finally:
                self._held.clear()

    @cached_property
    def _held(self) -> list[bool]:
        return []

    @cached_property
    def client(self) -> MlflowClient:
        """A client, with MLflow's own habits turned down."""
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        os.environ.pop("MLFLOW_RUN_ID", None)  # an inherited one would be written into
        import logging

        import mlflow

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        self._create()
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        return mlflow.MlflowClient(self.uri, self.uri)

    def _create(self) -> None:
        """Create a SQLite database that is not there: whole, or not at all, whenever this process is killed."""
        database = database_of(self.uri)
        if database is None or (database.is_file() and database.stat().st_size):
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        with self.alone():
            if database.is_file() and database.stat().st_size:
                return  # another process created it meanwhile
            partial = database.with_name(f"{database.name}.partial")
            for left in database.parent.glob(f"{partial.name}*"):
                left.unlink()  # by a process that was killed
            # The default experiment keeps its files where MLflow would put them; none of ours is in it.
            SqlAlchemyStore(f"sqlite:///{partial}", self.artifacts or "./mlruns").engine.dispose()
            partial.replace(database)

    def experiment_id(self, name: str) -> str:
        """Return the id of the MLflow experiment of this name, creating it where it is not there."""
        with self.alone():
            return self._experiment_id(name)

    def _experiment_id(self, name: str) -> str:
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
        remedy = remedy_of(error, store.uri) or "fix it and run `dvc repro` again"
        raise UnreachableError(f"MLflow at {store.uri}: {reason}. Nothing is lost: {remedy}") from error


def _beside(database: Path) -> Path:
    return database.with_name(f"{database.name}.lock")


def metric(key: str, value: float, timestamp: int, step: int, **ties: Any) -> Any:
    """Return an MLflow metric."""
    from mlflow.entities import Metric

    return Metric(key, float(value), timestamp, step, **ties)
