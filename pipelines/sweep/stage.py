"""Stage `sweep`: every trial of a dataset's experiments on one session of Ray, and a run record an experiment.

python -m pipelines.sweep DATASET [--only EXPERIMENT]
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch

from components.data import open_dataset
from pipelines.cluster.confined import Emit, Lost, confined, keep_forkable
from pipelines.project import Project, StageError, locked
from pipelines.settings.params import load_params
from pipelines.sweep.cost import seconds_per_epoch
from pipelines.sweep.lineup import Config, Lineup
from pipelines.sweep.plan import Sweep, sweeps_of
from pipelines.sweep.progress import SweepProgress
from pipelines.sweep.record import TrialRecord, read_record
from pipelines.sweep.trial import train_segment
from pipelines.sweep.writing import git_commit, write_run
from pipelines.tracking.live import LiveTracking
from pipelines.tracking.runs import SweepRuns
from pipelines.tracking.store import Store
from pipelines.units.unit import delete_others

SESSIONS = 3  # sessions of Ray in a row that may bring no trial any further


def main(dataset: str, only: Sequence[str] = ()) -> None:
    """Run the sweeps of a dataset's experiments, or go on with them where they were cut off."""
    keep_forkable()
    project = Project.here()
    params = load_params(project)
    data = open_dataset(project.data(dataset))
    sweeps = sweeps_of(project, params, dataset, tuple(only), data)
    with terminable(dataset), alone(project, sweeps):  # another process may do them meanwhile
        waiting = [sweep for sweep in sweeps if not sweep.done]
        failed = train(project, waiting)
        for sweep in sweeps:
            if sweep.done:
                sweep.journals.delete()  # of a run that was killed once the record was there
    delete_others(project.run(dataset, "any").parent, params.experiments_of(dataset))
    for sweep in sweeps:
        if sweep.name not in failed:
            print_best(sweep)
    if failed:
        lines = [f"{name}: {reason}" for name, reason in failed.items()]
        raise StageError("\n  ".join([f"{len(failed)} of {len(waiting)} sweeps failed:", *lines]))


class Terminated(BaseException):
    """SIGTERM came. No KeyboardInterrupt: of one, Python may make an exit by SIGINT even where it was handled."""


@contextmanager
def terminable(dataset: str) -> Iterator[None]:
    """Let SIGTERM end a stage as an interrupt from the keyboard does: in one line.

    Raises:
        StageError: one of them came.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        raise StageError(f"sweep of {dataset}: cut off; its journals are kept: run it again to go on") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def alone(project: Project, sweeps: list[Sweep]) -> Iterator[None]:
    """Hold the sweeps' journals, which working copies share, against other processes."""
    with ExitStack() as held:
        for sweep in sorted(sweeps, key=lambda sweep: sweep.key):
            path = project.cache / "locks" / f"{sweep.name}-{sweep.key[:12]}"
            held.enter_context(locked(path, f"{sweep.name}: the same sweep is running in another process; waiting"))
        yield


def train(project: Project, sweeps: list[Sweep]) -> dict[str, str]:
    """Run every trial that the journals do not hold yet; return the sweeps without a result, with the reason.

    What Ray loses is run again, in a new session where the old one cannot, as long as that brings the trials further.

    Raises:
        StageError: it does not, or no node is large enough for a trial.
    """
    if not sweeps:
        return {}
    live = Live(project, sweeps)
    fruitless = 0
    with SweepProgress(sweeps) as progress:
        while True:
            outcome = Outcome(progress, live)
            run_session(project, sweeps, outcome)
            if outcome.left == 0:
                return outcome.failed
            fruitless = 0 if outcome.epochs else fruitless + 1
            lost = f"trials did not come to an end ({'; '.join(outcome.reasons) or 'Ray ended without them'})"
            if fruitless == SESSIONS:
                raise StageError(f"{lost}; their journals are kept: run it again to go on")
            progress.say(f"{lost}; going on in a new session")


class Outcome:
    """What a session comes to, event by event.

    Attributes:
        left: trials that have not ended; None where the session did not live to say so.
        epochs: that it trained.
        reasons: why trials did not come to an end.
        failed: sweeps without a result, with the reason.
    """

    def __init__(self, progress: SweepProgress, live: Live) -> None:
        self._progress, self._live = progress, live
        self.left: int | None = None
        self.epochs = 0
        self.reasons: list[str] = []
        self.failed: dict[str, str] = {}

    def take(self, event: dict[str, Any]) -> None:
        """Print an event, track it, and take note of it."""
        config = event.get("config", {})
        match event["event"]:
            case "say":
                self._progress.say(event["text"])
            case "started":
                self._progress.started(config)
            case "epoch":
                self.epochs += 1
                self._live.epoch(config, event["metrics"])
                self._progress.epoch(config, event["metrics"])
            case "stopped":
                self._progress.stopped(event["name"], event["number"], event["epochs"])
            case "retried":
                self._progress.retried(config)
            case "lost":
                self.reasons.append(f"{config['name']} trial {config['number']}: {event['reason']}")
            case "written":
                self._live.complete(event["name"])
                self._progress.written(event["name"])
            case "failed":
                self.failed[event["name"]] = event["reason"]
            case "left":
                self.left = event["trials"]


