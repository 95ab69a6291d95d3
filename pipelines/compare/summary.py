"""reports/summary.json: all that MLflow must hold of the experiments and studies, for `register` to look for.

Reading it imports nothing that is slow to import.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from items.errors import one_line
from pipelines.project import Project, StageError

SUMMARY = "summary.json"
VERSION = 1


@dataclass(frozen=True)
class ExperimentSummary:
    """One experiment.

    Attributes:
        dataset, name: its place in params.yaml.
        model: the registered model's name.
        key: its sweep's key, which finds its runs.
        trials: the status of each trial by its number, as text.
        content: a digest of all that its parent run shows.
        bundle: its bundle's digest, which finds the version.
        collapsed: whether its code has collapsed.
    """

    dataset: str
    name: str
    model: str
    key: str
    trials: dict[str, str]
    content: str
    bundle: str
    collapsed: bool


@dataclass(frozen=True)
class StudySummary:
    """One study: its place in params.yaml, and a digest of all that its run shows."""

    dataset: str
    name: str
    content: str


@dataclass(frozen=True)
class Summary:
    """All experiments and studies, and the sha256 of the files that they were read from, by path below the root."""

    experiments: tuple[ExperimentSummary, ...]
    studies: tuple[StudySummary, ...]
    files: dict[str, str]

    def changed(self, project: Project) -> list[str]:
        """Return the files that are no longer those that it was made from."""
        there = digests_of(project, self.files)
        return [path for path, digest in self.files.items() if there[path] != digest]

    def write(self, folder: Path) -> None:
        """Write it into the folder of the reports."""
        content = asdict(self)
        document = {"version": VERSION, "digest": _digest(content), **content}
        (folder / SUMMARY).write_text(json.dumps(document, indent=1) + "\n")


def read_summary(project: Project) -> Summary:
    """Read the summary that `compare` wrote.

    Raises:
        StageError: it is missing or damaged.
    """
    path = project.reports / SUMMARY
    remedy = "run `python -m pipelines.compare`"
    try:
        tree = json.loads(path.read_bytes())
        version, digest = tree.pop("version"), tree.pop("digest")
        if version != VERSION:
            raise ValueError(f"version is {version}, must be {VERSION}")
        if digest != _digest(tree):
            raise ValueError("its content does not have the digest that it names")
        experiments = tuple(ExperimentSummary(**one) for one in tree["experiments"])
        return Summary(experiments, tuple(StudySummary(**one) for one in tree["studies"]), dict(tree["files"]))
    except OSError as error:
        raise StageError(f"{path}: {error.strerror}; {remedy}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StageError(f"{path}: is damaged ({one_line(error, 100)}); {remedy}") from error


def digests_of(project: Project, paths: Iterable[str]) -> dict[str, str]:
    """Return the sha256 of files by their path below the project's root; of one that cannot be read, an empty text."""
    found = {}
    for path in paths:
        try:
            found[path] = sha256((project.root / path).read_bytes()).hexdigest()
        except OSError:
            found[path] = ""
    return found


def _digest(content: object) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
