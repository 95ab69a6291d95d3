"""The plan of a study: its page and the parts that the page needs, as units with keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from components.data.contract import SCHEMA_FILE
from components.data.schema import read_schema
from pipelines.project import Project
from pipelines.studies.bundles import digest_of_errors
from pipelines.sweep.record import read_record
from pipelines.units.key import code_digest, digest_of
from pipelines.units.storage import Storage
from pipelines.units.unit import Unit
from serving.manifest import read_manifest


class Given(NamedTuple):
    """A folder that earlier stages left, and the digest of what is read of it."""

    path: Path
    digest: str


Inputs = Mapping[str, Given | Unit | tuple[Unit, ...]]


@dataclass(frozen=True)
class StudyPlan:
    """One study of params.yaml, and what its units are made from.

    Attributes:
        project: where bundles, runs and data are.
        dataset, name: the study's place in params.yaml, `studies.<dataset>.<name>`.
        seed: of all that is drawn.
        budget: how long it may take.
        storage: the folder of finished parts.
    """

    project: Project
    dataset: str
    name: str
    seed: int
    budget: Literal["quick", "paper"]
    storage: Storage

    @property
    def data(self) -> Given:
        """The prepared dataset.

        Raises:
            DataError: it is missing or damaged.
        """
        folder = self.project.data(self.dataset)
        return Given(folder, read_schema(folder / SCHEMA_FILE).digest)

    def bundle(self, experiment: str) -> Given:
        """Return the bundle of an experiment.

        Raises:
            BundleError: it is missing or damaged.
        """
        folder = self.project.bundle(self.dataset, experiment)
        return Given(folder, read_manifest(folder).digest)

    def run(self, experiment: str) -> Given:
        """Return the run record of an experiment.

        Raises:
            StageError: it is missing or damaged.
        """
        folder = self.project.run(self.dataset, experiment)
        record = read_record(folder)
        return Given(folder, digest_of(record.weights_sha256, record.epochs, record.best_epoch))

    def evaluation(self, experiment: str) -> Given:
        """Return the evaluation of an experiment, of which the squared errors of the test items are read.

        Raises:
            StageError: they are missing or damaged.
        """
        folder = self.project.evaluation(self.dataset, experiment)
        return Given(folder, digest_of_errors(folder))

    def page(
        self, kind: str, work: Callable[..., None], inputs: Inputs, *, seconds: float = 5.0, **arguments: Any
    ) -> Unit:
        """Return the unit that writes the study's page.

        Args:
            kind: the kind of study.
            work: called as `work(out, study=…, **arguments, **inputs)`; `study` holds the first fields of
                :class:`~pipelines.studies.contract.Study`: kind, name and dataset.
            inputs: paths and parts by the name that `work` gives them.
            seconds: about how long it takes.
            arguments: JSON-able, all that decides the page beside its inputs.
        """
        study = {"kind": kind, "name": self.name, "dataset": self.dataset}
        key, paths = _key(work, inputs, {"study": study, **arguments})
        place = self.project.study(self.dataset, self.name)
        return Unit(self.name, key, work, place, {"study": study, **arguments}, paths, seconds)

    def part(
        self, name: str, work: Callable[..., None], inputs: Inputs, *, seconds: float = 5.0, **arguments: Any
    ) -> Unit:
        """Return a unit that does a part of the study, such as one training; its result is kept for later runs.

        Args:
            name: says which part it is.
            work: called as `work(out, **arguments, **inputs)`. Its module should hold no more than decides the part's
                result, so that another change of the study does not redo it.
            inputs: paths and parts by the name that `work` gives them.
            seconds: about how long it takes.
            arguments: JSON-able, all that decides the part beside its inputs.
        """
        key, paths = _key(work, inputs, arguments)
        place = self.storage / "parts" / key[:24]
        return Unit(f"{self.name}, {name}", key, work, place, arguments, paths, seconds)


def _key(
    work: Callable[..., None], inputs: Inputs, arguments: Mapping[str, Any]
) -> tuple[str, dict[str, Path | Unit | tuple[Unit, ...]]]:
    """Return the key of a unit, and its inputs as units have them."""
    digests: dict[str, Any] = {}
    paths: dict[str, Path | Unit | tuple[Unit, ...]] = {}
    for name, given in inputs.items():
        if isinstance(given, Given):
            paths[name], digests[name] = given
        else:
            paths[name] = given
            digests[name] = given.key if isinstance(given, Unit) else [unit.key for unit in given]
    return digest_of(code_digest(work.__module__), work.__qualname__, arguments, digests), paths
