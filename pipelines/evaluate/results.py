"""The results of an evaluation on disk, read and checked.

metrics/<dataset>/<experiment>.json                   metrics, for `dvc metrics` too
evaluations/<dataset>/<experiment>/values.parquet     a column a metric that is a mean over items, a row a test item
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from items.errors import first_error, one_line
from pipelines.project import Project, StageError

VALUES = "values.parquet"

Array = npt.NDArray[Any]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Evidence(BaseModel):
    """Inputs of an evaluation: the bundle's digest, the test items, and the digest of their codes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle: str
    items: int
    codes_sha256: str


class Metrics(BaseModel):
    """The metrics of one experiment by their keys in :mod:`pipelines.metrics.table`, those that apply.

    All but the metrics are lists or objects of lists, which `dvc metrics` leaves out of its tables.

    Attributes:
        collapsed: why the code is called collapsed, none where it is not; see :mod:`pipelines.metrics.collapse`.
        intervals: 95 % intervals of the metrics that are means over items.
        evidence: what was evaluated.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Number]

    bits_per_item: Number
    collapsed: tuple[str, ...]
    intervals: dict[str, tuple[Number, Number]]
    evidence: tuple[Evidence]

    @property
    def values(self) -> dict[str, float]:
        """All metrics by key."""
        return {"bits_per_item": self.bits_per_item, **self.__pydantic_extra__}

    def value(self, key: str) -> float | None:
        """Return a metric; None where it does not apply, as accuracy without classes."""
        return self.values.get(key)

    def interval(self, key: str) -> tuple[float, float] | None:
        """Return a metric's 95 % interval; None where it has none."""
        return self.intervals.get(key)


def read_metrics(project: Project, dataset: str, experiment: str) -> Metrics:
    """Read and check the metrics of an experiment.

    Raises:
        StageError: they are missing or damaged.
    """
    path = project.metrics(dataset, experiment)
    try:
        return Metrics.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StageError(f"{path}: {error.strerror}; {_remedy(dataset, experiment)}") from error
    except ValidationError as error:
        raise StageError(f"{path}: {first_error(error)}; {_remedy(dataset, experiment)}") from error


def read_values(project: Project, dataset: str, experiment: str) -> dict[str, Array]:
    """Return the values of each test item, (items,) float64 by metric, in the order of the test split.

    Raises:
        StageError: they are missing or damaged.
    """
    path = project.evaluation(dataset, experiment) / VALUES
    try:
        return parse_values(path.read_bytes())
    except OSError as error:
        raise StageError(f"{path}: {error.strerror}; {_remedy(dataset, experiment)}") from error
    except ValueError as error:
        raise StageError(f"{path}: {error}; {_remedy(dataset, experiment)}") from error


def parse_values(content: bytes) -> dict[str, Array]:
    """Return what the content of values.parquet holds; see :func:`read_values`.

    Raises:
        ValueError: it is damaged.
    """
    try:
        table = pq.read_table(io.BytesIO(content))
        values = {name: table[name].to_numpy() for name in table.column_names}
    except Exception as error:  # of a damaged file, pyarrow raises errors of many kinds
        raise ValueError(f"is damaged: {one_line(error, 200)}") from error
    for name, column in values.items():
        if column.dtype != np.float64 or not np.isfinite(column).all():
            raise ValueError(f"{one_line(name, 100)}: must be finite numbers, float64")
    return values


def write_values(path: Path, values: Mapping[str, Array]) -> None:
    """Write the values of each test item, (items,) by metric."""
    columns = {name: pa.array(np.asarray(column, np.float64)) for name, column in values.items()}
    pq.write_table(pa.table(columns), path, compression="zstd")


def _remedy(dataset: str, experiment: str) -> str:
    return f"run `python -m pipelines.evaluate {dataset} --only {experiment}`"
