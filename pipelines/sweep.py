"""sweep: search an experiment's space with Ray Tune, and record every trial.

python -m pipelines.sweep EXPERIMENT
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import components
from components.data import PreparedDataset, open_dataset
from pipelines import cluster
from pipelines.figures import draw_history, draw_space
from pipelines.progress import SweepProgress
from pipelines.project import Project, StageError, stage
from pipelines.record import WEIGHTS, RunRecord, digest_of, write_record
from pipelines.settings import Budget, ExperimentSettings, Params, load_params
from pipelines.tracking.live import LiveTracking
from pipelines.tracking.runs import SweepRuns
from pipelines.tracking.store import Store
from pipelines.trial import Journal, journals, run_trial

DECISIVE = ("sweep", "trial", "suggest", "search", "settings")  # modules beside this one that shape a sweep


def main(name: str) -> None:
    """Run one experiment's sweep, or go on with it where it was cut off."""
    project = Project.here()
    params = load_params(project)
    experiment = params.experiment(name)
    dataset = open_dataset(project.data(experiment.dataset))
    experiment.check(name, dataset.schema.item)
    plan = SweepPlan(project, params, name, experiment, dataset)
    live = LiveTracking(plan.tracked())
    run_trials(plan, live)
    record = record_of(plan)
    live.complete(record)
    write_run(project.run(name), plan, record)
    shutil.rmtree(plan.folder)
    best = record.best_metrics[plan.objective]
    print(f"{name}: best of {len(record.trials)}: trial {record.best_trial}, {plan.objective} {best:.4g}")  # noqa: T201


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

    def tracked(self) -> SweepRuns:
        """Return where the sweep's runs are tracked."""
        settings = self.experiment.model_dump(mode="json")
        store = Store.of(self.home)
        return SweepRuns.of(store, self.name, settings, self.key, self.budget_name, self.objective)


def run_trials(plan: SweepPlan, live: LiveTracking) -> None:
    """Run every trial that the journals do not hold yet."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    from pipelines.suggest import JournaledSearch

    plan.folder.mkdir(parents=True, exist_ok=True)
    share, budget = plan.experiment.sweep, plan.budget
    search = JournaledSearch(plan.folder, plan.experiment.space, plan.objective, budget.trials, plan.seed)
    if not search.to_run:
        return
    already = sum(len(journal.read().history) for journal in journals(plan.folder))
    train, validation = plan.dataset.array("train"), plan.dataset.array("validation")
    with cluster.connected(train.nbytes + validation.nbytes) as nodes:
        asha = ASHAScheduler(
            time_attr="epoch",
            max_t=budget.epochs + 1,
            grace_period=min(budget.epochs, share.first_rung or -(-budget.epochs // 3)),
            reduction_factor=share.reduction,
            metric=plan.objective,
            mode="min",
        )
        replay(plan.folder, asha, plan.objective)
        trainable = tune.with_parameters(
            run_trial,
            sweep=str(plan.folder),
            experiment=plan.experiment.model_dump(mode="json"),
            item=plan.dataset.schema.item.model_dump(mode="json"),
            run={"epochs": budget.epochs, "seed": plan.seed},
            objective=plan.objective,
            train=np.asarray(train),
            validation=np.asarray(validation),
        )
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": share.cpus, "gpu": share.gpus}),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=asha,
                num_samples=search.to_run,
                max_concurrent_trials=min(search.to_run, nodes.slots(share.cpus, share.gpus)),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="ray",
                storage_path=str(plan.folder),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=2),
                callbacks=[live, SweepProgress(plan, nodes, already)],
            ),
        )
        tuner.fit()
    unfinished = [journal.folder.name for journal in journals(plan.folder) if journal.read().status == "running"]
    if unfinished or len(journals(plan.folder)) < budget.trials:
        raise StageError(f"{plan.name}: cut off with {', '.join(unfinished) or 'trials'} to go; run it again to go on")


def replay(folder: Path, scheduler: Any, objective: str) -> None:
    """Tell a fresh scheduler what the finished trials reported, so that its rungs are as they were."""
    for journal in journals(folder):
        past = journal.read()
        if past.status == "running":
            continue
        trial = SimpleNamespace(trial_id=f"past-{past.number}")
        scheduler.on_trial_add(None, trial)
        for epoch in past.history:
            scheduler.on_trial_result(None, trial, {"epoch": epoch.epoch, objective: epoch.metrics[objective]})


def record_of(plan: SweepPlan) -> RunRecord:
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
        versions={package: importlib.metadata.version(package) for package in ("torch", "ray", "optuna", "numpy")},
    )


def write_run(folder: Path, plan: SweepPlan, record: RunRecord) -> None:
    """Write the run record, its weights and its pictures: whole, or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch, "run")
        made.mkdir()
        shutil.copyfile(Journal.of(plan.folder, record.best_trial).best, made / WEIGHTS)
        write_record(made, record)
        draw_history(record, made)
        draw_space(record, plan.experiment.space, made)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)


def code_digest() -> str:
    """Return a digest of the code that decides a sweep's outcome."""
    here = Path(__file__).parent
    files = [*Path(components.__file__).parent.rglob("*.py"), *(here / f"{name}.py" for name in DECISIVE)]
    return digest_of(*((path.name, path.read_text()) for path in sorted(files)))


if __name__ == "__main__":
    stage(main)
