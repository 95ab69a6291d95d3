"""Stage `prepare`: raw data from its source to `data/<dataset>/`, a prepared dataset.

python -m pipelines.prepare DATASET
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
    TextSettings,
    load,
    write_dataset,
)
from components.settings import SettingError
from pipelines.project import Project, StageError
from pipelines.settings.params import Params, load_params


def main(dataset: str) -> None:
    """Prepare a dataset of params.yaml.

    Raises:
        DataError: the data is not available, or is not what its source should hold.
        SettingError: a setting of the dataset is wrong; the key is its path from the root of params.yaml.
        StageError: params.yaml has errors, or no such dataset.
    """
    project = Project.here()
    params = load_params(project)
    settings = find_settings(params, dataset)
    for path in untracked(settings, project):
        remedy = f"after a change run `dvc repro -f prepare@{dataset}`"
        sys.stdout.write(f"note: {path} is not below inputs/, where DVC would see its changes; {remedy}\n")
    raw = load_raw(settings, dataset, params.seed, project)
    schema = write_dataset(
        project.data(dataset), dataset, raw.item, raw.splits, raw.classes, raw.source, raw.licence, raw.remarks
    )
    sys.stdout.write(summary(schema) + "\n")


def find_settings(params: Params, dataset: str) -> DatasetSettings:
    """Return the settings of a dataset.

    Raises:
        StageError: there is no such dataset.
    """
    if dataset not in params.datasets:
        raise StageError(f"datasets.{dataset}: not in params.yaml; it has {', '.join(params.datasets)}")
    return params.datasets[dataset]


def untracked(settings: DatasetSettings, project: Project) -> list[Path]:
    """Return the user's own files that are not below `inputs/`, so that DVC does not see their changes."""
    if not isinstance(settings, ArraySettings | ImagesSettings | TextSettings):
        return []  # the others are pinned by digests
    labels = settings.labels if isinstance(settings, ArraySettings) else None
    given = [path for path in (settings.source, labels) if path is not None]
    return [path for path in given if not (project.root / path).is_relative_to(project.root / "inputs")]


def load_raw(settings: DatasetSettings, dataset: str, seed: int, project: Project) -> RawDataset:
    """Return the raw dataset; downloads are kept in the project's cache."""
    try:
        return load(settings, dataset, seed=seed, downloads=project.cache / "downloads", root=project.root)
    except SettingError as error:
        raise error.under(f"datasets.{dataset}") from None


def summary(schema: DatasetSchema) -> str:
    """Return a prepared dataset in lines: its counts, what was noticed, and its digest."""
    counts = ", ".join(f"{schema.splits[split].count} {split}" for split in SPLITS)
    shape = "×".join(map(str, schema.item.shape))
    remarks = "".join(f"{schema.name}: {count} {what}\n" for what, count in schema.remarks.items())
    return (
        f"{schema.name}: {counts} items ({schema.item.kind} {shape} {schema.item.dtype}), from {schema.source}\n"
        f"{remarks}{schema.name}: digest {schema.digest}"
    )
