"""Ray: the running cluster that RAY_ADDRESS names, or one of our own for the length of a sweep."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@dataclass(frozen=True)
class Cluster:
    """What there is to share among trials."""

    nodes: int
    cpus: float
    gpus: float

    def slots(self, cpus: float, gpus: float) -> int:
        """Return how many trials of this size run at once, at least one."""
        by_gpu = self.gpus // gpus if gpus else float("inf")
        return max(1, int(min(self.cpus // cpus, by_gpu)))


@contextmanager
def connected(data_bytes: int) -> Iterator[Cluster]:
    """Connect to Ray, and leave it as it was found.

    Args:
        data_bytes: what the object store of a cluster of our own must hold.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    ours = not ray.is_initialized()
    if ours and os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level="error")
    elif ours:
        ray.init(
            address="local",
            num_cpus=len(os.sched_getaffinity(0)),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            object_store_memory=max(200_000_000, 2 * data_bytes),
        )
    try:
        total = ray.cluster_resources()
        alive = [node for node in ray.nodes() if node["Alive"]]
        yield Cluster(len(alive), total.get("CPU", 1.0), total.get("GPU", 0.0))
    finally:
        if ours:
            ray.shutdown()
