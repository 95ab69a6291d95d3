"""The settings that params.yaml holds."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, field_validator

from components.data import DatasetSettings
from components.models import Model, ModelSettings
from components.settings import SettingError, Settings
from items.errors import one_line
from items.spec import ItemSpec
from pipelines.project import Project, StageError
from pipelines.settings.spaces import Distribution, Parameters, corners, fill, find_space
from pipelines.studies import kinds
from pipelines.studies.contract import StudySettings
from pipelines.units.storage import SCHEMES, Storage

T = TypeVar("T")

# Any kind of study: the union of what the modules of pipelines.studies define.
AnyStudy: Any = Annotated[functools.reduce(operator.or_, kinds().values()), Field(discriminator="kind")]


class Budget(Settings):
    """The length of an experiment: passes over the training items, and trials of the sweep."""

    epochs: int = Field(default=1, ge=1)
    trials: int = Field(default=1, ge=1)


class SweepSettings(Settings):
    """The comparison of trials, and each one's share of a node.

    Attributes:
        objective: the validation metric to make small; `squared_error` and not the loss, whose terms' weights a sweep
            may change.
        reduction: one trial in this many goes on from each rung of successive halving.
        first_rung: epochs before a trial can be stopped; null takes a third of them.
        cpus: of a trial; fractions are fine.
        gpus: of a trial; null takes one where the cluster has any.
    """

    objective: Literal["squared_error", "loss"] = "squared_error"
    reduction: float = Field(default=3, gt=1)
    first_rung: int | None = Field(default=None, ge=1)
    cpus: float = Field(default=1, gt=0)
    gpus: float | None = Field(default=None, ge=0)


class ExperimentSettings(Settings):
    """A model whose values may be distributions, and a budget for each purpose."""

    model: dict[str, Any]
    sweep: SweepSettings = SweepSettings()
    quick: Budget = Budget()
    paper: Budget = Budget()

    @cached_property
    def space(self) -> dict[str, Distribution]:
        """The searched values by their dotted path, such as `model.training.learning_rate`."""
        return find_space(self.model, "model")

    def model_settings(self, parameters: Parameters) -> ModelSettings:
        """Return the model's settings with the searched values filled in."""
        return MODEL.validate_python(fill(self.model, parameters, "model"))

    def check(self, path: str, item: ItemSpec) -> None:
        """Build the model at every corner of its space, so that what cannot work is known before a sweep starts.

        Raises:
            SettingError: a model cannot take these items; `path` is the experiment's in params.yaml.
        """
        for parameters in corners(self.space):
            self.build(path, parameters, item)

    def build(self, path: str, parameters: Parameters, item: ItemSpec) -> tuple[ModelSettings, Model]:
        """Return the model's settings at a point of the space, and the model.

        Raises:
            SettingError: the model cannot take these items, or is larger than can be built.
        """
        settings, path = self.model_settings(parameters), f"{path}.model"
        try:
            return settings, settings.build(item)
        except SettingError as error:
            raise error.under(path) from None
        except (RuntimeError, TypeError, OverflowError, MemoryError) as error:  # torch, asked for too large a tensor
            raise SettingError(path, one_line(error, 200), "must be a model that can be built") from error


class Params(Settings):
    """All of params.yaml.

    Attributes:
        seed: of all that is drawn.
        budget: which of an experiment's budgets counts.
        storage: the folder, or URL of one, of the journals of sweeps and the finished parts of studies, which every
            node of a cluster must see; null keeps them in the project.
        datasets: by name.
        experiments, studies: by dataset and name.
    """

    seed: int = Field(default=0, ge=0)
    budget: Literal["quick", "paper"] = "quick"
    storage: str | None = None
    datasets: dict[str, DatasetSettings] = Field(min_length=1)
    experiments: dict[str, dict[str, ExperimentSettings]] = Field(min_length=1)
    studies: dict[str, dict[str, AnyStudy]] = Field(default_factory=dict)

    @field_validator("storage")
    @classmethod
    def _is_known(cls, value: str | None) -> str | None:
        scheme, found, _ = (value or "").partition("://")
        if value == "" or (found and scheme not in SCHEMES):
            raise ValueError(f"must be a folder, or a URL that begins with {', '.join(f'{s}://' for s in SCHEMES)}")
        return value

    def storage_of(self, project: Project) -> Storage:
        """Return the folder of journals and of parts of studies."""
        if self.storage is None:
            return Storage(project.cache / "work")
        return Storage(self.storage if "://" in self.storage else project.home / self.storage)

    def experiments_of(self, dataset: str, only: Iterable[str] = ()) -> dict[str, ExperimentSettings]:
        """Return a dataset's experiments by name, or those that `only` names.

        Raises:
            StageError: there is no such dataset or experiment.
        """
        return _chosen(self.experiments, "experiments", dataset, only)

    def studies_of(self, dataset: str, only: Iterable[str] = ()) -> dict[str, StudySettings]:
        """Return a dataset's studies by name, or those that `only` names; see :meth:`experiments_of`."""
        return _chosen(self.studies, "studies", dataset, only)

    def experiment(self, dataset: str, name: str) -> ExperimentSettings:
        """Return an experiment's settings; see :meth:`experiments_of`."""
        return self.experiments_of(dataset, [name])[name]

    def budget_of(self, experiment: ExperimentSettings) -> Budget:
        """Return the epochs and trials that the chosen budget gives an experiment."""
        return experiment.quick if self.budget == "quick" else experiment.paper


MODEL: TypeAdapter[ModelSettings] = TypeAdapter(ModelSettings)


def _chosen(by_dataset: Mapping[str, Mapping[str, T]], section: str, dataset: str, only: Iterable[str]) -> dict[str, T]:
    if dataset not in by_dataset:
        raise StageError(f"{section}.{dataset}: not in params.yaml; it has {', '.join(by_dataset) or 'none'}")
    named = by_dataset[dataset]
    for name in only:
        if name not in named:
            raise StageError(f"{section}.{dataset}.{name}: not in params.yaml; it has {', '.join(named)}")
    return {name: settings for name, settings in named.items() if not only or name in only}
