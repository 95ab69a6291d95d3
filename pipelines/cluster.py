"""Ray: the running cluster that RAY_ADDRESS names, or one of our own for the length of a sweep."""

from __future__ import annotations

import os
import socket
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipelines.project import StageError
from serving.sessions import available_cpus

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that diverges in its first epoch has no figures to report
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@dataclass(frozen=True)
class Cluster:
    """What there is to share among trials: CPUs and GPUs of each node."""

    shares: tuple[tuple[float, float], ...]

    def __str__(self) -> str:
        cpus, gpus = (sum(share) for share in zip(*self.shares, strict=True))
        return f"{len(self.shares)} node{'s' * (len(self.shares) > 1)}, {cpus:g} CPUs, {gpus:g} GPUs"

    def slots(self, experiment: str, cpus: float, gpus: float) -> int:
        """Return how many trials of this size run at once.

        Raises:
            StageError: none does, on any node; Ray would wait for ever.
        """
        fits = [
            min(has // needs for has, needs in zip(node, (cpus, gpus), strict=True) if needs) for node in self.shares
        ]
        if not sum(fits):
            largest = ", ".join(f"{node[0]:g} CPUs and {node[1]:g} GPUs" for node in sorted(set(self.shares)))
            asked = f"{cpus:g} CPUs and {gpus:g} GPUs"
            raise StageError(f"experiments.{experiment}.sweep: a trial asks for {asked}, the nodes have {largest}")
        return int(sum(fits))


@contextmanager
def connected(data_bytes: int) -> Iterator[Cluster]:
    """Connect to Ray, and leave it as it was found.

    Args:
        data_bytes: what the object store of a cluster of our own must hold.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    address = os.environ.get("RAY_ADDRESS", "")
    ours = not ray.is_initialized()
    if ours and address:
        _knock(address)
        ray.init(log_to_driver=False, logging_level="error")
    elif ours:
        ray.init(
            address="local",
            num_cpus=available_cpus(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            object_store_memory=max(200_000_000, 2 * data_bytes),
        )
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        yield Cluster(tuple((node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes))
    finally:
        if ours:
            ray.shutdown()


def callback(watcher: object) -> Any:
    """Return a watcher as a Ray Tune callback, so that what watches a sweep need not know Ray."""
    from ray.tune import Callback

    made: Any = object.__new__(types.new_class(type(watcher).__name__, (type(watcher), Callback)))
    made.__dict__ = vars(watcher)  # one state: what Ray tells the one, the other knows
    return made


def _knock(address: str) -> None:
    """See that somebody answers at `host:port`, for Ray would try for minutes.

    Raises:
        StageError: nobody does.
    """
    host, _, port = address.rpartition("://")[2].partition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise StageError(f"RAY_ADDRESS is {address}, and nobody answers there: {error}") from error