class Live:
    """The sweeps in MLflow while they run."""

    def __init__(self, project: Project, sweeps: list[Sweep]) -> None:
        store = Store.of(project.home)
        self._folders = {sweep.name: sweep.folder for sweep in sweeps}
        self._tracking = {
            sweep.name: LiveTracking(
                SweepRuns.of(
                    store, sweep.name, sweep.dataset, sweep.settings.model_dump(mode="json"), sweep.key,
                    sweep.budget_name, sweep.objective,
                )
            )
            for sweep in sweeps
        }  # fmt: skip

    def epoch(self, config: Config, metrics: dict[str, Any]) -> None:
        """Log an epoch of a trial."""
        result = metrics | {"sweep_started": config["sweep_started"]}
        self._tracking[config["name"]].epoch(config["number"], config["parameters"], result)

    def complete(self, name: str) -> None:
        """Log what is missing of a sweep that has its record, and end its runs."""
        self._tracking[name].complete(read_record(self._folders[name]))


def run_session(project: Project, sweeps: list[Sweep], outcome: Outcome) -> None:
    """Train in a process of its own, nothing of which outlives this one."""
    log = project.cache / "ray.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    commit = git_commit(project)
    try:
        with closing(confined(lambda emit: train_lineup(sweeps, commit, emit), log, uses_ray=True)) as events:
            for event in events:
                outcome.take(event)
    except Lost as error:
        outcome.reasons.append(f"Ray was lost: {error}; see {log}")


def train_lineup(sweeps: list[Sweep], commit: str, emit: Emit) -> None:
    """Train what is left of the sweeps, and write each record once its trials have ended.

    Pictures take a moment: they are drawn by a thread, so that no worker waits for them.
    """
    waiting = [sweep for sweep in sweeps if not sweep.done]
    with ThreadPoolExecutor(1) as writer:

        def complete(sweep: Sweep, trials: dict[int, TrialRecord]) -> None:
            writer.submit(_write, sweep, trials, commit, emit)

        def stopped(sweep: Sweep, number: int, epochs: int) -> None:
            emit({"event": "stopped", "name": sweep.name, "number": number, "epochs": epochs})

        lineup = Lineup(waiting, seconds_per_epoch(waiting), complete, stopped)
        if lineup.left:
            _share_out(waiting, lineup, emit)
    emit({"event": "left", "trials": lineup.left})


def _share_out(sweeps: list[Sweep], lineup: Lineup, emit: Emit) -> None:
    """Give trials to Ray Tune; a single one is trained here, since Ray would take longer to start."""
    folder = sweeps[0].data.folder
    if lineup.left == 1 and not os.environ.get("RAY_ADDRESS"):
        while (config := lineup.next()) is not None:
            emit({"event": "started", "config": config})
            _train_here(config, folder, emit)
            lineup.ended(config)
        return
    from pipelines.cluster.session import connected
    from pipelines.cluster.tuner import tune_lineup

    with connected(sweeps[0].storage) as session, tempfile.TemporaryDirectory() as scratch:
        lineup.gpus = session.gpu_share
        for sweep in sweeps:
            session.check_share(f"experiments.{sweep.dataset}.{sweep.experiment}.sweep", *lineup.share(sweep))
        emit({"event": "say", "text": f"{lineup.left} trials on {session}"})
        tune_lineup(session, lineup, train_segment, {"data": folder}, emit, Path(scratch))


def _train_here(config: Config, data: Path, emit: Emit) -> None:
    def tell(metrics: dict[str, Any]) -> None:
        emit({"event": "epoch", "config": config, "metrics": metrics})

    torch.set_num_threads(max(1, int(config["cpus"])))  # as in a worker
    try:
        train_segment(config, data=data, node="", tell=tell)
    except Exception as error:
        emit({"event": "lost", "config": config, "reason": f"{type(error).__name__}: {error}"})


def _write(sweep: Sweep, trials: dict[int, TrialRecord], commit: str, emit: Emit) -> None:
    try:
        write_run(sweep, trials, commit)
        emit({"event": "written", "name": sweep.name})
    except (StageError, OSError) as error:
        emit({"event": "failed", "name": sweep.name, "reason": str(error)})


def print_best(sweep: Sweep) -> None:
    """Print a sweep's best trial."""
    record = read_record(sweep.folder)
    best = f"{sweep.objective} {record.best_metrics[sweep.objective]:.4g}"
    sys.stdout.write(f"{sweep.name}: best of {len(record.trials)}: trial {record.best_trial}, {best}\n")
