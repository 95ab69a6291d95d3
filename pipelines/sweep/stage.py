"""sweep: search an experiment's space with Ray Tune, and record every trial.

python -m pipelines.sweep EXPERIMENT
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from components.data import open_dataset
from items.atomic import written_whole
from pipelines.cluster import session as cluster
from pipelines.cluster.confined import Emit, Lost, confined, in_one_line
from pipelines.project import Project, StageError
from pipelines.settings.params import load_params
from pipelines.sweep.journal import Journal, check_journals
from pipelines.sweep.plan import SweepPlan
from pipelines.sweep.plots import draw_history, draw_space
from pipelines.sweep.progress import SweepProgress
from pipelines.sweep.record import WEIGHTS, RunRecord, read_record, write_record
from pipelines.sweep.trial import TrialFailed, train_trial
from pipelines.tracking.live import LiveTracking

SESSIONS = 3  # sessions of Ray in a row that may bring no trial any further
RETRIES = 3  # times within a session that a trial may lose its worker


def main(name: str) -> None:
    """Run one experiment's sweep, or go on with it where it was cut off."""
    project = Project.here()
    params = load_params(project)
    experiment = params.experiment(name)
    dataset = open_dataset(project.data(experiment.dataset))
    experiment.check(name, dataset.schema.item)
    plan = SweepPlan(project, params, name, experiment, dataset)
    with terminable(plan), plan.alone() as waited:
        if waited and key_of(project.run(name)) == plan.key:
            return  # the other process has just written this very record
        live = LiveTracking(plan.tracked())
        check_journals(plan.folder, plan.objective)
        run_trials(plan, live)
        record = record_of(plan, git_commit(project))
        live.complete(record)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # the trials are done; what is left takes a moment
        write_run(project.run(name), plan, record)
        plan.forget()
    best = record.best_metrics[plan.objective]
    said = f"{name}: best of {len(record.trials)}: trial {record.best_trial}, {plan.objective} {best:.4g}"
    sys.stdout.write(f"{said}\n")


@contextmanager
def terminable(plan: SweepPlan) -> Iterator[None]:
    """Let SIGTERM end a sweep as an interrupt from the keyboard does: in one line.

    Raises:
        StageError: one of them came.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        to_go = f"{plan.left()} of {plan.budget.trials} trials to go"
        raise StageError(f"{plan.name}: cut off with {to_go}; run it again to go on") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_trials(plan: SweepPlan, live: LiveTracking) -> None:
    """Run every trial that the journals do not hold yet.

    Raises:
        StageError: a trial could not be run to an end of its own.
    """
    if plan.budget.trials > 1 or os.environ.get("RAY_ADDRESS"):
        search_space(plan, live)
    else:
        run_alone(plan, live)


def run_alone(plan: SweepPlan, live: LiveTracking) -> None:
    """Run a sweep's only trial here and now: there is nothing for Ray to share out.

    Raises:
        StageError: it failed; its journal keeps the epochs that it got to.
    """
    journal = Journal.of(plan.folder, 1)
    if not journal.exists():
        open_only(plan, journal)
    if journal.read().status != "running":
        return
    parameters = journal.read().parameters

    def tell(result: dict[str, Any]) -> None:
        live.epoch(1, parameters, result)
        progress.epoch(1, result)

    train, validation = (np.asarray(plan.dataset.array(split)) for split in ("train", "validation"))
    config = {"number": 1, "parameters": parameters}
    with SweepProgress(plan, "this machine") as progress:
        progress.started(1, parameters)
        try:
            train_trial(config, **plan.for_trials(), train=train, validation=validation, node="", tell=tell)
        except Exception as error:
            reason = str(error) if isinstance(error, TrialFailed) else in_one_line(error)
            raise StageError(f"{plan.name}: trial 1 failed: {reason}; run it again to go on") from error


def open_only(plan: SweepPlan, journal: Journal) -> None:
    """Start the only trial's journal, its searched values drawn as those of any first trial."""
    if not plan.experiment.space:
        journal.open(1, {})
        return
    from pipelines.sweep.suggest import JournaledSearch

    JournaledSearch(plan.folder, plan.experiment.space, plan.objective, 1, plan.seed).suggest("only")


def search_space(plan: SweepPlan, live: LiveTracking) -> None:
    """Search the experiment's space on a cluster, or on one of our own on this machine.

    What Ray loses is run again, in a new session where the old one cannot, as long as that brings the trials further.

    Raises:
        StageError: it does not, or no node is large enough for a trial.
    """
    fruitless = 0
    while plan.left():
        before = plan.reached()
        reasons = search_once(plan, live)
        if not (left := plan.left()):
            break
        fruitless = 0 if plan.reached() > before else fruitless + 1
        why = "; ".join(reasons) or "Ray ended without them"
        lost = f"{plan.name}: {left} of {plan.budget.trials} trials did not come to an end ({why})"
        if fruitless == SESSIONS:
            raise StageError(f"{lost}; their journals are kept: run it again to go on")
        sys.stdout.write(f"{lost}; going on in a new session\n")
        sys.stdout.flush()


