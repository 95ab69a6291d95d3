"""An experiment as its stages left it on disk, read and checked whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from components.data.contract import SCHEMA_FILE
from components.data.schema import DatasetSchema, read_schema
from items.errors import first_error, one_line
from pipelines.project import Project, StageError
from pipelines.settings.params import Params
from pipelines.sweep.record import RunRecord, read_record
from serving.manifest import Manifest, read_manifest

Family = Literal["linear", "plain", "regularised", "variational", "discrete"]
FAMILIES: tuple[Family, ...] = get_args(Family)


class Evidence(BaseModel):
    """What a metrics file was measured on."""

    bundle: str
    items: int


class Metrics(BaseModel):
    """metrics/<experiment>.json: figures by name, 95 % intervals of those that are means over items.

    `collapsed` holds the reasons why the code is called so, none where it is sound; see
    :mod:`pipelines.metrics.collapse`.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, FiniteFloat]

    bits_per_item: FiniteFloat
    intervals: dict[str, tuple[FiniteFloat, FiniteFloat]]
    evidence: tuple[Evidence, ...]
    collapsed: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One experiment, with all that the stages before left of it; `pictures` are those that exist, by name."""

    name: str
    record: RunRecord
    manifest: Manifest
    metrics: Metrics
    schema: DatasetSchema
    pictures: Mapping[str, Path]

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self.record.dataset

    @property
    def collapsed(self) -> str:
        """Why the code is called collapsed, in words; empty where it is sound."""
        return "; ".join(self.metrics.collapsed)

    @property
    def kinds(self) -> dict[str, str | None]:
        """What the model is made of; None for what it has not."""
        model = self.record.model.model_dump()
        parts = {part: model.get(part, {}).get("kind") for part in ("corruption", "network", "bottleneck")}
        if parts["corruption"] == "none":
            parts["corruption"] = None
        penalties = " + ".join(penalty["kind"] for penalty in model.get("penalties", ()))
        return {"model": model["kind"], **parts, "penalties": penalties or None}

    @property
    def family(self) -> Family:
        """The sort of code that it makes, which groups and colours it."""
        kinds = self.kinds
        if self.manifest.code.levels is not None:
            return "discrete"
        if kinds["bottleneck"] == "gaussian":
            return "variational"
        if kinds["corruption"] or kinds["penalties"] or kinds["bottleneck"] not in (None, "identity"):
            return "regularised"
        return "plain" if kinds["network"] not in (None, "linear") else "linear"

    def figure(self, name: str) -> float | None:
        """Return a figure; None where it was not measured, as accuracy without classes."""
        value: float | None = getattr(self.metrics, name, None)
        return value

    def interval(self, name: str) -> tuple[float, float] | None:
        """Return a figure's 95 % interval; None where it has none."""
        return self.metrics.intervals.get(name)


def read_entries(project: Project, params: Params) -> list[Entry]:
    """Return every experiment of params.yaml, by dataset and then by squared error, those without one last.

    Raises:
        StageError: an experiment's files are missing, damaged, or not of one another.
        BundleError: an experiment's bundle is missing or damaged.
        DataError: an experiment's dataset is missing or damaged.
    """
    entries = [read_entry(project, name, e.dataset) for name, e in params.experiments.items()]
    return sorted(entries, key=rank)


def rank(entry: Entry) -> tuple[str, bool, float, str]:
    """Return what the leaderboard is sorted by."""
    error = entry.figure("squared_error")
    return entry.dataset, error is None, error or 0.0, entry.name


def read_entry(project: Project, name: str, dataset: str) -> Entry:
    """Read what one experiment has left on disk; see :func:`read_entries`."""
    folders = {"history": "run", "space": "run", "reconstructions": "plots", "codes": "plots", "codebook": "plots"}
    paths = {picture: getattr(project, of)(name) / f"{picture}.png" for picture, of in folders.items()}
    entry = Entry(
        name=name,
        record=read_record(project.run(name)),
        manifest=read_manifest(project.bundle(name)),
        metrics=read_metrics(project.metrics(name)),
        schema=read_schema(project.data(dataset) / SCHEMA_FILE),
        pictures={picture: path for picture, path in paths.items() if path.is_file()},
    )
    check_agreement(entry)
    return entry


def read_metrics(path: Path) -> Metrics:
    """Read and check a metrics file.

    Raises:
        StageError: it is missing or damaged.
    """
    remedy = f"run `python -m pipelines.evaluate {path.stem}`"
    try:
        return Metrics.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StageError(f"{path}: {error.strerror}; {remedy}") from error
    except ValidationError as error:
        raise StageError(f"{path}: {first_error(error)}; {remedy}") from error


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture's pixels, (height, width, 3).

    Raises:
        StageError: it is missing or damaged.
    """
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return np.asarray(picture.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise what their parsers trip over
        again = {"runs": "sweep", "plots": "evaluate"}.get(path.parent.parent.name, "compare")
        raise StageError(f"{path}: {one_line(error)}; run `python -m pipelines.{again} {path.parent.name}`") from error


def check_agreement(entry: Entry) -> None:
    """See that each stage's output was made from the one before, so that no row mixes two models.

    Raises:
        StageError: says which stage to run again.
    """
    for stage_name, given, expected in (
        ("sweep", entry.record.data_digest, entry.schema.digest),
        ("export", entry.manifest.weights_digest, entry.record.weights_sha256),
        ("evaluate", entry.metrics.evidence[0].bundle if entry.metrics.evidence else "", entry.manifest.digest),
    ):
        if given != expected:
            raise StageError(
                f"{entry.name}: {stage_name} worked from {given[:12] or 'nothing'}, what is there now is "
                f"{expected[:12]}; run `python -m pipelines.{stage_name} {entry.name}`"
            )
