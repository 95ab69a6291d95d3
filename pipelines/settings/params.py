"""params.yaml: read, checked whole, and refused with a list of all errors by the path of their keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML

from components.data import DatasetSettings
from components.models import ModelSettings, PCASettings
from components.settings import SettingError
from items.errors import one_line
from pipelines.project import NAME, NAMES, Project, StageError, model_name
from pipelines.settings.errors import readable
from pipelines.settings.schema import MODEL, AnyStudy, Budget, ExperimentSettings, Params, SweepSettings
from pipelines.settings.spaces import corners, fill, find_space
from pipelines.studies import kinds
from pipelines.studies.contract import StudySettings

__all__ = ["Budget", "Draft", "ExperimentSettings", "Params", "SweepSettings", "load_params", "read_tree", "refused"]

MOST_VALUES = 100_000
RESERVED = ("studies",)  # folders below metrics/ that are no dataset's

T = TypeVar("T")
Place = tuple[str, str]  # dataset and name


@dataclass(frozen=True)
class Draft:
    """What of params.yaml can be read on its own, and every error found so far, a line each.

    Attributes:
        params: all of it; None where it cannot be read whole.
        datasets: those that can be read, by name.
        experiments, studies: those that can be read, by dataset and name.
        errors: the key's path, the value and what is allowed.
    """

    params: Params | None
    datasets: dict[str, DatasetSettings]
    experiments: dict[Place, ExperimentSettings]
    studies: dict[Place, StudySettings]
    errors: tuple[str, ...]

    @classmethod
    def of(cls, raw: object) -> Draft:
        """Read the tree that params.yaml holds."""
        if not isinstance(raw, dict):
            return cls(None, {}, {}, {}, ("must be a mapping with datasets and experiments",))
        if old := list(_old_form(raw)):
            return cls(None, {}, {}, {}, tuple(old))
        raw = _with_kinds(raw)
        params, errors = None, []
        try:
            params = Params.model_validate(raw)
        except ValidationError as error:
            errors += readable(error, raw, Params)
        datasets, experiments, studies = _mapping(raw, "datasets"), _nested(raw, "experiments"), _nested(raw, "studies")
        errors += _names(raw)
        sound = _valid(TypeAdapter(ExperimentSettings), experiments)
        for place, experiment in experiments.items():
            if isinstance(experiment, dict) and (wrong := list(_model_errors(place, experiment))):
                errors += wrong
                sound.pop(place, None)
        asked: dict[Place, StudySettings] = _valid(TypeAdapter(AnyStudy), studies)
        errors += _study_errors(asked, experiments)
        known: TypeAdapter[DatasetSettings] = TypeAdapter(DatasetSettings)
        return cls(params, _valid(known, datasets), sound, asked, tuple(dict.fromkeys(errors)))


def load_params(project: Project) -> Params:
    """Read and check params.yaml.

    Raises:
        StageError: one line for every error: the key's path, the value and what is allowed.
    """
    draft = Draft.of(read_tree(project))
    if draft.errors or draft.params is None:
        raise refused(draft.errors)
    return draft.params


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


def refused(errors: Iterable[str]) -> StageError:
    """Return the error that lists errors of params.yaml."""
    return StageError("params.yaml:\n  " + "\n  ".join(map(one_line, errors)))


def _check_size(tree: Any) -> None:
    """Raise ValueError where a tree holds itself, or by aliases of aliases more values than there is memory for."""
    waiting, count = [tree], 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            raise ValueError(f"holds more than {MOST_VALUES} values, or itself, by its aliases")
        waiting += node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple | set) else ()


def _old_form(raw: Mapping[Any, Any]) -> Iterator[str]:
    """Yield the experiments and studies that are not nested below their dataset, with the new form."""
    for name, tree in _mapping(raw, "experiments").items():
        if isinstance(tree, dict) and "model" in tree:
            dataset = tree.get("dataset", "DATASET")
            short = str(name).removeprefix(f"{dataset}-")
            yield f"experiments.{name}: must be nested below its dataset: experiments: {{{dataset}: {{{short}: {{…}}}}}}"
    datasets = _mapping(raw, "datasets")
    for kind, named in _mapping(raw, "studies").items():
        if kind in kinds() and kind not in datasets and isinstance(named, dict):
            for name in named or ("DATASET",):
                yield f"studies.{kind}.{name}: must be nested below its dataset: studies: {{{name}: {{{kind}: {{…}}}}}}"


def _with_kinds(raw: dict[Any, Any]) -> dict[Any, Any]:
    """Return the tree with the kind of each study, which is its name where it gives none."""
    studies = raw.get("studies")
    if not isinstance(studies, dict):
        return raw
    named = {
        dataset: {name: {"kind": name} | study if isinstance(study, dict) else study for name, study in below.items()}
        if isinstance(below, dict)
        else below
        for dataset, below in studies.items()
    }
    return {**raw, "studies": named}


def _mapping(tree: Mapping[Any, Any], key: object) -> dict[Any, Any]:
    found = tree.get(key)
    return found if isinstance(found, dict) else {}


def _nested(raw: Mapping[Any, Any], section: str) -> dict[Place, Any]:
    """Return what stands below each dataset of a section."""
    datasets = _mapping(raw, section)
    return {(str(d), str(name)): tree for d in datasets for name, tree in _mapping(datasets, d).items()}


def _valid(kind: TypeAdapter[Any], named: Mapping[Any, Any]) -> dict[Any, Any]:
    found = {}
    for name, tree in named.items():
        with suppress(ValidationError):
            found[name] = kind.validate_python(tree)
    return found


def _names(raw: Mapping[Any, Any]) -> Iterator[str]:
    """Yield the names that cannot be used, and datasets that are not there."""
    datasets = _mapping(raw, "datasets")
    for name in datasets:
        if not NAME.fullmatch(str(name)):
            yield f"datasets.{name}: {NAMES}"
        elif name in RESERVED:
            yield f"datasets.{name}: is the name of a folder of the project, must be another"
    for section in ("experiments", "studies"):
        for dataset in _mapping(raw, section):
            if dataset not in datasets:
                yield f"{section}.{dataset}: must be one of the datasets: {', '.join(map(str, datasets))}"
        for dataset, name in _nested(raw, section):
            if not NAME.fullmatch(name):
                yield f"{section}.{dataset}.{name}: {NAMES}"
    taken: dict[str, Place] = {}
    for place in _nested(raw, "experiments"):
        other = taken.setdefault(model_name(*place), place)
        if other != place:
            yield (
                f"experiments.{'.'.join(place)}: its model would be called {model_name(*place)}, "
                f"as that of experiments.{'.'.join(other)}; must be another name"
            )


def _model_errors(place: Place, experiment: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with one experiment beyond its outline: its model and its space."""
    path = f"experiments.{'.'.join(place)}"
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
            yield from readable(error, filled, ModelSettings, f"{path}.model")
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


def _study_errors(studies: Mapping[Place, StudySettings], experiments: Mapping[Place, Any]) -> Iterator[str]:
    """Yield the experiments that studies name and that are not there."""
    for (dataset, name), study in studies.items():
        there = [experiment for of, experiment in experiments if of == dataset]
        for key, experiment in study.experiments().items():
            if experiment not in there:
                allowed = f"must be one of the experiments of {dataset}: {', '.join(there)}"
                yield f"studies.{dataset}.{name}.{key}: {experiment}, {allowed}"
