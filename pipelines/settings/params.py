"""params.yaml: read, checked whole, and refused with a list of every mistake by the path of its key."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from ruamel.yaml import YAML

from components.data import DatasetSettings
from components.models import Model, ModelSettings, PCASettings
from components.settings import SettingError, Settings
from items.errors import one_line
from items.spec import ItemSpec
from pipelines.project import NAME, NAMES, Project, StageError
from pipelines.settings.errors import readable
from pipelines.settings.spaces import Distribution, Parameters, corners, fill, find_space
from pipelines.studies.settings import StudiesSettings, StudySettings

MOST_VALUES = 100_000

AnyStudy = TypeVar("AnyStudy", bound=StudySettings)
T = TypeVar("T")

STUDIES = {kind: typing.get_args(field.annotation)[1] for kind, field in StudiesSettings.model_fields.items()}


class Budget(Settings):
    """How long an experiment may take: passes over the training items, and trials of the sweep."""

    epochs: int = Field(default=1, ge=1)
    trials: int = Field(default=1, ge=1)


class SweepSettings(Settings):
    """How trials are compared and what each gets.

    Attributes:
        objective: the validation figure to make small; `squared_error` and not the loss, whose terms' weights a sweep
            may change.
        reduction: ASHA (arXiv 1810.05934) keeps one trial in this many at each rung.
        first_rung: epochs before a trial can be stopped; null takes a third of them.
        cpus, gpus: each trial's share; fractions are fine.
    """

    objective: Literal["squared_error", "loss"] = "squared_error"
    reduction: float = Field(default=3, gt=1)
    first_rung: int | None = Field(default=None, ge=1)
    cpus: float = Field(default=1, gt=0)
    gpus: float = Field(default=0, ge=0)


class ExperimentSettings(Settings):
    """A dataset, a model whose values may be distributions, and a budget for each purpose."""

    dataset: str
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
        return _MODEL.validate_python(fill(self.model, parameters, "model"))

    def check(self, name: str, item: ItemSpec) -> None:
        """Build the model at every corner of its space, so that what cannot work is known before a sweep starts.

        Raises:
            SettingError: a model cannot take these items.
        """
        for parameters in corners(self.space):
            self.build(name, parameters, item)

    def build(self, name: str, parameters: Parameters, item: ItemSpec) -> tuple[ModelSettings, Model]:
        """Return the model's settings at a point of the space, and the model.

        Raises:
            SettingError: the model cannot take these items, or is larger than can be built.
        """
        settings, path = self.model_settings(parameters), f"experiments.{name}.model"
        try:
            return settings, settings.build(item)
        except SettingError as error:
            raise error.under(path) from None
        except (RuntimeError, TypeError, OverflowError, MemoryError) as error:  # torch, asked for too large a tensor
            raise SettingError(path, one_line(error, 200), "must be a model that can be built") from error


class Params(Settings):
    """All of params.yaml."""

    seed: int = Field(default=0, ge=0)
    budget: Literal["quick", "paper"] = "quick"
    datasets: dict[str, DatasetSettings] = Field(min_length=1)
    experiments: dict[str, ExperimentSettings] = Field(min_length=1)
    studies: StudiesSettings = StudiesSettings()

    def experiment(self, name: str) -> ExperimentSettings:
        """Return an experiment's settings.

        Raises:
            StageError: there is none of this name.
        """
        if name not in self.experiments:
            raise StageError(f"experiments.{name}: not in params.yaml; it has {', '.join(self.experiments)}")
        return self.experiments[name]

    def study(self, kind: type[AnyStudy], place: str) -> AnyStudy:
        """Return a study's settings by its place below `studies`, such as `subspaces.mnist`.

        Raises:
            StageError: there is none.
        """
        studies = self.studies.all()
        if not isinstance(study := studies.get(place), kind):
            raise StageError(f"studies.{place}: not in params.yaml; it has {', '.join(studies) or 'no studies'}")
        return study

    def budget_of(self, experiment: ExperimentSettings) -> Budget:
        """Return the epochs and trials that the chosen budget gives an experiment."""
        return experiment.quick if self.budget == "quick" else experiment.paper


_MODEL: TypeAdapter[ModelSettings] = TypeAdapter(ModelSettings)


def load_params(project: Project) -> Params:
    """Read and check params.yaml.

    Raises:
        StageError: one line for every mistake: the key's path, the value and what is allowed.
    """
    return parse_params(read_tree(project))


def read_tree(project: Project) -> Any:
    """Read what params.yaml holds, not yet checked.

    Raises:
        StageError: it is no UTF-8, or no YAML that says one thing.
    """
    path = project.params
    try:
        content = path.read_bytes()
        tree = YAML(typ="safe").load(content.decode("utf-8-sig"))
        _check_size(tree)
        json.dumps(tree, default=str)  # refuses keys that are lists, and what is nested too deep
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte {error.start} is 0x{content[error.start]:02x}"
        raise StageError(f"{path}: line {line}, {found}: is not UTF-8; save the file as UTF-8") from error
    except Exception as error:  # a parser, given anything at all, raises anything at all
        raise StageError(f"{path}: {one_line(error)}") from error
    return tree


def _check_size(tree: Any) -> None:
    """Raise ValueError where a tree holds itself, or by aliases of aliases more values than there is memory for."""
    waiting, count = [tree], 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            raise ValueError(f"holds more than {MOST_VALUES} values, or itself, by its aliases")
        waiting += node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple | set) else ()


def parse_params(raw: object) -> Params:
    """Check the tree that params.yaml holds; see :func:`load_params`."""
    draft = Draft.of(raw)
    if draft.mistakes or draft.params is None:
        raise refused(draft.mistakes)
    return draft.params


def refused(mistakes: Iterable[str]) -> StageError:
    """Return the error that lists mistakes of params.yaml."""
    return StageError("params.yaml:\n  " + "\n  ".join(map(one_line, mistakes)))


@dataclass(frozen=True)
class Draft:
    """What of params.yaml can be read on its own, and every mistake found so far, a line each.

    Attributes:
        params: all of it; None where it cannot be read whole.
        datasets, experiments, studies: those that can be read, by name, or by place below `studies`.
        mistakes: the key's path, the value and what is allowed.
    """

    params: Params | None
    datasets: dict[str, DatasetSettings]
    experiments: dict[str, ExperimentSettings]
    studies: dict[str, StudySettings]
    mistakes: tuple[str, ...]

    @classmethod
    def of(cls, raw: object) -> Draft:
        """Read the tree that params.yaml holds."""
        if not isinstance(raw, dict):
            return cls(None, {}, {}, {}, ("must be a mapping with datasets and experiments",))
        params, mistakes = None, []
        try:
            params = Params.model_validate(raw)
        except ValidationError as error:
            mistakes += readable(error, raw, Params)
        datasets, experiments, studies = (_mapping(raw, key) for key in ("datasets", "experiments", "studies"))
        sections = {"datasets": datasets, "experiments": experiments}
        sections |= {f"studies.{kind}": _mapping(studies, kind) for kind in studies}
        mistakes += [f"{section}.{name}: {NAMES}" for section, named in sections.items() for name in _misnamed(named)]
        sound = _valid(TypeAdapter(ExperimentSettings), experiments)
        for name, experiment in experiments.items():
            if isinstance(experiment, dict) and (wrong := list(_model_mistakes(name, experiment, datasets))):
                mistakes += wrong
                sound.pop(name, None)
        asked = {
            f"{kind}.{name}": study
            for kind, model in STUDIES.items()
            for name, study in _valid(TypeAdapter(model), _mapping(studies, kind)).items()
        }
        mistakes += _study_mistakes(asked, datasets, experiments)
        known: TypeAdapter[DatasetSettings] = TypeAdapter(DatasetSettings)
        return cls(params, _valid(known, datasets), sound, asked, tuple(dict.fromkeys(mistakes)))


def _mapping(tree: Mapping[Any, Any], key: object) -> dict[Any, Any]:
    found = tree.get(key)
    return found if isinstance(found, dict) else {}


def _misnamed(named: Mapping[Any, Any]) -> list[str]:
    return [str(name) for name in named if not NAME.fullmatch(str(name))]


def _valid(kind: TypeAdapter[T], named: Mapping[Any, Any]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, tree in named.items():
        with suppress(ValidationError):
            found[str(name)] = kind.validate_python(tree)
    return found


def _model_mistakes(name: str, experiment: dict[str, Any], datasets: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with one experiment beyond its outline: its model, its space, its dataset's name."""
    path = f"experiments.{name}"
    if (dataset := experiment.get("dataset")) is not None and dataset not in list(datasets):
        yield f"{path}.dataset: {dataset}, must be one of {', '.join(map(str, datasets))}"
    model = experiment.get("model")
    if not isinstance(model, dict):
        return
    try:
        space = find_space(model, "model")
    except SettingError as error:
        yield str(error.under(path))
        return
    settings: ModelSettings | None = None
    for parameters in corners(space):
        filled = fill(model, parameters, "model")
        try:
            settings = _MODEL.validate_python(filled)
        except ValidationError as error:
            yield from readable(error, filled, _MODEL_TYPE, f"{path}.model")
            return
    given = [budget for budget in ("quick", "paper") if budget in experiment]
    if isinstance(settings, PCASettings):
        if space or given:
            key = next(iter(space), None) or given[0]
            yield f"{path}.{key}: has no use here, pca is fitted in closed form in one trial"
    elif not space and any(isinstance(b, dict) and b.get("trials", 1) != 1 for b in map(experiment.get, given)):
        yield f"{path}: more than one trial, and nothing to search: every trial would be the same"
    elif len(given) < 2:
        missing = {"quick", "paper"} - set(given)
        yield f"{path}: {' and '.join(sorted(missing))} must be given, as {{epochs: 8, trials: 3}}"


_MODEL_TYPE = ModelSettings


def _study_mistakes(
    studies: Mapping[str, StudySettings], datasets: Mapping[str, Any], experiments: Mapping[str, Any]
) -> Iterator[str]:
    """Yield what is wrong with the studies' references: what is not there, or experiments of several datasets."""
    for place, study in studies.items():
        for named, known in ((study.datasets(), datasets), (study.experiments(), experiments)):
            for key, name in named.items():
                if name not in known:
                    yield f"studies.{place}.{key}: {name}, must be one of {', '.join(map(str, known))}"
        compared = {name: _mapping(experiments, name).get("dataset") for name in study.experiments().values()}
        if len({str(dataset) for dataset in compared.values() if dataset is not None}) > 1:
            told = ", ".join(f"{name} of {dataset}" for name, dataset in compared.items() if dataset is not None)
            yield f"studies.{place}: {told}, must be experiments on one dataset"
