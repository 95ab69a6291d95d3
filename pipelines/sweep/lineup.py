"""The line-up: the trials of all experiments in one queue, and what halving says of each.

A trial is trained in segments, from one rung to the next: its journal holds all that the next segment needs, so it may
go on in any worker. The segment with most work behind it comes first, which keeps the machine busy to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pipelines.sweep.plan import Sweep
from pipelines.sweep.record import TrialRecord
from pipelines.sweep.sampling import draw

Config = dict[str, Any]


class Lineup:
    """What is to be trained next; see :class:`pipelines.cluster.tuner.Lineup`.

    Args:
        sweeps: those without a run record.
        seconds: of an epoch, about, by the sweep's name.
        complete: is called once for each sweep, with its trials, when the last of them has ended.
        stopped: is called for each trial that is stopped at a rung.
    """

    def __init__(
        self,
        sweeps: Sequence[Sweep],
        seconds: dict[str, float],
        complete: Callable[[Sweep, dict[int, TrialRecord]], None],
        stopped: Callable[[Sweep, int, int], None],
    ) -> None:
        self._sweeps = {sweep.name: sweep for sweep in sweeps}
        self.gpus = 0.0  # a trial's share of GPUs where its settings leave that open
        self._seconds = seconds
        self._complete, self._stopped = complete, stopped
        self._trials = {sweep.name: sweep.trials() for sweep in sweeps}
        self._training: set[tuple[str, int]] = set()
        self._given_up: set[tuple[str, int]] = set()
        self._segments: dict[str, dict[int, int]] = {}
        for sweep in sweeps:
            self._update(sweep)

    @property
    def left(self) -> int:
        """The trials that have not ended."""
        ended = sum(trial.status != "running" for trials in self._trials.values() for trial in trials.values())
        return sum(sweep.budget.trials for sweep in self._sweeps.values()) - ended

    def next(self) -> Config | None:
        """Return the segment with most work behind it; None while all that is left waits for others."""
        ready = self._ready()
        if not ready:
            return None
        name, number = max(ready, key=lambda one: (self._work(*one), -one[1]))
        return self._begin(self._sweeps[name], number)

    def finished(self) -> bool:
        """Return whether nothing will follow, once what is being trained has ended."""
        return not self._training and not self._ready()

    def share(self, sweep: Sweep) -> tuple[float, float]:
        """Return the CPUs and GPUs that a trial of a sweep takes."""
        asked = sweep.settings.sweep
        return asked.cpus, self.gpus if asked.gpus is None else asked.gpus

    def _ready(self) -> list[tuple[str, int]]:
        busy = self._training | self._given_up
        return [(name, n) for name, segments in self._segments.items() for n in segments if (name, n) not in busy]

    def ended(self, config: Config) -> None:
        """Take note of what a trial's journal says; one whose segment is not complete is left to another session."""
        sweep, number = self._sweeps[config["name"]], config["number"]
        self._training.discard((sweep.name, number))
        trial = sweep.journal(number).read()
        self._trials[sweep.name][number] = trial
        if trial.status == "running" and len(trial.history) < config["until"]:
            self._given_up.add((sweep.name, number))
            return
        self._update(sweep)

    def _work(self, name: str, number: int) -> float:
        """Return about how many seconds the trial takes from here to its last epoch."""
        trial = self._trials[name].get(number)
        return self._seconds[name] * (self._sweeps[name].budget.epochs - (len(trial.history) if trial else 0))

    def _begin(self, sweep: Sweep, number: int) -> Config:
        journal, trials = sweep.journal(number), self._trials[sweep.name]
        if number not in trials:
            journal.open(number, draw(number, sweep.settings.space, trials, sweep.objective, sweep.seed))
            trials[number] = journal.read()
        self._training.add((sweep.name, number))
        cpus, gpus = self.share(sweep)
        return {
            "name": sweep.name,
            "number": number,
            "parameters": trials[number].parameters,
            "sweep_started": min(trial.started for trial in trials.values()),
            "until": self._segments[sweep.name][number],
            "journal": journal.folder.url,
            "cpus": cpus,
            "gpus": gpus,
            **sweep.for_trials(),
        }

    def _update(self, sweep: Sweep) -> None:
        trials = self._trials[sweep.name]
        segments, stopped = sweep.halving.decide(trials)
        for number in stopped:
            sweep.journal(number).close("stopped")
            trials[number] = trials[number].model_copy(update={"status": "stopped"})
            self._stopped(sweep, number, len(trials[number].history))
        self._segments[sweep.name] = segments
        if not segments:
            self._complete(sweep, trials)
