"""The journals of a sweep: what a trial leaves on disk as it goes.

A journal is a folder that the trial itself writes after every epoch, so a trial that is killed goes on from its last
epoch, a finished one is never run again, and nothing of Ray's own is asked about it:

    trial-001/trial.json          its parameters, how often it was begun, and how it ended
    trial-001/state.safetensors   the training state with the history so far
    trial-001/best.safetensors    the weights at the best epoch so far

Each file holds a checksum of itself. A journal that is damaged is refused: nobody knows what it held.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.state import DamagedState, State
from items.errors import first_error, one_line
from pipelines.project import StageError
from pipelines.settings.spaces import Parameters
from pipelines.sweep.record import Status, TrialRecord, digest_of

SHA256 = "sha256"


class Superseded(RuntimeError):  # noqa: N818
    """The trial was begun anew elsewhere, or has been ended: this attempt has no say any more."""


@dataclass(frozen=True)
class Journal:
    """A trial's folder.

    Its methods raise :class:`StageError` where a file is damaged; the message names it and the remedy.
    """

    folder: Path

    @classmethod
    def of(cls, sweep: Path, number: int) -> Journal:
        """Return the journal of trial `number` below the sweep's folder."""
        return cls(sweep / f"trial-{number:03d}")

    @property
    def entry(self) -> Path:
        """What is known of the trial but for its epochs."""
        return self.folder / "trial.json"

    @property
    def state(self) -> Path:
        """The training state."""
        return self.folder / "state.safetensors"

    @property
    def best(self) -> Path:
        """The best weights."""
        return self.folder / "best.safetensors"

    def exists(self) -> bool:
        """Return whether the trial was opened."""
        return self.entry.exists()

    def open(self, number: int, parameters: Parameters) -> None:
        """Start the journal."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write({"number": number, "parameters": parameters, "status": "running", "started": now(), "attempt": 0})

    def begin(self, node: str) -> int:
        """Note that the trial begins, or goes on, on a node; return the number of this attempt."""
        entry = self._entry()
        attempt: int = entry["attempt"] + 1
        self._write(entry | {"node": node, "attempt": attempt})
        return attempt

    def expect(self, attempt: int) -> None:
        """See that an attempt may still write.

        Raises:
            Superseded: a later attempt has begun, or the trial is over.
        """
        entry = self._entry()
        if (entry["attempt"], entry["status"]) != (attempt, "running"):
            raise Superseded(f"attempt {attempt}: the trial is at attempt {entry['attempt']} and {entry['status']}")

    def close(self, status: Status, reason: str = "") -> None:
        """Note how the trial ended; the first word stands."""
        entry = self._entry()
        if entry["status"] == "running":
            self._write(entry | {"status": status, "reason": reason})

    def read(self) -> TrialRecord:
        """Return the trial as far as it is known."""
        entry = self._entry()
        try:
            history = State.read_rest(self.state)["history"] if self.state.exists() else []
            return TrialRecord.model_validate(
                {name: value for name, value in entry.items() if name != "attempt"} | {"history": history}
            )
        except (DamagedState, KeyError) as error:
            raise self._damaged(self.state, str(error)) from error
        except ValidationError as error:
            raise self._damaged(self.state, first_error(error)) from error

    def resume(self) -> State | None:
        """Return the training state to go on from; None before the first epoch."""
        return self._load(self.state) if self.state.exists() else None

    def check(self, objective: str) -> None:
        """See that every file is there and whole, those read at the sweep's end included."""
        if not self.exists():
            raise self._damaged(self.entry, "missing beside the trial's state")
        trial = self.read()
        if self.resume() is None and trial.status in ("finished", "stopped"):
            raise self._damaged(self.state, f"missing, and the trial {trial.status}")
        if epoch := trial.best(objective):
            if not self.best.exists():
                raise self._damaged(self.best, f"missing, and epoch {epoch.epoch} was the best")
            found = self._load(self.best).rest.get("epoch")
            if found != epoch.epoch and trial.status != "running":  # a kill may come between the best and the state
                raise self._damaged(self.best, f"of epoch {found}, and epoch {epoch.epoch} was the best")

    def _load(self, path: Path) -> State:
        try:
            return State.load(path)
        except DamagedState as error:
            raise self._damaged(path, str(error)) from error

    def _entry(self) -> dict[str, Any]:
        try:
            entry = json.loads(self.entry.read_text(encoding="utf-8"))
            known: str = entry.pop(SHA256)
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise self._damaged(self.entry, f"not a journal's entry ({type(error).__name__})") from error
        if known != digest_of(entry):
            raise self._damaged(self.entry, f"its content does not have the {SHA256} that it names")
        return dict(entry)

    def _write(self, entry: dict[str, Any]) -> None:
        partial = self.entry.with_name(f"{self.entry.name}.{secrets.token_hex(4)}.partial")
        partial.write_text(json.dumps(entry | {SHA256: digest_of(entry)}), encoding="utf-8")
        partial.replace(self.entry)

    def _damaged(self, path: Path, what: str) -> StageError:
        return StageError(
            f"{path} is damaged: {one_line(what)}; delete {self.folder} to run this trial again from its start"
        )


def journals(sweep: Path) -> list[Journal]:
    """Return the journals below a sweep's folder in the order of their numbers."""
    return [journal for folder in sorted(sweep.glob("trial-*")) if (journal := Journal(folder)).exists()]


def check_journals(sweep: Path, objective: str) -> None:
    """See that each journal below a sweep's folder is whole.

    Raises:
        StageError: one is not; the others stay as they are.
    """
    for folder in sorted(sweep.glob("trial-*")):
        journal = Journal(folder)
        if journal.exists() or journal.state.exists():
            journal.check(objective)


def now() -> int:
    """Return milliseconds since 1970."""
    return int(time.time() * 1000)