def search_once(plan: SweepPlan, live: LiveTracking) -> list[str]:
    """Run the trials that are left in one session of Ray; return why some did not come to an end."""
    reasons = []
    vital = () if os.environ.get("RAY_ADDRESS") else cluster.VITAL
    session = confined(lambda emit: tune_trials(plan, emit), plan.folder / "ray.log", vital)
    try:
        with closing(session) as events, SweepProgress(plan, next(events)) as progress:
            for event in events:
                number = event["trial"]["number"]
                match event["event"]:
                    case "started":
                        progress.started(number, event["trial"]["parameters"])
                    case "epoch":
                        live.epoch(number, event["trial"]["parameters"], event["result"])
                        progress.epoch(number, event["result"])
                    case "ended":
                        progress.ended(number)
                    case "retried":
                        progress.retried(number)
                    case "lost":
                        reasons.append(f"trial {number}: {event['reason']}")
    except Lost as error:
        reasons.append(f"Ray was lost: {error}; see {plan.folder / 'ray.log'}")
    return reasons


def tune_trials(plan: SweepPlan, emit: Emit) -> None:
    """Hand the trials that are left to Ray Tune; the arrays go to each node's shared memory once.

    Emits the nodes in words, then an event for whatever happens to a trial.
    """
    train, validation = plan.dataset.array("train"), plan.dataset.array("validation")
    with cluster.connected(train.nbytes + validation.nbytes, plan.code, str(plan.folder)) as nodes:
        from ray import tune

        from pipelines.sweep.halving import ResumedHalving
        from pipelines.sweep.suggest import JournaledSearch
        from pipelines.sweep.trial import run_trial

        share, epochs = plan.experiment.sweep, plan.budget.epochs
        slots = nodes.slots(plan.name, share.cpus, share.gpus)
        emit(str(nodes))
        search = JournaledSearch(plan.folder, plan.experiment.space, plan.objective, plan.budget.trials, plan.seed)
        data = {"train": np.asarray(train), "validation": np.asarray(validation)}
        trainable = tune.with_parameters(run_trial, code=plan.code, **plan.for_trials(), **data)
        first_rung = share.first_rung or -(-epochs // 3)
        results = tune.Tuner(
            tune.with_resources(trainable, nodes.request(share.cpus, share.gpus)),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=ResumedHalving(plan.folder, plan.objective, epochs, first_rung, share.reduction),
                num_samples=search.to_run,
                max_concurrent_trials=min(search.to_run, slots),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="ray",
                storage_path=str(plan.folder),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[cluster.relay(emit)],
            ),
        ).fit()
        for result in results:
            if result.error:
                emit({"event": "lost", "trial": result.config, "reason": cluster.reason_of(result.error)})


def record_of(plan: SweepPlan, commit: str) -> RunRecord:
    """Read the journals into one record.

    Raises:
        StageError: no trial came to a result.
    """
    check_journals(plan.folder, plan.objective)
    trials = tuple(plan.trials())
    scored = [(trial, epoch) for trial in trials if (epoch := trial.best(plan.objective))]
    if not scored:
        reasons = "; ".join(f"trial {t.number} {t.status}: {t.reason}" for t in trials)
        raise StageError(
            f"experiments.{plan.name}: no trial came to a result ({reasons}); delete {plan.folder} to retry"
        )
    best, epoch = min(scored, key=lambda pair: pair[1].metrics[plan.objective])
    model = plan.experiment.model_settings(best.parameters)
    built = model.build(plan.dataset.schema.item)
    journal = Journal.of(plan.folder, best.number)
    journal.check(plan.objective)
    return RunRecord(
        experiment=plan.name,
        dataset=plan.experiment.dataset,
        data_digest=plan.dataset.schema.digest,
        key=plan.key,
        seed=plan.seed,
        budget=plan.budget_name,
        epochs=plan.budget.epochs,
        objective=plan.objective,
        settings=plan.experiment.model_dump(mode="json"),
        space={path: distribution.text for path, distribution in plan.experiment.space.items()},
        trials=trials,
        best_trial=best.number,
        best_epoch=epoch.epoch,
        model=model,
        weights_sha256=hashlib.sha256(journal.best.read_bytes()).hexdigest(),
        parameters=sum(tensor.numel() for tensor in built.state_dict().values()),
        git_commit=commit,
        versions={package: importlib.metadata.version(package) for package in ("torch", "ray", "optuna", "numpy")},
    )


def write_run(folder: Path, plan: SweepPlan, record: RunRecord) -> None:
    """Write the run record, its weights and its pictures: whole, or not at all."""
    with written_whole(folder) as made:
        shutil.copyfile(Journal.of(plan.folder, record.best_trial).best, made / WEIGHTS)
        write_record(made, record)
        draw_history(record, made)
        draw_space(record, plan.experiment.space, made)


def key_of(folder: Path) -> str | None:
    """Return the key of the run record in a folder; None where there is none."""
    try:
        return read_record(folder).key
    except StageError:
        return None


def git_commit(project: Project) -> str:
    """Return the commit of the working copy, with `+changes` where its code or settings differ; `none` without one."""
    status = ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock"]
    commands = (["git", "rev-parse", "HEAD"], status)
    head, changes = (subprocess.run(c, cwd=project.root, capture_output=True, text=True) for c in commands)
    if head.returncode:
        return "none"
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")
