"""Asynchronous successive halving (ASHA, Li et al., arXiv 1810.05934) that remembers a sweep that was cut off."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from pipelines.sweep.journal import Journal, journals


class ResumedHalving(ASHAScheduler):
    """ASHA over epochs, its rungs filled from the journals of trials that have ended.

    Args:
        sweep: the folder of the journals.
        objective: what to make small.
        epochs: that a trial takes at most.
        first_rung: epochs before a trial can be stopped.
        reduction: one trial in this many passes a rung.
    """

    def __init__(self, sweep: Path, objective: str, epochs: int, first_rung: int, reduction: float) -> None:
        super().__init__(
            time_attr="epoch",
            metric=objective,
            mode="min",
            max_t=epochs + 1,  # a trial ends by itself after its last epoch
            grace_period=min(first_rung, epochs),
            reduction_factor=reduction,
        )
        self._sweep = sweep
        for past in (journal.read() for journal in journals(sweep)):
            if past.status != "running":
                trial = SimpleNamespace(trial_id=f"past-{past.number}")
                self.on_trial_add(None, trial)
                for epoch in past.history:
                    self.on_trial_result(None, trial, {"epoch": epoch.epoch, "again": True, **epoch.metrics})

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide on an epoch, a stop being noted in the journal; one that is reported again was decided on before."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        if result["again"]:
            decision = TrialScheduler.CONTINUE
        elif decision == TrialScheduler.STOP:
            Journal.of(self._sweep, trial.config["number"]).close("stopped")
        return decision
