"""Units run on Ray: those that are not done, the longest first; each result written whole as it comes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from items.errors import one_line
from pipelines.cluster.confined import Emit, Lost, confined
from pipelines.project import Project, StageError
from pipelines.units.progress import Progress
from pipelines.units.unit import Unit, read_folder, write_result

SESSIONS = 3  # sessions of Ray in a row that may bring nothing to its end
STILL = 30.0  # seconds between two lines about what is still running


def run_units(project: Project, units: Sequence[Unit]) -> None:
    """Do the units that are not done, and those that they need, in one session of Ray.

    A unit that fails keeps no other from being done, but for those that need it.

    Raises:
        StageError: units failed; a line for each, with its reason.
    """
    waiting = _waiting(units)
    if not waiting:
        return
    tally = Tally()
    with Progress(f"{len(waiting)} to do", len(waiting)) as progress:
        if len(waiting) == 1:
            _run_here(waiting[0], tally, progress)  # nothing to share out: Ray would take longer to start
        while todo := [unit for unit in waiting if unit.name not in tally.over]:
            before, why = len(tally.over), _session(project, todo, tally, progress)
            if not (left := len(waiting) - len(tally.over)):
                break
            tally.fruitless = 0 if len(tally.over) > before else tally.fruitless + 1
            lost = f"{left} units did not come to an end ({why or 'Ray ended without them'})"
            if tally.fruitless == SESSIONS:
                raise StageError(f"{lost}; the others are kept: run it again to go on")
            progress.say(f"{lost}; going on in a new session")
    if tally.failed:
        lines = [f"{name}: {reason}" for name, reason in tally.failed.items()]
        raise StageError("\n  ".join([f"{len(lines)} of {len(waiting)} failed, the others are done:", *lines]))


@dataclass
class Tally:
    """Units that are over, by name, those that failed with the reason; and sessions in a row that ended none."""

    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    fruitless: int = 0

    @property
    def over(self) -> set[str]:
        """The names of the units that need no further session."""
        return self.done | self.failed.keys()


def _session(project: Project, units: list[Unit], tally: Tally, progress: Progress) -> str:
    """Run units in a session of Ray, and note those that are over; return why some did not come to an end."""
    log = project.cache / "ray.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    work = confined(lambda emit: _share_out(units, emit), log, uses_ray=True)
    try:
        with closing(work) as events:
            for event in events:
                if "done" in event:
                    tally.done.add(event["done"])
                    progress.done(event["done"], event["seconds"])
                elif "failed" in event:
                    tally.failed[event["failed"]] = event["reason"]
                    progress.failed(event["failed"], event["reason"])
                elif "lost" in event:
                    reasons.append(f"{event['lost']}: {event['reason']}")
                else:
                    progress.say(event["say"])
    except Lost as error:
        reasons.append(f"Ray was lost: {error}; see {log}")
    return "; ".join(reasons)


def _share_out(units: list[Unit], emit: Emit) -> None:
    """Give units to Ray's workers, each once what it needs is done, and write their results."""
    from pipelines.cluster.pool import Pool
    from pipelines.cluster.session import connected

    with connected() as session, tempfile.TemporaryDirectory() as scratch:
        emit({"say": f"on {session}"})
        pool, shipped = Pool(session), dict[Path, Any]()

        def ship(given: Path | Unit | tuple[Unit, ...]) -> Any:
            if isinstance(given, tuple):
                return tuple(map(ship, given))
            path = _local(given, Path(scratch)) if isinstance(given, Unit) else given
            if path not in shipped:
                shipped[path] = session.ship(path)
            return shipped[path]

        found = [unit for unit in units if unit.storage.local is None and unit.done()]
        for unit in found:
            emit({"done": unit.name, "seconds": 0.0})
        waiting = {unit.name: unit for unit in sorted(set(units) - set(found), key=lambda unit: -unit.seconds)}
        submitted = dict[str, Unit]()
        ended_well = {need.name for unit in units for need in unit.needs} - waiting.keys()
        last_line = time.monotonic()
        while True:
            for unit in [one for one in waiting.values() if all(need.name in ended_well for need in one.needs)]:
                session.check_share(unit.name, unit.cpus, unit.gpus)
                inputs = {name: ship(given) for name, given in unit.inputs.items()}
                pool.submit(unit.name, unit.work, unit.arguments, inputs, unit.cpus, unit.gpus)
                submitted[unit.name] = waiting.pop(unit.name)
            if not pool.running:
                break
            for end in pool.ended(STILL):
                if end.files is not None:
                    write_result(submitted[end.name].storage, submitted[end.name].key, end.files)
                    ended_well.add(end.name)
                    emit({"done": end.name, "seconds": end.seconds})
                else:
                    emit({"lost" if end.lost else "failed": end.name, "reason": end.reason})
                last_line = time.monotonic()
            if time.monotonic() - last_line >= STILL:
                last_line = time.monotonic()
                emit({"say": f"still to come: {', '.join(pool.running)}"})
        for unit in waiting.values():
            emit({"failed": unit.name, "reason": "needs what failed or was lost"})


def _run_here(unit: Unit, tally: Tally, progress: Progress) -> None:
    """Run a unit in this process."""
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as out, tempfile.TemporaryDirectory() as scratch:
            inputs = {name: _paths(given, Path(scratch)) for name, given in unit.inputs.items()}
            unit.work(Path(out), **unit.arguments, **inputs)
            write_result(unit.storage, unit.key, read_folder(Path(out)))
        tally.done.add(unit.name)
        progress.done(unit.name, time.monotonic() - began)
    except Exception as error:
        tally.failed[unit.name] = f"{type(error).__name__}: {one_line(error)}"
        progress.failed(unit.name, tally.failed[unit.name])


def _paths(given: Path | Unit | tuple[Unit, ...], scratch: Path) -> Any:
    if isinstance(given, tuple):
        return tuple(_local(one, scratch) for one in given)
    return _local(given, scratch) if isinstance(given, Unit) else given


def _local(unit: Unit, scratch: Path) -> Path:
    """Return a folder of this machine with a unit's result, fetched where it lies elsewhere."""
    if unit.storage.local is not None:
        return unit.storage.local
    folder = scratch / unit.key
    if not folder.exists():
        folder.mkdir()
        for name in unit.storage.names():
            (folder / name).write_bytes(unit.storage.read(name))
    return folder


def _waiting(units: Sequence[Unit]) -> list[Unit]:
    """Return the units that are not done, each once, after those that they need; what lies elsewhere is not looked at.

    What only done units need is not among them.
    """
    found: dict[Unit, None] = {}
    for unit in units:
        if unit.storage.local is None or not unit.done():
            found |= dict.fromkeys([*_waiting(unit.needs), unit])
    return list(found)
