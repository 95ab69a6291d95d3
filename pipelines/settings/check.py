"""check: params.yaml against its models, its data and its studies; all errors at once, before anything runs.

hourglass check          or          python -m pipelines.settings.check
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from components.data import DataError, DatasetSettings
from components.data.contract import SCHEMA_FILE
from components.data.raw import Outline
from components.data.schema import read_schema
from components.models import Model, ModelSettings
from components.settings import SettingError
from pipelines.project import Project, explained, stage
from pipelines.settings.draft import Draft, Place, refused
from pipelines.settings.experiment import ExperimentSettings
from pipelines.settings.params import Params
from pipelines.settings.spaces import corners
from pipelines.settings.tree import read_tree
from pipelines.studies.needs import described

Corners = list[tuple[ModelSettings, Model]]  # an experiment's model at every corner of its search space


def main() -> None:
    """Check params.yaml.

    Raises:
        StageError: params.yaml has errors; a line for each, with the key's path, the value and what is allowed.
    """
    project = Project.here()
    tree = read_tree(project)
    draft = Draft.of(tree, Params)
    errors = list(draft.errors)
    if isinstance(tree, dict) and "studies" not in tree:
        errors.append("studies: is missing; without studies write `studies: {}`, because dvc.yaml reads it")
    outlines: dict[str, Outline] = {}
    for name, dataset in draft.datasets.items():
        try:
            outlines[name] = outline_of(project, name, dataset)
        except SettingError as error:
            errors.append(str(error.under(f"datasets.{name}")))
        except DataError as error:
            errors.append(str(error).replace(f"dataset {name}: ", f"datasets.{name}.source: ", 1))
    built: dict[Place, Corners] = {}
    for place, experiment in draft.experiments.items():
        if place[0] in outlines:
            built[place] = []
            errors += model_errors(place, experiment, outlines[place[0]], built[place])
    errors += study_errors(draft, outlines, built)
    if errors:
        raise refused(dict.fromkeys(errors))
    counts = {"datasets": len(draft.datasets), "experiments": len(built), "studies": len(draft.studies)}
    sys.stdout.write(f"params.yaml: no errors; {', '.join(f'{key}: {count}' for key, count in counts.items())}\n")


def check() -> None:
    """Check params.yaml against its models and the data; print all errors, a line each."""
    with explained():
        main()


def outline_of(project: Project, name: str, settings: DatasetSettings) -> Outline:
    """Return what is known of a dataset by its source, or where that is not here, as it was prepared.

    Raises:
        DataError: neither is there.
        SettingError: a setting leaves nothing to train on.
    """
    try:
        return settings.outline(name, project.root)
    except DataError:
        path = project.root / "data" / name / SCHEMA_FILE
        if not path.is_file():
            raise
        schema = read_schema(path)
        return Outline(schema.item, len(schema.classes) if schema.classes else None, schema.splits["train"].count)


def model_errors(place: Place, experiment: ExperimentSettings, data: Outline, built: Corners) -> Iterator[str]:
    """Yield why models cannot be built for the items, at every corner of an experiment's search space.

    The models that can be built are added to `built`.
    """
    for parameters in corners(experiment.space):
        try:
            built.append(experiment.build(".".join(place), parameters, data.item))
        except SettingError as error:
            yield str(error)
        except ValidationError:
            return  # the draft holds the error


def study_errors(draft: Draft, outlines: Mapping[str, Outline], built: Mapping[Place, Corners]) -> Iterator[str]:
    """Yield the experiments that a study cannot use, and the settings of a study that its dataset does not allow."""
    for (dataset, name), study in draft.studies.items():
        path, needs = f"studies.{dataset}.{name}", study.needs()
        for key, experiment in study.experiments().items():
            for need in needs[key]:
                wrong = next((one for one in built.get((dataset, experiment), ()) if not need.met(*one)), None)
                if wrong is not None:
                    yield f"{path}.{key}: {experiment}, must have {need.words}; it is {described(*wrong)}"
        if dataset in outlines:
            for error in study.errors(outlines[dataset]):
                yield str(error.under(path))


if __name__ == "__main__":
    stage(main)
