"""Stage `prepare`: raw data from its source to `data/<name>/`, a prepared dataset.

python -m pipelines.prepare NAME
"""

from __future__ import annotations

import sys
from pathlib import Path

from components.data import (
    SPLITS,
    ArraySettings,
    DatasetSchema,
    DatasetSettings,
    ImagesSettings,
    RawDataset,
    load,
    write_dataset,
)
from components.settings import SettingError
from pipelines.project import Project, StageError
from pipelines.settings.params import Params, load_params


def main(name: str) -> None:
    """Prepare the dataset that params.yaml calls `name`.

    Raises:
        DataError: the data cannot be had or used.
        SettingError: a setting of the dataset is wrong; the key is its way from the root of params.yaml.
        StageError: params.yaml is wrong, or has no such dataset.
    """
    project = Project.here()
    params = load_params(project)
    settings = find_settings(params, name)
    for path in untracked(settings, project):
        sys.stdout.write(f"note: {path} is not below inputs/: after changing it, run `dvc repro -f prepare@{name}`\n")
    raw = load_raw(settings, name, params.seed, project)
    schema = write_dataset(
        project.data(name), name, raw.item, raw.splits, raw.classes, source=raw.source, licence=raw.licence
    )
    sys.stdout.write(summary(schema) + "\n")


def find_settings(params: Params, name: str) -> DatasetSettings:
    """Return the settings of the dataset `name`, or raise StageError with the names that there are."""
    if name not in params.datasets:
        raise StageError(f"datasets.{name}: not in params.yaml; it has {', '.join(params.datasets)}")
    return params.datasets[name]


def untracked(settings: DatasetSettings, project: Project) -> list[Path]:
    """Return the user's own files whose changes DVC will not see, because they are not below `inputs/`."""
    if not isinstance(settings, ArraySettings | ImagesSettings):
        return []  # the others check what they get against a pinned digest
    labels = settings.labels if isinstance(settings, ArraySettings) else None
    given = [path for path in (settings.source, labels) if path is not None]
    return [path for path in given if not (project.root / path).is_relative_to(project.root / "inputs")]


def load_raw(settings: DatasetSettings, name: str, seed: int, project: Project) -> RawDataset:
    """Return the raw dataset; what was downloaded stays in the project's cache for the next time."""
    try:
        return load(settings, name, seed=seed, downloads=project.cache / "downloads", root=project.root)
    except SettingError as error:
        raise error.under(f"datasets.{name}") from None


def summary(schema: DatasetSchema) -> str:
    """Return what was prepared, in two lines."""
    counts = ", ".join(f"{schema.splits[split].count} {split}" for split in SPLITS)
    shape = "×".join(map(str, schema.item.shape))
    return (
        f"{schema.name}: {counts} items ({schema.item.kind} {shape} {schema.item.dtype}), from {schema.source}\n"
        f"{schema.name}: digest {schema.digest}"
    )
