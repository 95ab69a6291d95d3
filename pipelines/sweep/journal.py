"""The journal of a trial: what it leaves in the shared storage as it goes.

A trial that is killed goes on from its last epoch, on any node, and one that has ended is never run again. Nothing of
Ray's own is asked about it.

    trial-001/trial.json               its number and parameters, written once
    trial-001/attempt-002.json         an attempt to run it, the second: node, and when it began
    trial-001/state-002.safetensors    that attempt's training state: history, weights, and the best weights so far
    trial-001/end-002.json             the trial's end, as that attempt came to it

Each attempt writes files of its own, and only those of the latest count. So an attempt that was given up as lost and
wakes again can do no harm. Each file holds a checksum of itself. A journal that is damaged is refused, since nobody
knows what it held.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from pydantic import ValidationError

from components.state import DamagedState, State
from items.errors import first_error, one_line
from pipelines.project import StageError
from pipelines.settings.spaces import Parameters
from pipelines.sweep.record import Status, TrialRecord
from pipelines.units.key import digest_of
from pipelines.units.storage import Storage

SHA256 = "sha256"
TRIAL = "trial.json"
READS = 5  # of a file that looks damaged, where it may only be replaced while it is read
PAUSE = 0.1  # seconds between two of them
NAME = re.compile(r"(attempt|state|end)-(\d{3,})\.(?:json|safetensors)")

T = TypeVar("T")


class Superseded(RuntimeError):  # noqa: N818
    """A later attempt at the trial has begun, or the trial has ended: this attempt stops."""


@dataclass(frozen=True)
class Journal:
    """A trial's folder.

    Its methods raise :class:`StageError` where a file is damaged (the message names it and what to do), and OSError
    where the storage does not answer.
    """

    folder: Storage

    @classmethod
    def of(cls, sweep: Storage, number: int) -> Journal:
        """Return the journal of trial `number` below the sweep's folder."""
        return cls(sweep / f"trial-{number:03d}")

    def exists(self) -> bool:
        """Return whether the trial was opened."""
        return self.folder.exists(TRIAL)

    def open(self, number: int, parameters: Parameters) -> None:
        """Start the journal."""
        self._write(TRIAL, {"number": number, "parameters": parameters, "started": now()})

    def begin(self, node: str) -> int:
        """Note that the trial begins, or goes on, on a node; return the number of this attempt.

        Raises:
            Superseded: the trial has ended.
        """
        latest = self._latest("attempt")
        if self.folder.exists(_end(latest)):
            raise Superseded("the trial has ended")
        self._write(f"attempt-{latest + 1:03d}.json", {"node": node, "began": now()})
        return latest + 1

    def expect(self, attempt: int) -> None:
        """See that an attempt is still the latest.

        Raises:
            Superseded: another has begun since.
        """
        if (latest := self._latest("attempt")) != attempt:
            raise Superseded(f"attempt {attempt}: the trial is at attempt {latest}")

    def save(self, attempt: int, state: State) -> None:
        """Keep the training state of an attempt; `state.rest` holds the history."""
        self.folder.write(_state(attempt), state.to_bytes())

    def close(self, status: Status, reason: str = "", attempt: int | None = None) -> None:
        """Note how the trial ended, as an attempt came to it; the latest where None is given."""
        self._write(_end(self._latest("attempt") if attempt is None else attempt), {"status": status, "reason": reason})

    def read(self) -> TrialRecord:
        """Return the trial as far as it is known."""
        names = self.folder.names()
        attempt, state = _latest(names, "attempt"), _latest(names, "state")
        known = self._read(TRIAL)
        if attempt:
            known["node"] = self._read(f"attempt-{attempt:03d}.json").get("node", "")
        end = self._read(_end(attempt)) if _end(attempt) in names else {"status": "running"}
        try:
            history = self._state(state, State.read_rest)["history"] if state else []
            return TrialRecord.model_validate(known | end | {"history": history})
        except KeyError as error:
            raise self._damaged(_state(state), f"{error} is missing") from error
        except ValidationError as error:
            raise self._damaged(_state(state) if state else TRIAL, first_error(error)) from error

    def resume(self) -> State | None:
        """Return the training state to go on from; None before the first epoch."""
        latest = self._latest("state")
        if not latest:
            return None
        return self._state(latest, lambda file: State.from_bytes(file.read()))

    def check(self) -> None:
        """See that every file that counts is there and whole.

        Raises:
            StageError: one is not.
        """
        if not self.exists():
            raise self._damaged(TRIAL, "missing beside the trial's other files")
        trial = self.read()
        if self.resume() is None and trial.status in ("finished", "stopped"):
            raise self._damaged("its training state", f"missing, and the trial {trial.status}")

    def _latest(self, kind: str) -> int:
        return _latest(self.folder.names(), kind)

    def _state(self, attempt: int, read: Callable[[BinaryIO], T]) -> T:
        """Return what is read of an attempt's training state.

        Behind a URL a file is read in parts, and a trial that runs may replace it between two: then it is read anew.
        """
        reads = 1 if self.folder.local is not None else READS
        while True:
            try:
                with self.folder.open(_state(attempt)) as file:
                    return read(file)
            except DamagedState as error:
                reads -= 1
                if not reads:
                    raise self._damaged(_state(attempt), str(error)) from error
                time.sleep(PAUSE)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads(self.folder.read(name))
            known: str = content.pop(SHA256)
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise self._damaged(name, f"not a journal's file ({type(error).__name__})") from error
        if known != digest_of(content):
            raise self._damaged(name, f"its content does not have the {SHA256} that it names")
        return dict(content)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        self.folder.write(name, json.dumps(content | {SHA256: digest_of(content)}).encode())

    def _damaged(self, name: str, what: str) -> StageError:
        return StageError(
            f"{self.folder}/{name} is damaged: {one_line(what)}; delete {self.folder} to run this trial from its start"
        )


def journals(sweep: Storage) -> list[Journal]:
    """Return the journals below a sweep's folder in the order of their numbers."""
    return [Journal(sweep / name) for name in sweep.names() if name.startswith("trial-")]


def now() -> int:
    """Return milliseconds since 1970."""
    return int(time.time() * 1000)


def _latest(names: list[str], kind: str) -> int:
    """Return the highest number among a kind of files; 0 where there are none."""
    found = [match for name in names if (match := NAME.fullmatch(name)) and match[1] == kind]
    return max((int(match[2]) for match in found), default=0)


def _state(attempt: int) -> str:
    return f"state-{attempt:03d}.safetensors"


def _end(attempt: int) -> str:
    return f"end-{attempt:03d}.json"
