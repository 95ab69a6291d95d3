"""What to try next: Optuna's suggestions as a Ray Tune searcher, over a sweep's journals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher
from scipy.stats import qmc

from pipelines.search import Distribution, Parameters
from pipelines.trial import Journal, journals

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
        self._sweep, self._trials, self._seed = sweep, trials, seed
        self._distributions = space
        self._space = {path: distribution.optuna() for path, distribution in space.items()}
        self._study = optuna.create_study(direction="minimize")
        self._numbers: dict[str, int] = {}
        past = [journal.read() for journal in journals(sweep)]
        self._unfinished = [(trial.number, trial.parameters) for trial in past if trial.status == "running"]
        self._next = 1 + max((trial.number for trial in past), default=0)
        for trial in past:
            if trial.status != "running":
                self._remember(trial.number)

    @property
    def to_run(self) -> int:
        """Trials that are not finished yet, new ones included."""
        return len(self._unfinished) + max(0, self._trials - self._next + 1)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return a trial's number and parameters, its journal opened."""
        if self._unfinished:
            number, parameters = self._unfinished.pop(0)
        elif self._next <= self._trials:
            number, self._next = self._next, self._next + 1
            parameters = self._draw(number)
            Journal.of(self._sweep, number).open(number, parameters)
        else:
            return None
        self._numbers[trial_id] = number
        return {"number": number, "parameters": parameters}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Close the journal of a trial that Ray says is over, and learn from it."""
        number = self._numbers.pop(trial_id)
        Journal.of(self._sweep, number).close("failed" if error else "stopped")
        self._remember(number)

    def _draw(self, number: int) -> Parameters:
        if number <= SPREAD and self._space:
            # Few trials drawn at random often fall together; a low-discrepancy sequence spreads them.
            point = qmc.Halton(len(self._space), rng=self._seed).random(number)[-1]
            return {path: d.at(share) for (path, d), share in zip(self._distributions.items(), point, strict=True)}
        self._study.sampler = optuna.samplers.TPESampler(seed=self._seed * 100_003 + number)
        trial = self._study.ask(self._space)
        return dict(trial.params)

    def _remember(self, number: int) -> None:
        trial = Journal.of(self._sweep, number).read()
        best = trial.best(self._metric)
        state = TrialState.COMPLETE if best else TrialState.FAIL
        value = best.metrics[self._metric] if best else None
        self._study.add_trial(
            optuna.trial.create_trial(
                state=state, params=dict(trial.parameters), distributions=self._space, value=value
            )
        )

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the journals are the memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the journals are the memory."""
