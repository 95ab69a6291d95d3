"""Parameters for the trials of a sweep, by Optuna: points spread over the space, then what past trials suggest."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import QMCSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipelines.settings.spaces import Distribution, Parameters
from pipelines.sweep.record import TrialRecord

SPREAD = 8  # trials before the estimator has anything to go by


def draw(
    number: int, space: Mapping[str, Distribution], past: Mapping[int, TrialRecord], objective: str, seed: int
) -> Parameters:
    """Return the parameters of trial `number`.

    The first are points of a scrambled Halton sequence, of which even a few are spread over the space; they depend on
    the number and the seed alone. Later ones come from the tree-structured Parzen estimator (Bergstra et al., NIPS
    2011). It knows stopped trials at the epoch that they came to, and keeps away from those that are running.

    Args:
        number: of the trial, from 1.
        space: the distributions by dotted path.
        past: the trials that were begun, by number.
        objective: the metric to make small.
        seed: of the sweep.
    """
    if not space:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {path: distribution.optuna() for path, distribution in space.items()}
    if number <= SPREAD:
        return _spread(distributions, seed)[number - 1]
    sampler = TPESampler(n_startup_trials=1, constant_liar=True, seed=seed * 100_003 + number)
    study = optuna.create_study(sampler=sampler)
    study.add_trials([_frozen(trial, distributions, objective) for _, trial in sorted(past.items())])
    return dict(study.ask(distributions).params)


def _spread(distributions: dict[str, BaseDistribution], seed: int) -> list[Parameters]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study = optuna.create_study(sampler=QMCSampler(qmc_type="halton", scramble=True, seed=seed))
        drawn = [dict(study.ask(distributions).params) for _ in range(SPREAD + 1)]
    return drawn[1:]  # the sampler takes the space from its first trial, which it draws independently


def _frozen(trial: TrialRecord, distributions: dict[str, BaseDistribution], objective: str) -> FrozenTrial:
    values = {epoch.epoch: epoch.metrics[objective] for epoch in trial.history}
    best = min(values.values(), default=None)
    if trial.status == "finished":
        state = TrialState.COMPLETE
    elif trial.status in ("failed", "diverged"):
        state = TrialState.FAIL
    else:
        state = TrialState.PRUNED if values else TrialState.RUNNING  # as far as it came: stopped, or waiting at a rung
    return create_trial(
        state=state,
        value=best if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        params=dict(trial.parameters),
        distributions=distributions,
        intermediate_values=values,
    )
