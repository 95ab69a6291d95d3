"""One trial of a sweep, and its journal.

The journal is a folder that the trial itself writes after every epoch, so a trial that is killed goes on from its last
epoch, a finished one is never run again, and nothing of Ray's own is asked about it:

    trial-001/trial.json          its parameters, and how it ended
    trial-001/state.safetensors   the training state with the history so far
    trial-001/best.safetensors    the weights at the best epoch so far
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from components.items import ItemSpec
from components.models import TrainingRun
from components.state import State
from components.training import Diverged
from pipelines.record import EpochRecord, Status, TrialRecord
from pipelines.search import Parameters
from pipelines.settings import ExperimentSettings


@dataclass(frozen=True)
class Journal:
    """A trial's folder."""

    folder: Path

    @classmethod
    def of(cls, sweep: Path, number: int) -> Journal:
        """Return the journal of trial `number` below the sweep's folder."""
        return cls(sweep / f"trial-{number:03d}")

    @property
    def state(self) -> Path:
        """The training state."""
        return self.folder / "state.safetensors"

    @property
    def best(self) -> Path:
        """The best weights."""
        return self.folder / "best.safetensors"

    def exists(self) -> bool:
        """Return whether the trial was begun."""
        return (self.folder / "trial.json").exists()

    def open(self, number: int, parameters: Parameters) -> None:
        """Start the journal."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write({"number": number, "parameters": parameters, "status": "running", "started": _now()})

    def note(self, **facts: str) -> None:
        """Add to what is known of the trial: its `node`, the `reason` of a failure."""
        self._write(self._entry() | facts)

    def close(self, status: Status) -> None:
        """Note how the trial ended; the first word stands."""
        entry = self._entry()
        if entry["status"] == "running":
            kept = entry.get("reason", "") if status in ("failed", "diverged") else ""
            self.note(status=status, reason=kept)

    def read(self) -> TrialRecord:
        """Return the trial as far as it is known."""
        history: list[dict[str, Any]] = []
        if self.state.exists():
            with safe_open(self.state, framework="pt") as file:
                history = json.loads(file.metadata()["rest"])["history"]
        return TrialRecord.model_validate({**self._entry(), "history": history})

    def _entry(self) -> dict[str, Any]:
        entry: dict[str, Any] = json.loads((self.folder / "trial.json").read_text())
        return entry

    def _write(self, entry: dict[str, Any]) -> None:
        partial = self.folder / "trial.json.partial"
        partial.write_text(json.dumps(entry))
        partial.replace(self.folder / "trial.json")


def journals(sweep: Path) -> list[Journal]:
    """Return the journals below a sweep's folder in the order of their numbers."""
    return [Journal(path.parent) for path in sorted(sweep.glob("trial-*/trial.json"))]


def run_trial(config: dict[str, Any], **sweep: Any) -> None:
    """Train one trial in a Ray worker; see :func:`train_trial`, whose arguments `sweep` holds."""
    import ray
    from ray import tune

    train_trial(config, **sweep, node=ray.get_runtime_context().get_node_id(), tell=tune.report)


def train_trial(
    config: dict[str, Any], *, sweep: str, experiment: dict[str, Any], item: dict[str, Any], run: dict[str, Any],
    objective: str, train: Any, validation: Any, node: str, tell: Callable[[dict[str, Any]], None],
) -> None:  # fmt: skip
    """Train one trial from its journal's last epoch on.

    Epochs that the journal already holds are reported again first, so that the scheduler's memory is whole.

    Args:
        config: `number` and `parameters`.
        sweep: the folder of the journals, which every node must see.
        experiment: :class:`ExperimentSettings` as JSON.
        item: :class:`ItemSpec` as JSON.
        run: `epochs` and `seed`.
        objective: the figure by which the best epoch is chosen.
        train: raw training items in the node's shared memory.
        validation: raw validation items likewise.
        node: the machine's name in the cluster.
        tell: is given every epoch's figures.
    """
    journal = Journal.of(Path(sweep), config["number"])
    journal.note(node=node)
    settings = ExperimentSettings.model_validate(experiment).model_settings(config["parameters"])
    model = settings.build(ItemSpec.model_validate(item), seed=run["seed"])
    resume = State.load(journal.state) if journal.state.exists() else None
    record = journal.read()
    first = Journal.of(Path(sweep), 1).read()
    history = list(record.history)

    def report(done: EpochRecord, again: bool = False) -> None:
        times = {"sweep_started": first.started, "started": record.started, "ended": done.timestamp}
        tell({"epoch": done.epoch, "again": again, **times, **done.metrics})

    for past in history:
        report(past, again=True)
    lowest = min((past.metrics[objective] for past in history), default=float("inf"))

    began = time.perf_counter()
    try:
        for epoch in model.fit(TrainingRun(train, validation, **run), resume):
            seconds = time.perf_counter() - began
            history.append(EpochRecord(epoch=epoch.number, timestamp=_now(), seconds=seconds, metrics=epoch.metrics))
            if epoch.metrics[objective] < lowest:
                lowest = epoch.metrics[objective]
                State(epoch.state.part("model"), {"epoch": epoch.number}).save(journal.best)
            rest = epoch.state.rest | {"history": [past.model_dump() for past in history]}
            State(epoch.state.tensors, rest).save(journal.state)
            if epoch.number == run["epochs"]:
                journal.close("finished")  # before the scheduler hears of it, which could only call it stopped
            report(history[-1])
            began = time.perf_counter()
    except Diverged as error:
        journal.note(reason=str(error))
        journal.close("diverged")
        return
    except Exception as error:
        journal.note(reason=f"{type(error).__name__}: {error}")
        raise
    journal.close("finished")


def _now() -> int:
    return int(time.time() * 1000)
