"""The project: its paths, anchored at its root, the names that may stand in them, and the start of a stage."""

from __future__ import annotations

import argparse
import fcntl
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.data import DataError
from components.settings import SettingError
from serving.manifest import BundleError

PARAMS = "params.yaml"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
NAMES = "must be lower-case letters, digits, - and _, and start with a letter or a digit"


class StageError(RuntimeError):
    """A stage cannot do its work, for a reason that its user can act on."""


@dataclass(frozen=True)
class Project:
    """The folder with params.yaml in it. Paths of datasets, experiments and studies are given for valid names only.

    Attributes:
        root: this working copy.
        home: the folder of things that outlast it, such as an unfinished sweep and the tracking database. It differs
            from `root` in a DVC experiment, which runs in a temporary copy of the project.
    """

    root: Path
    home: Path

    @classmethod
    def here(cls) -> Project:
        """Return the project around the current folder.

        Raises:
            StageError: no folder from here up has a params.yaml.
        """
        start = Path.cwd()
        for folder in (start, *start.parents):
            if (folder / PARAMS).is_file():
                return cls(folder, Path(os.environ.get("DVC_ROOT", folder)))
        raise StageError(f"{start}: no {PARAMS} here or in a folder above")

    @property
    def params(self) -> Path:
        """The settings."""
        return self.root / PARAMS

    @property
    def cache(self) -> Path:
        """Downloads and unfinished sweeps; safe to delete."""
        return self.home / ".hourglass"

    @property
    def reports(self) -> Path:
        """Where `compare` writes."""
        return self.root / "reports"

    def data(self, dataset: str) -> Path:
        """Return the folder of a prepared dataset."""
        return self.root / "data" / checked_name(dataset)

    def run(self, dataset: str, experiment: str) -> Path:
        """Return the folder of a run record."""
        return self._of("runs", dataset, experiment)

    def bundle(self, dataset: str, experiment: str) -> Path:
        """Return the folder of a bundle."""
        return self._of("bundles", dataset, experiment)

    def metrics(self, dataset: str, experiment: str) -> Path:
        """Return the file of an experiment's metrics."""
        return self.root / "metrics" / checked_name(dataset) / f"{checked_name(experiment)}.json"

    def evaluation(self, dataset: str, experiment: str) -> Path:
        """Return the folder of an experiment's values of each test item, and of its pictures."""
        return self._of("evaluations", dataset, experiment)

    def study(self, dataset: str, study: str) -> Path:
        """Return the folder of a study's page."""
        return self._of("studies", dataset, study)

    def study_metrics(self, dataset: str, study: str) -> Path:
        """Return the file of a study's metrics."""
        return self.root / "metrics" / "studies" / checked_name(dataset) / f"{checked_name(study)}.json"

    def _of(self, stage: str, dataset: str, name: str) -> Path:
        return self.root / stage / checked_name(dataset) / checked_name(name)


def model_name(dataset: str, experiment: str) -> str:
    """Return the name under which an experiment's model is registered, such as `mnist-deep`."""
    return f"{dataset}-{experiment}"


def checked_name(name: str) -> str:
    """Return the name of a dataset, an experiment or a study if it is valid: stages delete folders of these names.

    Raises:
        StageError: it is not valid, so a path with it could lead out of the project.
    """
    if not NAME.fullmatch(name):
        raise StageError(f"{name}: {NAMES}")
    return name


@contextmanager
def locked(path: Path, busy: str = "") -> Iterator[None]:
    """Hold a lock file against other processes; the system lets go of it when its process ends, however it ends.

    `busy` is printed where another process has to be waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if busy:
                sys.stdout.write(f"{busy}\n")
                sys.stdout.flush()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def stage(main: Callable[..., None]) -> None:
    """Run a stage's `main` with the arguments of the command line; an error that its user can act on is one line.

    `--only NAME`, which may be repeated, is the argument `only` of `main`, where it has one.
    """
    parameters = inspect.signature(main).parameters
    spec = sys.modules[main.__module__].__spec__  # that of `__main__` has the name that was asked for
    parser = argparse.ArgumentParser(f"python -m {spec.name.removesuffix('.stage')}" if spec else None)
    for name in parameters:
        if name == "only":
            parser.add_argument("--only", action="append", default=[], metavar="NAME")
        else:
            parser.add_argument(name, metavar=name.upper())
    given = parser.parse_args()
    with explained():
        main(**vars(given))


@contextmanager
def explained() -> Iterator[None]:
    """End the process with one line and exit code 1 at an error that its user can act on."""
    try:
        yield
    except (StageError, SettingError, DataError, BundleError, OSError) as error:
        sys.exit(f"error: {error}")
