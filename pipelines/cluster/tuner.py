"""Ray Tune, given the trials of a whole line-up one by one: when one ends, the line-up says what is next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.search import Searcher

from pipelines.cluster.confined import Emit
from pipelines.cluster.inputs import Shipment
from pipelines.cluster.session import Session, describe

RETRIES = 3  # times within a session that a trial may lose its worker

Train = Callable[..., None]


class Lineup(Protocol):
    """What is to be trained, in what order. A configuration is JSON-able; `cpus` and `gpus` in it are its share."""

    def next(self) -> dict[str, Any] | None:
        """Return the next configuration to train; None while there is none."""

    def finished(self) -> bool:
        """Return whether nothing will follow, once what is being trained has ended."""

    def ended(self, config: dict[str, Any]) -> None:
        """Take note that the training of a configuration has ended, however it did."""


def tune_lineup(
    session: Session, lineup: Lineup, train: Train, inputs: Mapping[str, Path], emit: Emit, folder: Path
) -> None:
    """Train what a line-up hands out, each on a share of a node, until it is finished.

    Emits `started`, `epoch`, `retried` and `lost` events with the configuration.

    Args:
        session: of Ray.
        lineup: what to train.
        train: a module's function, called in a worker as `train(config, node=…, tell=…, **inputs)`; it gives `tell` the
            metrics of every epoch.
        inputs: files and folders that it reads.
        emit: takes the events.
        folder: for Tune's own files, which nothing reads.
    """
    shipped = {name: session.ship(path) for name, path in inputs.items()}
    trainable = tune.with_parameters(_train, train=train, inputs=shipped)
    results = tune.Tuner(
        tune.with_resources(trainable, lambda config: session.request(config["cpus"], config["gpus"])),
        tune_config=tune.TuneConfig(search_alg=LineupSearch(lineup, session), num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[Relay(emit)],
        ),
    ).fit()
    for result in results:
        if result.error:
            emit({"event": "lost", "config": result.config, "reason": describe(result.error)})


class LineupSearch(Searcher):
    """A line-up as Tune asks for it.

    Trials are handed out until one waits for others to end, because a trial that is drawn later can learn from more
    results. CPUs and GPUs of all nodes are added up: where other jobs use some of them, or a share does not divide a
    node, more trials wait.
    """

    def __init__(self, lineup: Lineup, session: Session) -> None:
        super().__init__(metric="epoch", mode="max")
        self._lineup, self._session = lineup, session
        self._given: dict[str, dict[str, Any]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next configuration."""
        if self._one_waits():
            return None
        config = self._lineup.next()
        if config is not None:
            self._given[trial_id] = config
            return config
        return Searcher.FINISHED if self._lineup.finished() else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the line-up; it asks the trial's journal for the rest."""
        if (config := self._given.pop(trial_id, None)) is not None:
            self._lineup.ended(config)

    def _one_waits(self) -> bool:
        given = [(config["cpus"], config["gpus"]) for config in self._given.values()]
        nodes = self._session.nodes
        return any(sum(one[share] for one in given) > sum(node[share] for node in nodes) for share in (0, 1))

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles its settings into a file that is never read."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the journals are the memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the journals are the memory."""


class Relay(tune.Callback):
    """Emits what happens to the trials."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Emit that a trial starts, or goes on."""
        self._emit({"event": "started", "config": trial.config})

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Emit an epoch's metrics."""
        metrics = {name: value for name, value in result.items() if isinstance(value, int | float)}
        self._emit({"event": "epoch", "config": trial.config, "metrics": metrics})

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Emit that a trial lost its worker and gets another."""
        self._emit({"event": "retried", "config": trial.config})


def _train(config: dict[str, Any], train: Train, inputs: dict[str, Shipment]) -> None:
    """Train in a worker."""
    node = ray.get_runtime_context().get_node_id()
    train(config, node=node, tell=tune.report, **{name: given.here() for name, given in inputs.items()})
