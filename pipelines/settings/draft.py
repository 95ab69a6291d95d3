"""The parts of params.yaml that can be read on their own, and all errors found in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from components.data import DatasetSettings
from components.models import LSASettings, ModelSettings, PCASettings
from components.settings import SettingError
from items.errors import one_line
from pipelines.project import NAME, NAMES, StageError, model_name
from pipelines.settings.errors import readable
from pipelines.settings.experiment import MODEL, ExperimentSettings
from pipelines.settings.old_form import old_form
from pipelines.settings.spaces import corners, fill, find_space
from pipelines.settings.study import with_kinds
from pipelines.settings.tree import mapping_at
from pipelines.studies import kinds
from pipelines.studies.contract import StudySettings

Place = tuple[str, str]  # the dataset and the name of an experiment or a study
T = TypeVar("T")

DATASET: TypeAdapter[DatasetSettings] = TypeAdapter(DatasetSettings)
EXPERIMENT = TypeAdapter(ExperimentSettings)


@dataclass(frozen=True)
class Draft:
    """What of params.yaml can be used.

    Attributes:
        errors: a line each: the key's path, the value and what is allowed.
        datasets: by name.
        experiments, studies: by dataset and name.
    """

    errors: tuple[str, ...]
    datasets: dict[str, DatasetSettings] = field(default_factory=dict)
    experiments: dict[Place, ExperimentSettings] = field(default_factory=dict)
    studies: dict[Place, StudySettings] = field(default_factory=dict)

    @classmethod
    def of(cls, raw: object, whole: type[BaseModel]) -> Draft:
        """Read the tree that params.yaml holds; `whole` is the model of all of it."""
        if not isinstance(raw, dict):
            return cls(("must be a mapping with datasets and experiments",))
        if old := tuple(old_form(raw, kinds())):
            return cls(old)
        errors = list(_errors_of_whole(raw, whole))
        datasets, experiments = mapping_at(raw, "datasets"), _by_place(raw, "experiments")
        errors += _name_errors(raw, experiments)
        sound = _valid(EXPERIMENT, experiments)
        for place, experiment in experiments.items():
            if isinstance(experiment, dict) and (wrong := list(_model_errors(_path("experiments", place), experiment))):
                errors += wrong
                sound.pop(place, None)
        studies: dict[Place, StudySettings] = {}
        for place, settings in _by_place({"studies": with_kinds(raw.get("studies"))}, "studies").items():
            errors += _study_errors(place, settings, mapping_at(raw, "experiments", place[0]), studies)
        found = {str(name): settings for name, settings in _valid(DATASET, datasets).items()}
        return cls(tuple(dict.fromkeys(errors)), found, sound, studies)


def refused(errors: Iterable[str]) -> StageError:
    """Return the error that lists the errors of params.yaml."""
    return StageError("params.yaml:\n  " + "\n  ".join(map(one_line, errors)))


def _path(section: str, place: Place) -> str:
    return f"{section}.{place[0]}.{place[1]}"


def _by_place(raw: object, section: str) -> dict[Place, Any]:
    """Return a section's trees by dataset and name."""
    return {
        (str(dataset), str(name)): tree
        for dataset, named in mapping_at(raw, section).items()
        if isinstance(named, dict)
        for name, tree in named.items()
    }


def _valid(kind: TypeAdapter[T], trees: Mapping[Any, Any]) -> dict[Any, T]:
    found: dict[Any, T] = {}
    for place, tree in trees.items():
        with suppress(ValidationError):
            found[place] = kind.validate_python(tree)
    return found


def _errors_of_whole(raw: dict[Any, Any], whole: type[BaseModel]) -> Iterator[str]:
    """Yield what the model of all refuses, but for what stands inside a study: each study is read by its own model."""
    try:
        whole.model_validate(raw)
    except ValidationError as error:
        found = [one for one in error.errors(include_url=False) if one["loc"][0] != "studies" or len(one["loc"]) < 3]
        yield from readable(found, raw, whole)


def _name_errors(raw: dict[Any, Any], experiments: Iterable[Place]) -> Iterator[str]:
    """Yield names that cannot be folders, names of no dataset, and experiments whose models would be the same."""
    datasets = mapping_at(raw, "datasets")
    known = ", ".join(map(str, datasets)) or "(none)"
    yield from (f"datasets.{name}: {NAMES}" for name in datasets if not NAME.fullmatch(str(name)))
    if "studies" in datasets:
        yield "datasets.studies: must have another name, because metrics/studies holds the metrics of studies"
    for section in ("experiments", "studies"):
        for dataset, named in mapping_at(raw, section).items():
            if dataset not in datasets:
                yield f"{section}.{dataset}: unknown dataset, must be one of {known}"
            elif dataset not in mapping_at(raw, "experiments"):
                yield f"{section}.{dataset}: has no experiments; add one below experiments.{dataset}"
            for name in named if isinstance(named, dict) else ():
                if not NAME.fullmatch(str(name)):
                    yield f"{section}.{dataset}.{name}: {NAMES}"
    models: dict[str, Place] = {}
    for place in experiments:
        if (other := models.setdefault(model_name(*place), place)) != place:
            both = f"{_path('experiments', other)} would both be registered as {model_name(*place)}; rename one"
            yield f"{_path('experiments', place)}: it and {both}"


def _model_errors(path: str, experiment: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with one experiment beyond its outline: its model, its space and its budgets."""
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
            settings = MODEL.validate_python(filled)
        except ValidationError as error:
            yield from readable(error.errors(include_url=False), filled, ModelSettings, f"{path}.model")
            return
    given = [budget for budget in ("quick", "paper") if budget in experiment]
    if isinstance(settings, PCASettings | LSASettings):
        if space or given:
            key = next(iter(space), None) or given[0]
            yield f"{path}.{key}: must be left out, because {settings.kind} is fitted in closed form in one trial"
    elif not space and any(isinstance(b, dict) and b.get("trials", 1) != 1 for b in map(experiment.get, given)):
        yield f"{path}: has more than one trial and searches no value; every trial would be the same"
    elif len(given) < 2:
        missing = {"quick", "paper"} - set(given)
        yield f"{path}: {' and '.join(sorted(missing))} must be given, as {{epochs: 8, trials: 3}}"


def _study_errors(
    place: Place, tree: Any, experiments: Mapping[Any, Any], found: dict[Place, StudySettings]
) -> Iterator[str]:
    """Yield what is wrong with one study, and with the experiments that it names; add it to `found` if it can be read.

    Args:
        place: its dataset and name.
        tree: its settings with their kind.
        experiments: those of the same dataset, by name.
        found: studies that can be read.
    """
    path, known = _path("studies", place), kinds()
    if not isinstance(tree, dict):
        yield f"{path}: {tree}, must be a mapping"
        return
    if (kind := tree.get("kind")) not in list(known):
        yield f"{path}.kind: {kind}, must be one of {', '.join(known)}; it is the study's name if left out"
        return
    model = known[str(kind)]
    try:
        study = found[place] = model.model_validate(tree)
    except ValidationError as error:
        yield from readable(error.errors(include_url=False), tree, model, path)
        return
    for key, name in study.experiments().items():
        if name not in experiments:
            known_names = ", ".join(map(str, experiments)) or "(none)"
            yield f"{path}.{key}: {name}, must be one of the experiments of {place[0]}: {known_names}"
