"""The model registry, by mlflow-skinny, which is imported at the first use. No other module of serving uses MLflow.

A registered model's artifacts hold the bundle in the folder `bundle/`.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

SCHEME = "models:/"
SUBFOLDER = "bundle"
_URI = re.compile(r"models:/+(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")


# SQLite's errors about a file's content; others are about the disk, permissions or another writer.
_DAMAGED = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class RegistryError(RuntimeError):
    """The registry cannot be reached, or does not have the model."""


@dataclass(frozen=True)
class RegisteredModel:
    """One version of a registered model. `tags` are MLflow's; `created` is in UTC."""

    name: str
    version: int
    aliases: tuple[str, ...]
    tags: dict[str, str]
    created: datetime


def is_registry_uri(source: str | Path) -> bool:
    """Return whether a bundle's source is a URI of the registry, not a folder."""
    return isinstance(source, str) and source.startswith(SCHEME)


def resolve(uri: str) -> Path:
    """Return the local folder of a registered bundle.

    Artifacts on this machine are used where they are. Others are downloaded to a folder that is deleted at exit.

    Args:
        uri: `models:/name@alias` or `models:/name/version`.

    Raises:
        RegistryError: the URI is not valid, the model is not registered, or the registry cannot be reached.
    """
    if (match := _URI.fullmatch(uri)) is None:
        raise RegistryError(f"{uri}: not the URI of a model, must be models:/NAME@ALIAS or models:/NAME/VERSION")
    tracking = tracking_uri()
    with _mlflow_errors(f"{uri} in {tracking}", tracking):
        client = _client(tracking)
        version = match["version"] or client.get_model_version_by_alias(match["name"], match["alias"]).version
        artifacts = client.get_model_version_download_uri(match["name"], str(version)).rstrip("/")
        parsed = urlparse(artifacts)
        if parsed.scheme in ("", "file"):
            folder = Path(url2pathname(parsed.path)) / SUBFOLDER
        else:
            folder = _download(f"{artifacts}/{SUBFOLDER}", tracking)
    if not folder.is_dir():
        raise RegistryError(f"{uri}: version {version} has no bundle: {folder} is not there")
    return folder


def registered_models() -> list[RegisteredModel]:
    """List every version of every registered model, by name, the newest version first.

    Raises:
        RegistryError: the registry cannot be reached.
    """
    tracking = tracking_uri()
    with _mlflow_errors(tracking, tracking):
        client = _client(tracking)
        aliases: dict[tuple[str, int], list[str]] = {}
        for model in _pages(client.search_registered_models):
            for alias, version in model.aliases.items():
                aliases.setdefault((model.name, int(version)), []).append(alias)
        versions = [
            RegisteredModel(
                name=found.name,
                version=int(found.version),
                aliases=tuple(sorted(aliases.get((found.name, int(found.version)), ()))),
                tags=dict(found.tags),
                created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
            )
            for found in _pages(client.search_model_versions)
        ]
    return sorted(versions, key=lambda model: (model.name, -model.version))


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, else the project's `mlflow.db`.

    The project's root is the nearest folder, from the current one up, that has a params.yaml; else the current one.

    Raises:
        RegistryError: neither is there.
    """
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        if (database := database_of(uri)) and not database.is_file():  # MLflow would create an empty one
            raise RegistryError(f"MLFLOW_TRACKING_URI is {uri}, and there is no file {database}")
        return uri
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / "params.yaml").is_file()), here)
    if not (root / "mlflow.db").is_file():
        raise RegistryError(f"no model registry: MLFLOW_TRACKING_URI is not set, and there is no {root / 'mlflow.db'}")
    return f"sqlite:///{root / 'mlflow.db'}"


def database_of(tracking: str) -> Path | None:
    """Return the file of a tracking store that is one SQLite database; None for a server or another database."""
    path = tracking.partition(":///")[2].partition("?")[0]
    return Path(path) if tracking.startswith("sqlite") and path else None


def remedy_of(error: BaseException, tracking: str) -> str | None:
    """Return the remedy for a database that is incomplete, damaged, or of another MLflow; None for other errors."""
    if (database := database_of(tracking)) is None:
        return None
    causes: list[object] = []
    cause: BaseException | None = error
    while cause is not None:
        causes += [cause, getattr(cause, "orig", None)]
        cause = cause.__cause__ or cause.__context__
    codes = [getattr(one, "sqlite_errorcode", 0) & 0xFF for one in causes]
    if not any(code in _DAMAGED for code in codes) and "out-of-date database schema" not in str(error):
        return None
    remedy = "delete it and run `python -m pipelines.register`"
    return f"{database} is incomplete, damaged, or of another version of MLflow: {remedy}"


def _client(tracking: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking, registry_uri=tracking)


def _pages(search: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        if not (token := page.token):
            return


def _download(artifacts: str, tracking: str) -> Path:
    from mlflow.artifacts import download_artifacts

    target = tempfile.mkdtemp(prefix="hourglass-")
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    return Path(download_artifacts(artifact_uri=artifacts, dst_path=target, tracking_uri=tracking))


@contextmanager
def _mlflow_errors(subject: str, tracking: str) -> Iterator[None]:
    """Turn errors of MLflow, and of the many libraries that it uses, into one readable line."""
    try:
        yield
    except ImportError as error:
        raise RegistryError(
            f"{subject}: the registry needs the package {error.name}: pip install mlflow-skinny sqlalchemy alembic"
        ) from error
    except Exception as error:
        if "UnsupportedModelRegistryStoreURI" in type(error).__name__:
            raise RegistryError(
                f"{subject}: to read a database, mlflow-skinny needs two more packages: pip install sqlalchemy alembic"
            ) from error
        reason = " ".join(str(error).split())[:400]
        parts = [subject, reason, remedy_of(error, tracking)]
        raise RegistryError(": ".join(part for part in parts if part)) from error
