"""Units run: those that are not done, the longest first; each result written whole as it comes."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from items.errors import one_line
from pipelines.project import Project, StageError
from pipelines.units.unit import Unit, read_folder, write_result


def run_units(project: Project, units: Sequence[Unit]) -> None:
    """Do the units that are not done, and those that they need.

    A unit that fails keeps no other from being done.

    Raises:
        StageError: units failed; a line for each, with its reason.
    """
    failed: dict[str, str] = {}
    waiting = [unit for unit in _all(units) if not unit.done()]
    for unit in sorted(waiting, key=lambda unit: (bool(unit.needs), -unit.seconds)):
        try:
            with tempfile.TemporaryDirectory() as folder:
                unit.work(Path(folder), **unit.arguments, **{k: _path(v) for k, v in unit.inputs.items()})
                write_result(unit.storage, unit.key, read_folder(Path(folder)))
            sys.stdout.write(f"{unit.name}: done\n")
        except Exception as error:
            failed[unit.name] = one_line(error)
    if failed:
        raise StageError("\n  ".join([f"{len(failed)} of {len(waiting)} failed:", *map(": ".join, failed.items())]))


def _all(units: Sequence[Unit]) -> list[Unit]:
    return list(dict.fromkeys([*(need for unit in units for need in unit.needs), *units]))


def _path(given: Path | Unit | tuple[Unit, ...]) -> Any:
    if isinstance(given, tuple):
        return tuple(map(_path, given))
    return given.storage.local if isinstance(given, Unit) else given
