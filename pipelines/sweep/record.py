"""The run record: all that a sweep found, on disk.

runs/<experiment>/record.json           every trial's settings and history; which was best
runs/<experiment>/weights.safetensors   the best trial's weights, at its best epoch
runs/<experiment>/*.png, history.csv    pictures, and the best trial's history for `dvc plots`
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from components.models import Model, ModelSettings
from components.settings import SettingError
from items.errors import first_error, one_line
from items.spec import ItemSpec
from pipelines.project import StageError
from pipelines.settings.spaces import Parameters

RECORD, WEIGHTS = "record.json", "weights.safetensors"

Status = Literal["running", "finished", "stopped", "diverged", "failed"]


class _Contract(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class EpochRecord(_Contract):
    """One epoch: when it ended (milliseconds since 1970), how long it took, and what was measured."""

    epoch: int
    timestamp: int
    seconds: float
    metrics: dict[str, float]


class TrialRecord(_Contract):
    """One trial, from its first epoch to its end.

    `stopped` is ASHA's early stop, `diverged` a loss that became infinite, `failed` anything else, with its reason;
    `node` is the Ray node that it ran on last.
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
        """Return the epoch at which the objective was smallest; None where it never was a number."""
        measured = (epoch for epoch in self.history if math.isfinite(epoch.metrics[objective]))
        return min(measured, key=lambda epoch: epoch.metrics[objective], default=None)


class RunRecord(_Contract):
    """record.json, version 1."""

    format: Literal["hourglass/run-record"] = "hourglass/run-record"
    version: Literal[1] = 1
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
    model: ModelSettings = Field(description="the best trial's model, nothing left open")
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
            raise ValueError(f"objective is {self.objective}, and an epoch has no figure of that name")
        return self

    @property
    def best(self) -> TrialRecord:
        """The best trial."""
        return next(trial for trial in self.trials if trial.number == self.best_trial)

    @property
    def best_metrics(self) -> dict[str, float]:
        """What the best trial measured at its best epoch."""
        return next(e.metrics for e in self.best.history if e.epoch == self.best_epoch)

    @property
    def searched(self) -> bool:
        """Whether there was a choice: a single trial is one point drawn from the space."""
        return bool(self.space) and len(self.trials) > 1

    @property
    def trial_seconds(self) -> float:
        """Seconds that the trials' epochs took, summed; the time that a cut-off sweep lay still is not in it."""
        return sum(epoch.seconds for trial in self.trials for epoch in trial.history)


def digest_of(*parts: object) -> str:
    """Return the sha256 of JSON-able parts in canonical form."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_record(folder: Path, record: RunRecord) -> None:
    """Write record.json with its digest, atomically, and so that a loss of power leaves it whole."""
    sealed = record.model_copy(update={"digest": record.computed_digest()})
    partial = folder / f"{RECORD}.partial"
    with partial.open("w", encoding="utf-8") as file:
        file.write(sealed.model_dump_json(indent=1))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / RECORD)


def read_record(folder: Path) -> RunRecord:
    """Read and check a run record.

    Raises:
        StageError: it is missing, damaged, or the weights are not the ones that it names.
    """
    path = folder / RECORD
    remedy = f"run `python -m pipelines.sweep {folder.name}`"
    try:
        record = RunRecord.model_validate_json(path.read_bytes())
        found = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    except OSError as error:
        raise StageError(f"{error.filename}: {error.strerror}; {remedy}") from error
    except ValidationError as error:
        raise StageError(f"{path}: {first_error(error)}; {remedy}") from error
    if record.digest != record.computed_digest():
        raise StageError(f"{path}: is damaged, its content does not have the digest that it names; {remedy}")
    if found != record.weights_sha256:
        raise StageError(f"{folder / WEIGHTS}: sha256 is {found}, the record says {record.weights_sha256}")
    return record


def read_model(folder: Path, record: RunRecord, item: ItemSpec) -> Model:
    """Return the best trial's model of these items with its weights, ready to encode.

    Raises:
        StageError: the weights cannot be read, or are another model's.
    """
    weights = read_weights(folder)
    try:
        model = record.model.build(item)
        model.load_state_dict(weights)
    except (SettingError, RuntimeError) as error:
        raise StageError(
            f"{folder}: {WEIGHTS} does not fit the model of {RECORD}: {one_line(error, 300)}; "
            f"run `python -m pipelines.sweep {folder.name}`"
        ) from error
    return model.eval()


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return the best trial's weights by name."""
    try:
        return load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise StageError(f"{folder / WEIGHTS}: {error}") from error
