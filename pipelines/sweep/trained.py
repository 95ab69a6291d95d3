"""The best trial of a sweep as a model with its weights."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from components.models import Model, ModelSettings
from components.settings import SettingError
from items.errors import first_error, one_line
from items.spec import ItemSpec
from pipelines.project import StageError
from pipelines.sweep.record import RECORD, WEIGHTS, RunRecord

_MODEL: TypeAdapter[ModelSettings] = TypeAdapter(ModelSettings)


def model_settings(record: RunRecord) -> ModelSettings:
    """Return the settings of a record's model.

    Raises:
        StageError: no model takes them.
    """
    try:
        return _MODEL.validate_python(record.model)
    except ValidationError as error:
        raise StageError(f"{record.name}: {RECORD}: model: {first_error(error)}; {_remedy(record)}") from error


def read_model(folder: Path, record: RunRecord, item: ItemSpec) -> Model:
    """Return the best trial's model of these items with its weights, ready to encode.

    Raises:
        StageError: the weights cannot be read, or are another model's.
    """
    weights = read_weights(folder)
    try:
        model = model_settings(record).build(item)
        model.load_state_dict(weights)
    except (SettingError, RuntimeError) as error:
        raise StageError(
            f"{folder}: {WEIGHTS} does not fit the model of {RECORD}: {one_line(error, 300)}; {_remedy(record)}"
        ) from error
    return model.eval()


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return the best trial's weights by name."""
    try:
        return load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise StageError(f"{folder / WEIGHTS}: {error}") from error


def _remedy(record: RunRecord) -> str:
    return f"run `python -m pipelines.sweep {record.dataset} --only {record.experiment}`"
