"""Tags, statuses and aliases by which this project finds its own things in MLflow. Imports nothing that is slow."""

from __future__ import annotations

from collections.abc import Mapping

TAG = "hourglass."  # every tag of ours begins so; KEY names what a run is a projection of
KEY, CONTENT = f"{TAG}key", f"{TAG}content"
PARENT = "mlflow.parentRunId"
DIGEST, MODEL = "content_sha256", "model_id"  # tags of model versions

STATUS = {"finished": "FINISHED", "stopped": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}

CHAMPION, CHALLENGER = "champion", "challenger"


def studies_of(dataset: str) -> str:
    """Return the MLflow experiment of a dataset's studies: their metrics are no columns in the table of models."""
    return f"{dataset}.studies"


def alias_changes(aliases: Mapping[str, str], version: str, collapsed: bool) -> dict[str, str | None]:
    """Return the aliases that a model's version on disk must be given, or lose (None).

    It becomes champion where there is none, and challenger to another one. A collapsed version gets neither and loses
    those that it has: `@champion` then gives an error, not codes that say next to nothing.

    Args:
        aliases: the versions of the registered model by alias.
        version: the one on disk.
        collapsed: whether its code has collapsed.
    """
    if collapsed:
        return {alias: None for alias in (CHAMPION, CHALLENGER) if aliases.get(alias) == version}
    alias = CHALLENGER if CHAMPION in aliases else CHAMPION
    return {} if version in (aliases.get(CHAMPION), aliases.get(alias)) else {alias: version}
