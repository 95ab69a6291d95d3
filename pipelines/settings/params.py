"""params.yaml: read, and checked whole before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, field_validator

from components.data import DatasetSettings
from components.settings import Settings
from pipelines.project import Project, StageError
from pipelines.settings.draft import Draft, refused
from pipelines.settings.experiment import Budget, ExperimentSettings
from pipelines.settings.study import AnyStudy, with_kinds
from pipelines.settings.tree import read_tree
from pipelines.studies.contract import StudySettings
from pipelines.units.storage import SCHEMES, Storage

T = TypeVar("T")


class Params(Settings):
    """All of params.yaml.

    Attributes:
        seed: of all that is drawn.
        budget: `quick` or `paper`, the budget of each experiment and study that is used.
        storage: the folder of journals and parts of studies, which all nodes of a cluster must see: a path, from the
            project's folder on, or a URL such as s3://bucket/folder. Null takes the project's cache.
        datasets: by name.
        experiments, studies: by dataset and name.
    """

    seed: int = Field(default=0, ge=0)
    budget: Literal["quick", "paper"] = "quick"
    storage: str | None = None
    datasets: dict[str, DatasetSettings] = Field(min_length=1)
    experiments: dict[str, Annotated[dict[str, ExperimentSettings], Field(min_length=1)]] = Field(min_length=1)
    studies: dict[str, Annotated[dict[str, AnyStudy], Field(min_length=1)]] = Field(default_factory=dict)

    @field_validator("storage")
    @classmethod
    def _is_a_folder(cls, value: str | None) -> str | None:
        scheme, is_url, rest = (value or "folder").partition("://")
        if value == "" or (is_url and not (scheme in SCHEMES and rest.strip("/"))):
            urls = ", ".join(f"{scheme}://…" for scheme in SCHEMES)
            raise ValueError(f"must be a folder, or the URL of one: {urls}")
        return value

    @field_validator("studies", mode="before")
    @classmethod
    def _kinds_by_name(cls, studies: Any) -> Any:
        return with_kinds(studies)

    def storage_of(self, project: Project) -> Storage:
        """Return the folder of journals and parts of studies."""
        if self.storage is None:
            return Storage(project.cache / "work")
        return Storage(self.storage if "://" in self.storage else project.home / self.storage)

    def experiments_of(self, dataset: str, only: Sequence[str] = ()) -> dict[str, ExperimentSettings]:
        """Return a dataset's experiments by name, all or those named.

        Raises:
            StageError: there is no such dataset or experiment.
        """
        return self._of(self.experiments, "experiments", dataset, only)

    def studies_of(self, dataset: str, only: Sequence[str] = ()) -> dict[str, StudySettings]:
        """Return a dataset's studies by name, all or those named.

        Raises:
            StageError: there is no such dataset or study.
        """
        return self._of(self.studies, "studies", dataset, only)

    def experiment(self, dataset: str, name: str) -> ExperimentSettings:
        """Return an experiment's settings.

        Raises:
            StageError: there is no such dataset or experiment.
        """
        return self.experiments_of(dataset, [name])[name]

    def budget_of(self, experiment: ExperimentSettings) -> Budget:
        """Return the epochs and trials that the chosen budget gives an experiment."""
        return experiment.quick if self.budget == "quick" else experiment.paper

    def _of(self, section: Mapping[str, dict[str, T]], key: str, dataset: str, only: Sequence[str]) -> dict[str, T]:
        if dataset not in self.datasets:
            raise StageError(f"datasets.{dataset}: not in params.yaml; it has {', '.join(self.datasets)}")
        found = section.get(dataset, {})
        for name in only:
            if name not in found:
                raise StageError(f"{key}.{dataset}.{name}: not in params.yaml; it has {', '.join(found) or 'none'}")
        return {name: settings for name, settings in found.items() if not only or name in only}


def load_params(project: Project) -> Params:
    """Read and check params.yaml.

    Raises:
        StageError: params.yaml has errors; a line for each, with the key's path, the value and what is allowed.
    """
    return parse_params(read_tree(project))


def parse_params(raw: object) -> Params:
    """Check the tree that params.yaml holds; see :func:`load_params`."""
    errors = Draft.of(raw, Params).errors
    if errors:
        raise refused(errors)
    return Params.model_validate(raw)
