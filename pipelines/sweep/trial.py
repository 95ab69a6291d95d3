"""One segment of a trial: trained from its journal's last epoch up to a rung, in this process or in a Ray worker."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from components.data import PreparedDataset, open_dataset
from components.models import Epoch, TrainingRun
from components.state import State
from components.training import Diverged
from items.spec import ItemSpec
from pipelines.settings.experiment import ExperimentSettings
from pipelines.sweep.journal import Journal, Superseded, now
from pipelines.sweep.record import EpochRecord
from pipelines.units.storage import Storage

# In what torch says where memory, a GPU or the link between GPUs fails.
SIGNS_OF_THE_MACHINE = ("can't allocate memory", "out of memory", "CUDA error", "CUBLAS_STATUS", "cuDNN error", "NCCL")

BEST = "best"  # the part of the state that holds the weights of the best epoch


class TrialFailed(RuntimeError):  # noqa: N818
    """The trial's own code raised; it would again on any machine."""


def train_segment(config: dict[str, Any], *, data: Path, node: str, tell: Callable[[dict[str, Any]], None]) -> None:
    """Train a trial from its journal's last epoch on.

    A trial's own end is written into its journal and no exception. What is raised is a fault of the machine.

    Args:
        config: what :class:`pipelines.sweep.lineup.Lineup` gives.
        data: the prepared dataset.
        node: the machine's name in the cluster.
        tell: is given every epoch's metrics.
    """
    journal = Journal(Storage(config["journal"]))
    began = time.perf_counter()
    try:
        attempt = journal.begin(node)
        _train(config, journal, attempt, open_dataset(data), tell, began)
    except Superseded:
        return  # another attempt has the say
    except TrialFailed as error:
        journal.expect(attempt)
        journal.folder.write("error.txt", traceback.format_exc().encode())
        journal.close("failed", str(error), attempt)


def _train(
    config: dict[str, Any],
    journal: Journal,
    attempt: int,
    data: PreparedDataset,
    tell: Callable[[dict[str, Any]], None],
    began: float,
) -> None:
    resume, trial = journal.resume(), journal.read()
    history, objective = list(trial.history), config["objective"]
    best = trial.best(objective)
    lowest = best.metrics[objective] if best else float("inf")
    weights = resume.part(BEST) if resume else {}
    train, validation = (data.items(split) for split in ("train", "validation"))
    run = TrainingRun(train, validation, config["epochs"], config["seed"])
    try:
        for epoch in _epochs(config, run, resume):
            if epoch.metrics[objective] < lowest:
                lowest = epoch.metrics[objective]
                weights = {name: tensor.detach().cpu().clone() for name, tensor in epoch.weights.items()}
            seconds, began = time.perf_counter() - began, time.perf_counter()
            history.append(EpochRecord(epoch=epoch.number, timestamp=now(), seconds=seconds, metrics=epoch.metrics))
            journal.expect(attempt)
            journal.save(attempt, _state(epoch, weights, history))
            if epoch.number == config["epochs"]:
                journal.close("finished", attempt=attempt)
            times = {"seconds": seconds, "started": trial.started, "ended": history[-1].timestamp}
            tell({"epoch": epoch.number, **times, **epoch.metrics})
            if epoch.number >= config["until"]:
                return
    except Diverged as error:
        journal.expect(attempt)
        journal.close("diverged", str(error), attempt)


def _state(epoch: Epoch, weights: dict[str, torch.Tensor], history: list[EpochRecord]) -> State:
    """Return an epoch's training state with the best weights so far, and the history."""
    kept = {f"{BEST}.{name}": tensor for name, tensor in weights.items()}
    return State(epoch.state.tensors | kept, epoch.state.rest | {"history": [past.model_dump() for past in history]})


def _epochs(config: dict[str, Any], run: TrainingRun, resume: State | None) -> Iterator[Epoch]:
    """Yield the epochs of a trial's model; what its own code raises comes out as :class:`TrialFailed`."""
    try:
        settings = ExperimentSettings.model_validate(config["experiment"]).model_settings(config["parameters"])
        model = settings.build(ItemSpec.model_validate(config["item"]), seed=run.seed)
        yield from model.fit(run, resume)
    except Diverged:
        raise
    except Exception as error:
        if is_the_machines(error):
            raise
        raise TrialFailed(f"{type(error).__name__}: {error}") from error


def is_the_machines(error: Exception) -> bool:
    """Return whether an error is a fault of the machine, so that another machine, or a later time, may do without it.

    torch raises a plain RuntimeError where memory or a GPU fails it.
    """
    if isinstance(error, OSError | MemoryError | ImportError | torch.OutOfMemoryError | torch.AcceleratorError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS_OF_THE_MACHINE)
