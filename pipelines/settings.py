"""params.yaml: read, checked whole, and refused with a list of every mistake by the path of its key."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, TypeVar, Union

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from components.data import DatasetSettings
from components.items import ItemSpec
from components.models import ModelSettings, PCASettings
from components.settings import SettingError, Settings
from pipelines.project import Project, StageError
from pipelines.search import Distribution, Parameters, corners, fill, find_space
from pipelines.studies.settings import StudiesSettings, StudySettings

AnyStudy = TypeVar("AnyStudy", bound=StudySettings)

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


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
            try:
                self.model_settings(parameters).build(item)
            except SettingError as error:
                raise error.under(f"experiments.{name}.model") from None


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
    try:
        raw = YAML(typ="safe").load(project.params.read_text())
    except (MarkedYAMLError, OSError) as error:
        raise StageError(f"{project.params}: {' '.join(str(error).split())}") from error
    return parse_params(raw)


def parse_params(raw: object) -> Params:
    """Check the tree that params.yaml holds; see :func:`load_params`."""
    if not isinstance(raw, dict):
        raise StageError("params.yaml: must be a mapping with datasets and experiments")
    mistakes: list[str] = []
    params: Params | None = None
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        mistakes += _readable(error, raw, Params)
    for section in ("datasets", "experiments"):
        for name in raw.get(section) or {} if isinstance(raw.get(section), dict | None) else {}:
            if not NAME.fullmatch(str(name)):
                mistakes.append(
                    f"{section}.{name}: must be lower-case letters, digits, - and _, and start with no sign"
                )
    experiments = raw.get("experiments")
    for name, experiment in experiments.items() if isinstance(experiments, dict) else ():
        if isinstance(experiment, dict):
            mistakes += _model_mistakes(f"experiments.{name}", experiment, raw.get("datasets"))
    if params is not None:
        mistakes += _study_mistakes(params)
    if mistakes or params is None:
        raise StageError("params.yaml:\n  " + "\n  ".join(dict.fromkeys(mistakes)))
    return params


def _model_mistakes(path: str, experiment: dict[str, Any], datasets: object) -> Iterator[str]:
    """Yield what is wrong with one experiment beyond its outline: its model, its space, its dataset's name."""
    known = datasets if isinstance(datasets, dict) else {}
    if "dataset" in experiment and experiment["dataset"] not in known:
        yield f"{path}.dataset: {experiment['dataset']}, must be one of {', '.join(known)}"
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
            yield from _readable(error, filled, _MODEL_TYPE, f"{path}.model")
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


def _study_mistakes(params: Params) -> Iterator[str]:
    """Yield what is wrong with the studies' references: what is not there, or experiments of several datasets."""
    for place, study in params.studies.all().items():
        for key, name in study.datasets().items():
            if name not in params.datasets:
                yield f"studies.{place}.{key}: {name}, must be one of {', '.join(params.datasets)}"
        compared = study.experiments()
        for key, name in compared.items():
            if name not in params.experiments:
                yield f"studies.{place}.{key}: {name}, must be one of {', '.join(params.experiments)}"
        known = {name: params.experiments[name].dataset for name in compared.values() if name in params.experiments}
        if len(set(known.values())) > 1:
            told = ", ".join(f"{name} of {dataset}" for name, dataset in known.items())
            yield f"studies.{place}: {told}, must be experiments on one dataset"


def _readable(error: ValidationError, raw: Any, model: Any, prefix: str = "") -> list[str]:
    """Put pydantic's errors in this project's words."""
    return [_line(one, raw, model, prefix) for one in error.errors(include_url=False)]


def _line(error: ErrorDetails, raw: Any, model: Any, prefix: str) -> str:
    path = _path(error["loc"], raw)
    where = ".".join([*([prefix] if prefix else []), *map(str, path)])
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return f"{where}: is no known key; allowed here: {', '.join(_keys(model, error['loc'][:-1]))}"
        case "missing":
            return f"{where}: is missing"
        case "union_tag_not_found":
            return f"{where}.kind: is missing, must be one of {context['discriminator'] and _tags(model, error['loc'])}"
        case "union_tag_invalid":
            return f"{where}.kind: {context['tag']}, must be one of {context['expected_tags']}"
        case "greater_than_equal":
            allowed = f"must be at least {context['ge']}"
        case "greater_than":
            allowed = f"must be more than {context['gt']}"
        case "less_than_equal":
            allowed = f"must be at most {context['le']}"
        case "less_than":
            allowed = f"must be less than {context['lt']}"
        case "literal_error":
            allowed = f"must be one of {context['expected']}"
        case kind if kind.startswith(("int_", "float_", "bool_", "string_", "dict_", "tuple_", "list_", "model_")):
            allowed = "must be " + error["msg"].removeprefix("Input should be ").removeprefix("a valid ").lower()
            allowed = allowed.replace("tuple", "list")  # as YAML calls it
        case _:
            message = error["msg"].removeprefix("Value error, ")
            allowed = message[0].lower() + message[1:]
    return f"{where}: {error['input']}, {allowed}"


def _path(location: Sequence[int | str], raw: Any) -> Iterator[int | str]:
    """Yield a location's keys as the file has them: without the tags that pydantic puts in for unions."""
    node = raw
    for key in location:
        if isinstance(node, dict) and key not in node and node.get("kind") == key:
            continue
        yield key
        if isinstance(node, dict):
            node = node.get(key)
        elif isinstance(node, list | tuple) and isinstance(key, int) and key < len(node):
            node = node[key]


def _members(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the settings models that an annotation holds: itself, a union's members, a container's values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) is typing.Annotated:
        yield from _members(typing.get_args(annotation)[0])
    elif typing.get_origin(annotation) in (Union, types.UnionType, dict, tuple, list):
        for argument in typing.get_args(annotation):
            yield from _members(argument)


def _models_at(annotation: Any, location: Sequence[int | str]) -> list[type[BaseModel]]:
    models = list(_members(annotation))
    for key in location:
        tagged = [m for m in models if "kind" in m.model_fields and m.model_fields["kind"].default == key]
        fields = [m.model_fields[key] for m in models if isinstance(key, str) and key in m.model_fields]
        if tagged:
            models = tagged
        elif fields:
            models = [m for field in fields for m in _members(field.annotation)]
    return models


def _keys(annotation: Any, location: Sequence[int | str]) -> list[str]:
    return list(dict.fromkeys(key for model in _models_at(annotation, location) for key in model.model_fields))


def _tags(annotation: Any, location: Sequence[int | str]) -> str:
    return ", ".join(repr(m.model_fields["kind"].default) for m in _models_at(annotation, location))
