"""Successive halving (Jamieson, Talwalkar, AISTATS 2016): after each rung, one trial in `reduction` goes on.

All trials of an experiment train for as many epochs as the first rung has; the best of them go on to the next rung,
and the others are stopped. What goes on follows from the trials' histories alone, whatever the order in which they
came: a sweep that was killed, or that ran on other nodes, stops the same trials. Trials that wait for the rest of their
rung cost nothing, because other experiments of the line-up train meanwhile. (ASHA, arXiv 1810.05934, does not wait:
there it depends on the machine which trials are stopped.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.sweep.record import TrialRecord


@dataclass(frozen=True)
class Halving:
    """The rungs of one experiment's sweep.

    Attributes:
        objective: the metric to make small.
        trials: how many begin, numbered from 1.
        epochs: that a trial takes at most.
        first_rung: epochs before a trial can be stopped.
        reduction: one trial in this many passes a rung, at least one.
    """

    objective: str
    trials: int
    epochs: int
    first_rung: int
    reduction: float

    @property
    def rungs(self) -> list[int]:
        """The numbers of epochs at which trials wait, rising, the last of them all epochs."""
        found = [min(self.first_rung, self.epochs)]
        while (following := math.ceil(found[-1] * self.reduction)) < self.epochs and self.trials > 1:
            found.append(following)
        return [rung for rung in found if rung < self.epochs and self.trials > 1] + [self.epochs]

    def decide(self, known: Mapping[int, TrialRecord]) -> tuple[dict[int, int], set[int]]:
        """Return what is to be done now.

        Args:
            known: the trials so far by number; those that are missing have not begun.

        Returns:
            The epoch up to which each trial that should run is to be trained, and the trials to be stopped.
        """
        running = set(range(1, self.trials + 1))
        stopped: set[int] = set()
        for rung in self.rungs:
            short = {number for number in running if not self._reached(known.get(number), rung)}
            if short:
                return dict.fromkeys(sorted(short), rung), stopped
            survivors = self._survivors({number: known[number] for number in running}, rung)
            if rung < self.epochs:
                lost = {number for number in running - survivors if known[number].status == "running"}
                stopped |= lost
                running = survivors
        return {}, stopped

    def _reached(self, trial: TrialRecord | None, rung: int) -> bool:
        return trial is not None and (trial.status != "running" or len(trial.history) >= rung)

    def _survivors(self, trials: Mapping[int, TrialRecord], rung: int) -> set[int]:
        """Return the best trials at a rung; of equal ones those with the lower numbers."""
        scored = {
            number: min(epoch.metrics[self.objective] for epoch in trial.history[:rung])
            for number, trial in trials.items()
            if len(trial.history) >= rung
        }
        kept = max(1, math.floor(len(trials) / self.reduction))
        return set(sorted(scored, key=lambda number: (scored[number], number))[:kept])
