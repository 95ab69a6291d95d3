"""The two contracts of a study: its settings in params.yaml, and its page on disk.

studies/<dataset>/<study>/study.json             its question, a summary, tables
studies/<dataset>/<study>/*.png                  its pictures
metrics/studies/<dataset>/<study>.json           its metrics, flat, for `dvc metrics`
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from components.data.raw import Outline
from components.settings import SettingError, Settings
from items.errors import first_error
from pipelines.project import StageError
from pipelines.studies.needs import Need
from pipelines.studies.plan import StudyPlan
from pipelines.units.unit import Unit

if TYPE_CHECKING:  # half a second, and reading params.yaml imports this module
    from matplotlib.figure import Figure

STUDY = "study.json"
EXPERIMENT = "the name of an experiment"

ExperimentName = Annotated[str, EXPERIMENT]


class StudySettings(Settings, ABC):
    """Base of a study's settings: `studies.<dataset>.<name>` in params.yaml.

    Attributes:
        kind: the kind of study, by default its name; its module is called the same.
    """

    kind: str

    def experiments(self) -> dict[str, str]:
        """Return the experiments of the dataset that the study compares, by the key that names each."""
        fields = type(self).model_fields
        return {key: getattr(self, key) for key, field in fields.items() if EXPERIMENT in field.metadata}

    def needs(self) -> dict[str, list[Need]]:
        """Return the needs that the experiments must meet, by the key that names each."""
        fields = type(self).model_fields
        return {key: [n for n in fields[key].metadata if isinstance(n, Need)] for key in self.experiments()}

    def errors(self, data: Outline) -> Iterator[SettingError]:
        """Yield the settings that do not fit the dataset of the study, by the path below these settings."""
        yield from ()

    @abstractmethod
    def units(self, plan: StudyPlan) -> Unit:
        """Return the unit that writes the study's page; parts of the work may be other units, which it needs.

        Raises:
            StageError, BundleError, DataError: what earlier stages left is missing or damaged.
        """


class _Contract(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Table(_Contract):
    """Values in rows, as text; the first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Picture(_Contract):
    """A PNG beside study.json."""

    file: str
    caption: str


class Study(_Contract):
    """study.json, version 2.

    Attributes:
        kind: the kind of study.
        name, dataset: its place in params.yaml, `studies.<dataset>.<name>`.
        title: the title of the page.
        question: the question, and how it was put to the experiments; a paragraph.
        summary: the main result in at most two short sentences, for the report's overview.
        tables: the results with their intervals.
        pictures: shown in this order.
        metrics: the results by name, for `dvc metrics` and MLflow.
        made_from: digests of the bundles or weights that were compared, by experiment.
    """

    format: Literal["hourglass/study"] = "hourglass/study"
    version: Literal[2] = 2
    kind: str
    name: str
    dataset: str
    title: str
    question: str
    summary: str
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]
    metrics: dict[str, FiniteFloat]
    made_from: dict[str, str] = {}


def write_page(out: Path, study: Study, drawn: Mapping[str, Figure]) -> None:
    """Write a study's page and its pictures, by file name, into a folder."""
    from pipelines.plots.style import save  # half a second, and reading params.yaml imports this module

    for picture in study.pictures:
        save(drawn[picture.file], out / picture.file)
    (out / STUDY).write_text(study.model_dump_json(indent=1) + "\n")


def read_study(folder: Path) -> Study:
    """Read and check the page in `studies/<dataset>/<study>/`.

    Raises:
        StageError: it is missing or damaged.
    """
    path = folder / STUDY
    try:
        return Study.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StageError(f"{path}: {error.strerror}; {remedy(folder)}") from error
    except ValidationError as error:
        raise StageError(f"{path}: {first_error(error)}; {remedy(folder)}") from error


def remedy(folder: Path) -> str:
    """Return the command that writes a study's page anew."""
    return f"run `python -m pipelines.studies {folder.parent.name} --only {folder.name}`"
