"""A sweep's trials as a run record: its weights and pictures beside it, written whole."""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
import tempfile
from pathlib import Path

from safetensors.torch import save

from components.state import State
from pipelines.project import Project, StageError
from pipelines.sweep.plan import Sweep
from pipelines.sweep.plots import draw_history, draw_space
from pipelines.sweep.record import RECORD, WEIGHTS, EpochRecord, RunRecord, TrialRecord, sealed
from pipelines.sweep.trial import BEST
from pipelines.units.storage import Storage
from pipelines.units.unit import read_folder, write_result

PACKAGES = ("torch", "ray", "optuna", "numpy")


def write_run(sweep: Sweep, trials: dict[int, TrialRecord], commit: str) -> None:
    """Write the run record, its weights and its pictures; then delete the journals.

    Raises:
        StageError: no trial came to a result, or a journal is damaged.
    """
    best, epoch = best_of(sweep, trials)
    weights = save(_best_state(sweep, best).part(BEST))
    record = record_of(sweep, trials, best, epoch, weights, commit)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        (made / WEIGHTS).write_bytes(weights)
        (made / RECORD).write_bytes(sealed(record))
        draw_history(record, sweep.objective_in_words, made)
        draw_space(record, sweep.objective_in_words, sweep.settings.space, made)
        write_result(Storage(sweep.folder), sweep.key, read_folder(made))
    sweep.journals.delete()


def best_of(sweep: Sweep, trials: dict[int, TrialRecord]) -> tuple[TrialRecord, EpochRecord]:
    """Return the best trial and its best epoch.

    Raises:
        StageError: no trial has a finite objective.
    """
    scored = [(trial, epoch) for trial in trials.values() if (epoch := trial.best(sweep.objective))]
    if not scored:
        reasons = "; ".join(f"trial {t.number} {t.status}: {t.reason}" for t in trials.values())
        raise StageError(f"no trial came to a result ({reasons}); delete {sweep.journals} to retry")
    return min(scored, key=lambda pair: (pair[1].metrics[sweep.objective], pair[0].number))


def record_of(
    sweep: Sweep, trials: dict[int, TrialRecord], best: TrialRecord, epoch: EpochRecord, weights: bytes, commit: str
) -> RunRecord:
    """Return the record of a sweep whose trials have ended."""
    model = sweep.settings.model_settings(best.parameters)
    built = model.build(sweep.data.schema.item)
    return RunRecord(
        experiment=sweep.experiment,
        dataset=sweep.dataset,
        data_digest=sweep.data.schema.digest,
        key=sweep.key,
        seed=sweep.seed,
        budget=sweep.budget_name,
        epochs=sweep.budget.epochs,
        objective=sweep.objective,
        settings=sweep.settings.model_dump(mode="json"),
        space={path: distribution.text for path, distribution in sweep.settings.space.items()},
        trials=tuple(trial for _, trial in sorted(trials.items())),
        best_trial=best.number,
        best_epoch=epoch.epoch,
        model=model.model_dump(mode="json"),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        parameters=sum(tensor.numel() for tensor in built.state_dict().values()),
        git_commit=commit,
        versions={package: importlib.metadata.version(package) for package in PACKAGES},
    )


def git_commit(project: Project) -> str:
    """Return the commit of the working copy, with `+changes` where its code or settings differ; `none` without one."""
    status = ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock"]
    commands = (["git", "rev-parse", "HEAD"], status)
    head, changes = (subprocess.run(c, cwd=project.root, capture_output=True, text=True) for c in commands)
    if head.returncode:
        return "none"
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")


def _best_state(sweep: Sweep, trial: TrialRecord) -> State:
    journal = sweep.journal(trial.number)
    journal.check()
    state = journal.resume()
    if state is None:
        raise StageError(f"{journal.folder}: trial {trial.number} has no training state")
    return state
