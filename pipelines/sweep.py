"""sweep: search an experiment's space with Ray Tune, and record every trial.

python -m pipelines.sweep EXPERIMENT
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

import components
from components.data import PreparedDataset, open_dataset
from pipelines import cluster
from pipelines.figures import draw_history, draw_space
from pipelines.progress import SweepProgress
from pipelines.project import Project, StageError, stage, written_whole
from pipelines.record import WEIGHTS, RunRecord, digest_of, read_record, write_record
from pipelines.settings import Budget, ExperimentSettings, Params, load_params
from pipelines.tracking.live import LiveTracking
from pipelines.tracking.runs import SweepRuns
from pipelines.tracking.store import Store
from pipelines.trial import Journal, journals, run_trial, train_trial

if TYPE_CHECKING:
    from pipelines.suggest import JournaledSearch

Items = np.ndarray[Any, np.dtype[Any]]

DECISIVE = ("halving", "search", "settings", "suggest", "sweep", "trial")  # modules beside this one that shape a sweep


def main(name: str) -> None:
    """Run one experiment's sweep, or go on with it where it was cut off."""
    project = Project.here()
    params = load_params(project)
    experiment = params.experiment(name)
    dataset = open_dataset(project.data(experiment.dataset))
    experiment.check(name, dataset.schema.item)
    plan = SweepPlan(project, params, name, experiment, dataset)
    with plan.alone() as waited:
        if waited and key_of(project.run(name)) == plan.key:
            return  # the other process has just written this very record
        live = LiveTracking(plan.tracked())
        run_trials(plan, live)
        record = record_of(plan, git_commit(project))
        live.complete(record)
        write_run(project.run(name), plan, record)
        plan.forget()
    best = record.best_metrics[plan.objective]
    said = f"{name}: best of {len(record.trials)}: trial {record.best_trial}, {plan.objective} {best:.4g}"
    sys.stdout.write(f"{said}\n")


class SweepPlan:
    """What is to be swept, under a key that changes with anything that could change the outcome."""

    def __init__(
        self, project: Project, params: Params, name: str, experiment: ExperimentSettings, dataset: PreparedDataset
    ) -> None:
        self.name, self.experiment, self.dataset = name, experiment, dataset
        self.seed, self.budget_name = params.seed, params.budget
        self.budget: Budget = params.budget_of(experiment)
        self.objective = f"validation_{experiment.sweep.objective}"
        settings = experiment.model_dump(mode="json", exclude={"quick", "paper"})
        settings["budget"] = self.budget.model_dump()
        self.key = digest_of(name, settings, self.seed, dataset.schema.digest, code_digest())
        self.folder = project.cache / "sweeps" / f"{name}-{self.key[:12]}"
        self.home = project.home

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Hold the sweep's folder, which working copies share; yield whether another process had to be waited for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.folder.with_suffix(".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                waited = False
            except OSError:
                sys.stdout.write(f"{self.name}: the same sweep is running in another process; waiting for it\n")
                sys.stdout.flush()
                fcntl.flock(lock, fcntl.LOCK_EX)
                waited = True
            yield waited

    def forget(self) -> None:
        """Delete the journals; renamed first, so that a kill in between leaves none rather than some."""
        doomed = self.folder.with_suffix(".done")
        shutil.rmtree(doomed, ignore_errors=True)
        self.folder.rename(doomed)
        shutil.rmtree(doomed)

    def tracked(self) -> SweepRuns:
        """Return where the sweep's runs are tracked."""
        settings = self.experiment.model_dump(mode="json")
        store = Store.of(self.home)
        return SweepRuns(store, self.name, settings, self.key, self.budget_name, self.objective)


def run_trials(plan: SweepPlan, live: LiveTracking) -> None:
    """Run every trial that the journals do not hold yet.

    Raises:
        StageError: it was interrupted, or no node of the cluster is large enough for a trial.
    """
    if plan.budget.trials > 1 or os.environ.get("RAY_ADDRESS"):
        search_space(plan, live)
    else:
        run_alone(plan, live)
    ended = [journal for journal in journals(plan.folder) if journal.read().status != "running"]
    if len(ended) < plan.budget.trials:
        left = plan.budget.trials - len(ended)
        raise StageError(
            f"{plan.name}: cut off with {left} of {plan.budget.trials} trials to go; run it again to go on"
        )


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
    trial = SimpleNamespace(config={"number": 1, "parameters": journal.read().parameters})
    progress = SweepProgress(plan, "this machine", already=len(journal.read().history))
    progress.setup()
    progress.on_trial_start(0, [], trial)

    def tell(result: dict[str, Any]) -> None:
        for callback in (live, progress):
            callback.on_trial_result(0, [], trial, result)

    train, validation = (np.asarray(plan.dataset.array(split)) for split in ("train", "validation"))
    try:
        train_trial(trial.config, **trial_of(plan), train=train, validation=validation, node="", tell=tell)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise StageError(f"{plan.name}: trial 1 failed: {reason}; run it again to go on") from error
    finally:
        progress.on_experiment_end([])


