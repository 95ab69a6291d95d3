"""Ray: the running cluster that RAY_ADDRESS names, or one of our own for the length of a sweep."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from items.cpus import available_cpus
from pipelines.cluster.confined import Emit, in_one_line
from pipelines.project import StageError
from pipelines.sweep.trial import Unfit, check_fit

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that diverges in its first epoch has no figures to report
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
VITAL = ("gcs_server", "raylet")  # the processes that a Ray of our own cannot go on without; it would wait for minutes
NODE_ANSWERS = 60.0  # seconds to start a worker and import the project


@dataclass(frozen=True)
class Cluster:
    """What there is to share among trials: CPUs and GPUs of each node.

    Attributes:
        shares: of the nodes that can run trials.
        unfit: ids of the nodes that cannot, each with the reason.
    """

    shares: tuple[tuple[float, float], ...]
    unfit: dict[str, str]

    def __str__(self) -> str:
        cpus, gpus = (sum(share) for share in zip(*self.shares, strict=True))
        without = f" (without {'; '.join(self.unfit.values())})" if self.unfit else ""
        return f"{len(self.shares)} node{'s' * (len(self.shares) > 1)}, {cpus:g} CPUs, {gpus:g} GPUs{without}"

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

    def request(self, cpus: float, gpus: float) -> Any:
        """Return a trial's share of a node as Tune asks for it, unfit nodes left out."""
        from ray.tune import PlacementGroupFactory

        bundle = {"CPU": cpus, "GPU": gpus}
        if not self.unfit:
            return PlacementGroupFactory([bundle])
        fit = {"ray.io/node-id": f"!in({','.join(self.unfit)})"}
        return PlacementGroupFactory([bundle], bundle_label_selector=[fit])


@contextmanager
def connected(data_bytes: int, code: str, sweep: str) -> Iterator[Cluster]:
    """Connect to Ray, and leave it as it was found.

    A Ray of our own asks for a token that nobody else has, whatever the environment says of authentication: other users
    of the machine could run code through it.

    Args:
        data_bytes: what the object store of a cluster of our own must hold.
        code: :func:`code_digest` here, which each node must have.
        sweep: the folder of the journals, which each node must see.

    Raises:
        StageError: nobody answers, the token is missing or wrong, or no node can run a trial.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    address = os.environ.get("RAY_ADDRESS", "")
    if address:
        _join(address)
    else:
        _start(data_bytes)
    import ray

    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        unfit = _unfit(nodes, code, sweep) if address else {}
        shares = [node["Resources"] for node in nodes if node["NodeID"] not in unfit]
        if not shares:
            raise StageError(
                f"RAY_ADDRESS is {address}, and none of its nodes can run a trial: {'; '.join(unfit.values())}"
            )
        yield Cluster(tuple((node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in shares), unfit)
    finally:
        if address:  # a Ray of our own ends with this process
            ray.shutdown()


def relay(emit: Emit) -> Any:
    """Return a Ray Tune callback that emits what happens to the trials."""
    from ray.tune import Callback

    class Relay(Callback):  # type: ignore[misc] # Ray ships no types
        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            emit({"event": "started", "trial": trial.config})

        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
            figures = {name: value for name, value in result.items() if isinstance(value, int | float)}
            emit({"event": "epoch", "trial": trial.config, "result": figures})

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            emit({"event": "ended", "trial": trial.config})

        def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            emit({"event": "retried", "trial": trial.config})

    return Relay()


def reason_of(error: BaseException) -> str:
    """Return in a few words why a trial ended without an end of its own, of what Tune says."""
    cause = getattr(error, "cause", None) or error
    return in_one_line(cause)


def _join(address: str) -> None:
    """Connect to the running cluster that RAY_ADDRESS names.

    Raises:
        StageError: nobody answers there, or it refuses; or it is no address of a cluster's head.
    """
    if address == "local" or address.startswith("ray://"):
        raise StageError(f"RAY_ADDRESS is {address}, must be host:port of a cluster's head, or auto")
    _knock(address)
    import ray

    try:
        ray.init(log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        remedy = "where it asks for a token, RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH must give it"
        raise StageError(f"RAY_ADDRESS is {address}, and joining failed: {in_one_line(error)}; {remedy}") from error


def _start(data_bytes: int) -> None:
    """Start a Ray of our own on this machine."""
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
    import ray

    ray.init(
        address="local",
        num_cpus=available_cpus(),
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=max(200_000_000, 2 * data_bytes),
    )


def _unfit(nodes: list[dict[str, Any]], code: str, sweep: str) -> dict[str, str]:
    """Ask each node of a cluster whether it can run trials; return those that cannot, by id, with the reason."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    check = ray.remote(num_cpus=0, max_retries=0)(check_fit)
    asked = {
        node["NodeID"]: check.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(code, sweep)
        for node in nodes
    }
    addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in nodes}
    answered, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=NODE_ANSWERS)
    unfit = {}
    for node, answer in asked.items():
        if answer not in answered:
            continue  # slow, and not known to be unfit: a trial looks for itself
        try:
            ray.get(answer)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", error)
            no_task = f"{addresses[node]} cannot run a task: {in_one_line(cause)}"
            unfit[node] = str(cause) if isinstance(cause, Unfit) else no_task
    return unfit


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
