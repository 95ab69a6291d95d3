"""What to try next: Optuna's suggestions as a Ray Tune searcher, over a sweep's journals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState
from ray.tune.search import Searcher
from scipy.stats import qmc

from pipelines.settings.spaces import Distribution, Parameters
from pipelines.sweep.journal import Journal, journals

SPREAD = 8  # trials before the estimator has anything to go by


class JournaledSearch(Searcher):
    """Spread first, then learn: Halton points, then the tree-structured Parzen estimator (Bergstra et al., NIPS 2011).

    Trials that were running when the sweep was cut off come first, with the parameters that they had; then new ones.
    What a trial draws depends on its number and on the journals alone, so a sweep that was cut off goes on as it would
    have.
    """

    def __init__(self, sweep: Path, space: dict[str, Distribution], objective: str, trials: int, seed: int) -> None:
        super().__init__(metric=objective, mode="min")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sweep, self._seed = sweep, seed
        self._distributions = space
        self._space = {path: distribution.optuna() for path, distribution in space.items()}
        self._ended: dict[int, optuna.trial.FrozenTrial] = {}
        self._numbers: dict[str, int] = {}
        past = {trial.number: trial for trial in (journal.read() for journal in journals(sweep))}
        unfinished = [number for number, trial in past.items() if trial.status == "running"]
        self._left = unfinished + [number for number in range(1, trials + 1) if number not in past]
        for number in sorted(past.keys() - set(unfinished)):
            self._remember(number)

    @property
    def to_run(self) -> int:
        """Trials that have not ended, new ones included."""
        return len(self._left)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return a trial's number and parameters, and when its journal was opened."""
        if not self._left:
            return None
        number = self._left.pop(0)
        journal = Journal.of(self._sweep, number)
        if not journal.exists():
            journal.open(number, self._draw(number))
        self._numbers[trial_id] = number
        trial = journal.read()
        return {"number": number, "parameters": trial.parameters, "opened": trial.started}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Learn from a trial that is over by its own journal, whatever Ray says of it."""
        number = self._numbers.pop(trial_id, None)
        if number is not None and Journal.of(self._sweep, number).read().status != "running":
            self._remember(number)

    def _draw(self, number: int) -> Parameters:
        if number <= SPREAD and self._space:
            # Few trials drawn at random often fall together; a low-discrepancy sequence spreads them.
            point = qmc.Halton(len(self._space), rng=self._seed).random(number)[-1]
            return {path: d.at(share) for (path, d), share in zip(self._distributions.items(), point, strict=True)}
        study = optuna.create_study(sampler=TPESampler(n_startup_trials=1, seed=self._seed * 100_003 + number))
        study.add_trials([self._ended[past] for past in sorted(self._ended)])
        return dict(study.ask(self._space).params)

    def _remember(self, number: int) -> None:
        trial = Journal.of(self._sweep, number).read()
        best = trial.best(self._metric)
        self._ended[number] = optuna.trial.create_trial(
            state=TrialState.COMPLETE if best else TrialState.FAIL,
            value=best.metrics[self._metric] if best else None,
            params=dict(trial.parameters),
            distributions=self._space,
        )

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the journals are the memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the journals are the memory."""
