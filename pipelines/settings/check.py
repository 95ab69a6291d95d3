"""check: params.yaml against its models, its data and its studies; every mistake at once, before anything runs.

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
from pipelines.settings.params import Draft, ExperimentSettings, read_tree, refused
from pipelines.settings.spaces import corners
from pipelines.studies.needs import described

Made = list[tuple[ModelSettings, Model]]  # an experiment's model at every corner of its search space


def main() -> None:
    """Check params.yaml.

    Raises:
        StageError: one line for every mistake: the key's path, the value and what is allowed.
    """
    project = Project.here()
    tree = read_tree(project)
    draft = Draft.of(tree)
    mistakes = [*draft.mistakes, *no_studies(tree)]
    outlines: dict[str, Outline] = {}
    for name, dataset in draft.datasets.items():
        try:
            outlines[name] = outline_of(project, name, dataset)
        except (DataError, SettingError) as error:
            text = str(error.under(f"datasets.{name}")) if isinstance(error, SettingError) else str(error)
            mistakes.append(text.replace(f"dataset {name}: ", f"datasets.{name}.source: ", 1))
    made: dict[str, Made] = {}
    for name, experiment in draft.experiments.items():
        if experiment.dataset in outlines:
            made[name] = []
            mistakes += model_mistakes(name, experiment, outlines[experiment.dataset], made[name])
    mistakes += study_mistakes(draft, outlines, made)
    if mistakes:
        raise refused(dict.fromkeys(mistakes))
    counts = {"datasets": len(draft.datasets), "experiments": len(made), "studies": len(draft.studies)}
    sys.stdout.write(f"params.yaml: no mistakes; {', '.join(f'{what} {count}' for what, count in counts.items())}\n")


def check() -> None:
    """Check params.yaml against its models and the data: every mistake at once, a line each."""
    with explained():
        main()


def no_studies(tree: object) -> Iterator[str]:
    """Yield what DVC asks of params.yaml, and its models do not."""
    if isinstance(tree, dict) and "studies" not in tree:
        yield "studies: is missing, must be there if only as {}"


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


def model_mistakes(name: str, experiment: ExperimentSettings, data: Outline, made: Made) -> Iterator[str]:
    """Yield what the items cannot go through, at every corner of an experiment's search space; note the models."""
    for parameters in corners(experiment.space):
        try:
            made.append(experiment.build(name, parameters, data.item))
        except SettingError as error:
            yield str(error)
        except ValidationError:
            return  # the draft has named it


def study_mistakes(draft: Draft, outlines: Mapping[str, Outline], made: Mapping[str, Made]) -> Iterator[str]:
    """Yield the experiments that are not what a study needs, and a study's settings that its dataset does not allow."""
    for place, study in draft.studies.items():
        needs = study.needs()
        for key, name in study.experiments().items():
            for need in needs[key]:
                wrong = next((one for one in made.get(name, ()) if not need.met(*one)), None)
                if wrong is not None:
                    yield f"studies.{place}.{key}: {name}, must have {need.words}; it is {described(*wrong)}"
        compared = [draft.experiments[name].dataset for name in study.experiments().values() if name in made]
        for dataset in [*study.datasets().values(), *compared][:1]:
            if dataset in outlines:
                for mistake in study.mistakes(outlines[dataset]):
                    yield str(mistake.under(f"studies.{place}"))


if __name__ == "__main__":
    stage(main)
