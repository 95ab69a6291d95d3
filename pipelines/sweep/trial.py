"""One trial of a sweep: trained from its journal's last epoch on, in this process or in a Ray worker."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from components.models import Epoch, TrainingRun
from components.state import State
from components.training import Diverged
from items.spec import ItemSpec
from pipelines.settings.params import ExperimentSettings
from pipelines.sweep.journal import Journal, now
from pipelines.sweep.record import EpochRecord
from pipelines.units.code import code_digest

# In what torch says where memory, a GPU or the link between GPUs fails.
SIGNS_OF_THE_MACHINE = ("can't allocate memory", "out of memory", "CUDA error", "CUBLAS_STATUS", "cuDNN error", "NCCL")


class TrialFailed(RuntimeError):  # noqa: N818
    """The trial's own code raised; it would again on any machine."""


class Unfit(RuntimeError):  # noqa: N818
    """This machine cannot run the sweep's trials; another may."""


def run_trial(config: dict[str, Any], *, code: str, sweep: str, **rest: Any) -> None:
    """Train one trial in a Ray worker; see :func:`train_trial`, whose arguments `sweep` and `rest` are.

    How the trial itself ends is written into its journal and no exception. What is raised is the fault of the machine.

    Args:
        config: `number`, `parameters` and `opened`, when its journal was.
        code: :func:`code_digest` where the sweep was started.
        sweep: the folder of the journals.
        rest: what else a trial is given.

    Raises:
        Unfit: the machine has other code, or another folder under the sweep's name.
    """
    import ray
    from ray import tune

    context = ray.get_runtime_context()
    check_fit(code, sweep)
    journal = Journal.of(Path(sweep), config["number"])
    if not journal.exists() or journal.read().started != config["opened"]:
        raise Unfit(f"{ray.util.get_node_ip_address()} does not see {journal.folder} as the sweep's driver wrote it")
    try:
        train_trial(config, sweep=sweep, **rest, node=context.get_node_id(), tell=tune.report)
    except TrialFailed as error:
        (journal.folder / "error.txt").write_text(traceback.format_exc())
        journal.close("failed", str(error))


def check_fit(code: str, sweep: str) -> None:
    """See that this machine can run a sweep's trials.

    Raises:
        Unfit: it cannot see the sweep's folder, or has other code.
    """
    import ray

    here = ray.util.get_node_ip_address()
    if not Path(sweep).is_dir():
        raise Unfit(f"{here} does not see {sweep}, the sweep's folder; every node must, under the same path")
    if code_digest() != code:
        raise Unfit(f"{here} has other code in {Path(__file__).parent} than the sweep's driver")


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

    Raises:
        TrialFailed: the model's own code raised.
        Superseded: the trial was begun anew elsewhere meanwhile.
    """
    journal = Journal.of(Path(sweep), config["number"])
    attempt = journal.begin(node)
    resume = journal.resume()
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
        for epoch in _epochs(experiment, config["parameters"], item, TrainingRun(train, validation, **run), resume):
            seconds = time.perf_counter() - began
            history.append(EpochRecord(epoch=epoch.number, timestamp=now(), seconds=seconds, metrics=epoch.metrics))
            journal.expect(attempt)
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
        journal.expect(attempt)
        journal.close("diverged", str(error))
        return
    except TrialFailed:
        journal.expect(attempt)  # an attempt that was given up has no say
        raise
    journal.close("finished")


def _epochs(
    experiment: dict[str, Any], parameters: dict[str, Any], item: dict[str, Any], run: TrainingRun, resume: State | None
) -> Iterator[Epoch]:
    """Yield the epochs of a trial's model; what its own code raises comes out as :class:`TrialFailed`."""
    try:
        settings = ExperimentSettings.model_validate(experiment).model_settings(parameters)
        model = settings.build(ItemSpec.model_validate(item), seed=run.seed)
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
