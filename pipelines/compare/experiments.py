"""An experiment as its stages left it on disk, read and checked whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.data.contract import SCHEMA_FILE
from components.data.schema import DatasetSchema, read_schema
from items.errors import one_line
from pipelines.evaluate.results import Metrics, read_metrics, read_values
from pipelines.project import Project, StageError, model_name
from pipelines.sweep.record import RunRecord, read_record
from serving.manifest import Manifest, read_manifest

PICTURES = ("reconstructions", "units", "neighbours", "codes", "codebook")  # of an evaluation

Family = Literal["linear", "plain", "regularised", "variational", "discrete"]
FAMILIES: tuple[Family, ...] = get_args(Family)


@dataclass(frozen=True)
class ExperimentResult:
    """One experiment, with all that the stages before left of it.

    Attributes:
        dataset, name: its place in params.yaml.
        record: the sweep.
        manifest: the bundle.
        metrics: metrics of the test split.
        values: of each metric of single items, its value for every test item (n,).
        schema: the prepared dataset.
        pictures: those that exist, by name.
    """

    dataset: str
    name: str
    record: RunRecord
    manifest: Manifest
    metrics: Metrics
    values: Mapping[str, NDArray[Any]]
    schema: DatasetSchema
    pictures: Mapping[str, Path]

    @property
    def model(self) -> str:
        """The registered model's name."""
        return model_name(self.dataset, self.name)

    @property
    def collapsed(self) -> str:
        """The reasons why the code is called collapsed; empty where it is sound."""
        return "; ".join(self.metrics.collapsed)

    @property
    def bits(self) -> float:
        """Bits that the code of an item takes."""
        return self.metrics.bits_per_item

    @property
    def kinds(self) -> dict[str, str | None]:
        """The kinds of the model's parts; None for a part that it does not have."""
        model = self.record.model
        parts = {part: model.get(part, {}).get("kind") for part in ("corruption", "network", "bottleneck")}
        if parts["corruption"] == "none":
            parts["corruption"] = None
        penalties = " + ".join(penalty["kind"] for penalty in model.get("penalties", ()))
        return {"model": model["kind"], **parts, "penalties": penalties or None}

    @property
    def family(self) -> Family:
        """The kind of code that it makes, which groups and colours it."""
        kinds = self.kinds
        if self.manifest.code.levels is not None:
            return "discrete"
        if kinds["bottleneck"] == "gaussian":
            return "variational"
        if kinds["corruption"] or kinds["penalties"] or kinds["bottleneck"] not in (None, "identity"):
            return "regularised"
        return "plain" if kinds["network"] not in (None, "linear") else "linear"

    def value(self, key: str) -> float | None:
        """Return a metric by its key in the table, those of the run record included; None where it does not apply."""
        value = self.metrics.value(key)
        return getattr(self.record, key, None) if value is None else value

    def interval(self, key: str) -> tuple[float, float] | None:
        """Return a metric's 95 % interval; None where it has none."""
        return self.metrics.interval(key)


def read_experiments(project: Project, names: Mapping[str, Iterable[str]]) -> list[ExperimentResult]:
    """Return the experiments of these names by dataset, then by squared error, those without one last.

    Raises:
        StageError: an experiment's files are missing, damaged, or do not belong to each other.
        BundleError: an experiment's bundle is missing or damaged.
        DataError: an experiment's dataset is missing or damaged.
    """
    results = [read_experiment(project, dataset, name) for dataset, mine in names.items() for name in mine]
    return sorted(results, key=rank)


def rank(result: ExperimentResult) -> tuple[str, bool, float, str]:
    """Return the key that the leaderboard is sorted by."""
    error = result.value("squared_error")
    return result.dataset, error is None, error or 0.0, result.name


def read_experiment(project: Project, dataset: str, name: str) -> ExperimentResult:
    """Read all that one experiment has left on disk; see :func:`read_experiments`."""
    run, evaluation = project.run(dataset, name), project.evaluation(dataset, name)
    drawn = [run / "history.png", run / "space.png"]
    drawn += [evaluation / f"{picture}.png" for picture in PICTURES]
    result = ExperimentResult(
        dataset=dataset,
        name=name,
        record=read_record(run),
        manifest=read_manifest(project.bundle(dataset, name)),
        metrics=read_metrics(project, dataset, name),
        values=read_values(project, dataset, name),
        schema=read_schema(project.data(dataset) / SCHEMA_FILE),
        pictures={path.stem: path for path in drawn if path.is_file()},
    )
    check_agreement(result)
    return result


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture's pixels, (height, width, 3).

    Raises:
        StageError: it is missing or damaged.
    """
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return np.asarray(picture.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise errors of many kinds
        stage = {"runs": "sweep", "evaluations": "evaluate"}.get(path.parents[2].name, "compare")
        remedy = f"run `python -m pipelines.{stage} {path.parents[1].name} --only {path.parent.name}`"
        raise StageError(f"{path}: {one_line(error)}; {remedy}") from error


def check_agreement(result: ExperimentResult) -> None:
    """Check that each stage's result was made from the one before, so that no row mixes two models.

    Raises:
        StageError: says which stage to run again.
    """
    (evidence,), place = result.metrics.evidence, f"{result.dataset}.{result.name}"
    for stage, given, expected in (
        ("sweep", result.record.data_digest, result.schema.digest),
        ("export", result.manifest.weights_digest, result.record.weights_sha256),
        ("evaluate", evidence.bundle, result.manifest.digest),
    ):
        if given != expected:
            raise StageError(
                f"{place}: {stage} worked from {given[:12] or 'nothing'}, now there is {expected[:12]}; "
                f"run `python -m pipelines.{stage} {result.dataset} --only {result.name}`"
            )
    for key in result.metrics.intervals:
        values, mean = result.values.get(key), result.value(key)
        if values is None or len(values) != evidence.items or not np.isclose(values.mean(), mean or 0.0):
            raise StageError(
                f"{place}: {one_line(key, 100)} is not the mean of its values of the {evidence.items} test items; "
                f"run `python -m pipelines.evaluate {result.dataset} --only {result.name}`"
            )