def open_only(plan: SweepPlan, journal: Journal) -> None:
    """Start the only trial's journal, its searched values drawn as those of any first trial."""
    if not plan.experiment.space:
        journal.open(1, {})
        return
    from pipelines.suggest import JournaledSearch

    JournaledSearch(plan.folder, plan.experiment.space, plan.objective, 1, plan.seed).suggest("only")


def search_space(plan: SweepPlan, live: LiveTracking) -> None:
    """Search the experiment's space on a cluster, or on one of our own on this machine."""
    from pipelines.suggest import JournaledSearch

    search = JournaledSearch(plan.folder, plan.experiment.space, plan.objective, plan.budget.trials, plan.seed)
    if search.to_run:
        train, validation = plan.dataset.array("train"), plan.dataset.array("validation")
        with cluster.connected(train.nbytes + validation.nbytes) as nodes:
            tune_trials(plan, live, search, nodes, np.asarray(train), np.asarray(validation))


def trial_of(plan: SweepPlan) -> dict[str, Any]:
    """Return what every trial of a sweep is told, but for the data."""
    return {
        "sweep": str(plan.folder),
        "experiment": plan.experiment.model_dump(mode="json"),
        "item": plan.dataset.schema.item.model_dump(mode="json"),
        "run": {"epochs": plan.budget.epochs, "seed": plan.seed},
        "objective": plan.objective,
    }


def tune_trials(
    plan: SweepPlan,
    live: LiveTracking,
    search: JournaledSearch,
    nodes: cluster.Cluster,
    train: Items,
    validation: Items,
) -> None:
    """Hand the trials that are left to Ray Tune; the arrays go to each node's shared memory once."""
    from ray import tune

    from pipelines.halving import ResumedHalving

    share, epochs = plan.experiment.sweep, plan.budget.epochs
    slots = nodes.slots(plan.name, share.cpus, share.gpus)
    already = sum(len(journal.read().history) for journal in journals(plan.folder))
    trainable = tune.with_parameters(run_trial, **trial_of(plan), train=train, validation=validation)
    first_rung = share.first_rung or -(-epochs // 3)
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": share.cpus, "gpu": share.gpus}),
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
            failure_config=tune.FailureConfig(max_failures=2),
            callbacks=[cluster.callback(live), cluster.callback(SweepProgress(plan, str(nodes), already))],
        ),
    ).fit()


def record_of(plan: SweepPlan, commit: str) -> RunRecord:
    """Read the journals into one record.

    Raises:
        StageError: no trial came to a result.
    """
    trials = tuple(journal.read() for journal in journals(plan.folder))
    scored = [(trial, epoch) for trial in trials if (epoch := trial.best(plan.objective))]
    if not scored:
        reasons = "; ".join(f"trial {t.number} {t.status}: {t.reason}" for t in trials)
        raise StageError(
            f"experiments.{plan.name}: no trial came to a result ({reasons}); delete {plan.folder} to retry"
        )
    best, epoch = min(scored, key=lambda pair: pair[1].metrics[plan.objective])
    model = plan.experiment.model_settings(best.parameters)
    built = model.build(plan.dataset.schema.item)
    weights = Journal.of(plan.folder, best.number).best
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
        weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
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


def code_digest() -> str:
    """Return a digest of the code that decides a sweep's outcome."""
    here = Path(__file__).parent
    files = [*Path(components.__file__).parent.rglob("*.py"), *(here / f"{name}.py" for name in DECISIVE)]
    return digest_of(*((path.name, path.read_text()) for path in sorted(files)))


def git_commit(project: Project) -> str:
    """Return the commit of the working copy, with `+changes` where its code or settings differ; `none` without one."""
    status = ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock"]
    commands = (["git", "rev-parse", "HEAD"], status)
    head, changes = (subprocess.run(c, cwd=project.root, capture_output=True, text=True) for c in commands)
    if head.returncode:
        return "none"
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")


if __name__ == "__main__":
    stage(main)
