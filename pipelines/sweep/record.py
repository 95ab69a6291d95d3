"""The run record: all that a sweep found, on disk.

runs/<dataset>/<experiment>/record.json           every trial's settings and history; which was best
runs/<dataset>/<experiment>/weights.safetensors   the best trial's weights, at its best epoch
runs/<dataset>/<experiment>/*.png, history.csv    pictures, and the best trial's history for `dvc plots`

Reading it needs no torch; :mod:`pipelines.sweep.trained` makes the model.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from items.errors import first_error
from pipelines.project import StageError, model_name
from pipelines.settings.spaces import Parameters
from pipelines.units.key import digest_of

RECORD, WEIGHTS = "record.json", "weights.safetensors"

Status = Literal["running", "finished", "stopped", "diverged", "failed"]


class _Contract(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class EpochRecord(_Contract):
    """One epoch: when it ended (milliseconds since 1970), how long it took, and its metrics."""

    epoch: int
    timestamp: int
    seconds: float
    metrics: dict[str, float]


class TrialRecord(_Contract):
    """One trial, from its first epoch to its end.

    `stopped` is an early stop by successive halving, `diverged` a loss that became infinite, `failed` anything else,
    with its reason; `node` is the Ray node that it ran on last.
    """

    number: int
    parameters: Parameters
    status: Status
    reason: str = ""
    started: int
    node: str = ""
    history: tuple[EpochRecord, ...]

    @property
    def ended(self) -> int:
        """Milliseconds since 1970."""
        return self.history[-1].timestamp if self.history else self.started

    def best(self, objective: str) -> EpochRecord | None:
        """Return the epoch at which the objective was smallest; None where it never was finite."""
        finite = (epoch for epoch in self.history if math.isfinite(epoch.metrics[objective]))
        return min(finite, key=lambda epoch: epoch.metrics[objective], default=None)


class RunRecord(_Contract):
    """record.json, version 2."""

    format: Literal["hourglass/run-record"] = "hourglass/run-record"
    version: Literal[2] = 2
    experiment: str
    dataset: str
    data_digest: str
    key: str = Field(description="sha256 of settings, budget, seed, data and code: the same key, the same sweep")
    seed: int
    budget: str
    epochs: int
    objective: str
    settings: dict[str, Any] = Field(description="the experiment as params.yaml has it, distributions and all")
    space: dict[str, str] = Field(description="what was searched: path of the value, and its distribution in words")
    trials: tuple[TrialRecord, ...]
    best_trial: int
    best_epoch: int
    model: dict[str, Any] = Field(description="the best trial's model, its settings complete")
    weights_sha256: str
    parameters: int = Field(description="trained numbers in the model")
    git_commit: str
    versions: dict[str, str]
    digest: str = Field(default="", description="sha256 of this record without `digest`; none before it is written")

    def computed_digest(self) -> str:
        """Return the sha256 of everything but `digest`."""
        return digest_of(self.model_dump(mode="json", exclude={"digest"}))

    @model_validator(mode="after")
    def _has_its_best(self) -> Self:
        best = next((trial for trial in self.trials if trial.number == self.best_trial), None)
        if best is None:
            raise ValueError(f"best_trial is {self.best_trial}, and no trial has that number")
        epoch = next((epoch for epoch in best.history if epoch.epoch == self.best_epoch), None)
        if epoch is None:
            raise ValueError(f"best_epoch is {self.best_epoch}, and trial {best.number} has none of that number")
        if any(self.objective not in epoch.metrics for trial in self.trials for epoch in trial.history):
            raise ValueError(f"objective is {self.objective}, and an epoch has no metric of that name")
        return self

    @property
    def name(self) -> str:
        """The name under which the model is registered, such as `mnist-deep`."""
        return model_name(self.dataset, self.experiment)

    @property
    def best(self) -> TrialRecord:
        """The best trial."""
        return next(trial for trial in self.trials if trial.number == self.best_trial)

    @property
    def best_metrics(self) -> dict[str, float]:
        """The best trial's metrics at its best epoch."""
        return next(e.metrics for e in self.best.history if e.epoch == self.best_epoch)

    @property
    def searched(self) -> bool:
        """Whether there was a choice: a single trial is one point drawn from the space."""
        return bool(self.space) and len(self.trials) > 1

    @property
    def trial_seconds(self) -> float:
        """Seconds that the trials' epochs took, summed; the time between a kill and the rerun is not in it."""
        return sum(epoch.seconds for trial in self.trials for epoch in trial.history)


def sealed(record: RunRecord) -> bytes:
    """Return record.json with its digest."""
    return record.model_copy(update={"digest": record.computed_digest()}).model_dump_json(indent=1).encode()


def read_record(folder: Path) -> RunRecord:
    """Read and check a run record.

    Raises:
        StageError: it is missing, damaged, or the weights are not the ones that it names.
    """
    path = folder / RECORD
    remedy = f"run `python -m pipelines.sweep {folder.parent.name}`"
    try:
        record = RunRecord.model_validate_json(path.read_bytes())
        found = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    except OSError as error:
        raise StageError(f"{error.filename}: {error.strerror}; {remedy}") from error
    except ValidationError as error:
        raise StageError(f"{path}: {first_error(error)}; {remedy}") from error
    if record.digest != record.computed_digest():
        raise StageError(f"{path}: is damaged: its content does not have the digest that it names; {remedy}")
    if found != record.weights_sha256:
        raise StageError(f"{folder / WEIGHTS}: sha256 is {found}, the record says {record.weights_sha256}")
    return record
