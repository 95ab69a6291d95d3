"""What a study leaves on disk: figures for `dvc metrics`, and a page of the report.

metrics/studies/<kind>-<name>.json    its figures, flat
studies/<kind>-<name>/study.json      the page: its question, what was found, tables
studies/<kind>-<name>/*.png           its pictures
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from components.data.raw import Outline
from components.settings import SettingError, Settings
from items.errors import first_mistake
from pipelines.project import Project, StageError, written_whole
from pipelines.studies.needs import Need

STUDY = "study.json"
EXPERIMENT = "the name of an experiment"

ExperimentName = Annotated[str, EXPERIMENT]


class StudySettings(Settings):
    """Base of a study's settings."""

    kind: str

    def experiments(self) -> dict[str, str]:
        """Return the experiments that the study compares, by the key that names each."""
        fields = type(self).model_fields
        return {key: getattr(self, key) for key, field in fields.items() if EXPERIMENT in field.metadata}

    def needs(self) -> dict[str, list[Need]]:
        """Return what the experiments must be, by the key that names each."""
        fields = type(self).model_fields
        return {key: [n for n in fields[key].metadata if isinstance(n, Need)] for key in self.experiments()}

    def errors(self, data: Outline) -> Iterator[SettingError]:
        """Yield the settings that do not fit the dataset of the study, by the path below these settings."""
        yield from ()


class _Contract(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Table(_Contract):
    """Figures in rows, as text; the first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Picture(_Contract):
    """A PNG beside study.json."""

    file: str
    caption: str


class Study(_Contract):
    """study.json, version 1.

    Attributes:
        kind, name: its place in params.yaml, `studies.<kind>.<name>`.
        dataset: what its experiments were trained on.
        title: what the page is called.
        question: what was asked and how it was measured, a paragraph.
        findings: what came out, a sentence or two each; the first is shown in the report's overview.
        tables: the figures behind them.
        pictures: shown in this order.
        figures: the same numbers by name, for `dvc metrics`.
        made_from: digests of the bundles or weights that were measured, by experiment.
    """

    format: Literal["hourglass/study"] = "hourglass/study"
    version: Literal[1] = 1
    kind: str
    name: str
    dataset: str
    title: str
    question: str
    findings: tuple[str, ...]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]
    figures: dict[str, FiniteFloat]
    made_from: dict[str, str] = {}

    @property
    def place(self) -> str:
        """Its name among all studies' pages."""
        return f"{self.kind}-{self.name}"


def publish(project: Project, study: Study, drawn: Mapping[str, Any]) -> None:
    """Write a study's page, its pictures by file name, and its figures; each whole, or not at all."""
    from pipelines.plots.style import save  # half a second

    with written_whole(project.study(study.kind, study.name)) as made:
        for picture in study.pictures:
            save(drawn[picture.file], made / picture.file)
        (made / STUDY).write_text(study.model_dump_json(indent=1) + "\n")
    path = project.study_metrics(study.kind, study.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(study.figures, indent=1) + "\n")
    partial.replace(path)
    sys.stdout.write("".join(f"{study.place}: {finding}\n" for finding in study.findings))


def read_study(folder: Path) -> Study:
    """Read and check a study's page.

    Raises:
        StageError: it is missing or damaged.
    """
    path = folder / STUDY
    kind, _, name = folder.name.partition("-")
    remedy = f"run `python -m pipelines.studies.{kind} {name}`"
    try:
        return Study.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StageError(f"{path}: {error.strerror}; {remedy}") from error
    except ValidationError as error:
        raise StageError(f"{path}: {first_mistake(error)}; {remedy}") from error


def differences(first: Mapping[str, object], second: Mapping[str, object]) -> str:
    """Return which of their settings differ, by name: `bottleneck, corruption`; `nothing` where none does."""
    keys = first.keys() | second.keys()
    return ", ".join(key for key in sorted(keys) if first.get(key) != second.get(key)) or "nothing"


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return mean and 95 % interval of figures of several seeds, by Student's t; NaN ends for a single one."""
    from scipy import stats

    mean = float(np.mean(values))
    half = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)) if len(values) > 1 else float("nan")
    return mean, mean - half, mean + half
