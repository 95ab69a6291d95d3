"""A session of Ray: the running cluster that RAY_ADDRESS names, or a Ray of our own for the length of a stage."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.tune import PlacementGroupFactory
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from items.cpus import available_cpus
from items.errors import one_line
from pipelines.cluster.inputs import Shipment, ship
from pipelines.project import StageError
from pipelines.units.key import ROOMS
from pipelines.units.storage import Storage

NODE_ANSWERS = 60.0  # seconds to start a worker and import the project
OBJECT_STORE = 200_000_000  # bytes, of a Ray of our own: inputs are read where they are, results are small


@dataclass(frozen=True)
class Session:
    """A Ray that work can be given to.

    Attributes:
        shared: whether the cluster is one that was running already; its nodes may not see this machine's files.
        unfit: ids of the nodes that cannot see the storage, each with the reason.
    """

    shared: bool
    unfit: dict[str, str] = field(default_factory=dict)

    @property
    def nodes(self) -> list[tuple[float, float]]:
        """CPUs and GPUs of each node that work can run on."""
        return [
            (float(node["Resources"].get("CPU", 0)), float(node["Resources"].get("GPU", 0)))
            for node in ray.nodes()
            if node["Alive"] and node["NodeID"] not in self.unfit
        ]

    @property
    def gpu_share(self) -> float:
        """A trial's share of GPUs where nothing else is asked for: a whole one, where there are any.

        Several trials on one device would take each other's memory and time unasked.
        """
        return float(any(gpus >= 1 for _, gpus in self.nodes))

    def __str__(self) -> str:
        nodes = self.nodes
        cpus, gpus = (sum(share) for share in zip(*nodes, strict=True))
        without = f" (without {'; '.join(self.unfit.values())})" if self.unfit else ""
        return f"{len(nodes)} node{'s' * (len(nodes) > 1)}, {cpus:g} CPUs, {gpus:g} GPUs{without}"

    def check_share(self, path: str, cpus: float, gpus: float) -> None:
        """See that a share of a node is to be had.

        Raises:
            StageError: no node is as large; Ray would wait without end.
        """
        nodes = self.nodes
        if not any(cpus <= has[0] and gpus <= has[1] for has in nodes):
            largest = ", ".join(f"{has[0]:g} CPUs and {has[1]:g} GPUs" for has in sorted(set(nodes)))
            raise StageError(f"{path}: {cpus:g} CPUs and {gpus:g} GPUs, must fit on a node; the nodes have {largest}")

    def ship(self, path: Path) -> Shipment:
        """Return a file or folder as workers can have it: where it is, or a copy on its way to other machines."""
        return ship(path, copy=self.shared)

    def request(self, cpus: float, gpus: float) -> PlacementGroupFactory:
        """Return a share of a node as Tune asks for it, unfit nodes left out."""
        bundle = {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}
        selector = [self.labels] if self.unfit else None
        return PlacementGroupFactory([bundle], bundle_label_selector=selector)

    @property
    def labels(self) -> dict[str, str]:
        """The labels of nodes that are not unfit."""
        return {"ray.io/node-id": f"!in({','.join(self.unfit)})"} if self.unfit else {}


@contextmanager
def connected(storage: Storage | None = None) -> Iterator[Session]:
    """Connect to Ray, and leave it as it was found.

    On a running cluster the code of this project travels with the work. Ray reads its environment when it is imported:
    this is for a process that :func:`pipelines.cluster.confined.confined` has prepared.

    Args:
        storage: what every node must see, where work reads and writes there.

    Raises:
        StageError: the cluster does not answer, the token is missing or wrong, or no node sees the storage.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    if address:
        _join(address)
    else:
        _start()
    try:
        session = Session(bool(address), _unfit(storage) if address and storage else {})
        if not session.nodes:
            raise StageError(
                f"RAY_ADDRESS is {address}, and none of its nodes can run the work: {'; '.join(session.unfit.values())}"
            )
        yield session
    finally:
        if address:  # a Ray of our own ends with this process
            ray.shutdown()


def _join(address: str) -> None:
    """Connect to the running cluster that RAY_ADDRESS names.

    Raises:
        StageError: it does not answer, or it refuses; or it is no address of a cluster's head.
    """
    if address == "local" or address.startswith("ray://"):
        raise StageError(f"RAY_ADDRESS is {address}, must be host:port of a cluster's head, or auto")
    _check_listening(address)
    root = Path(__file__).parents[2]
    try:
        ray.init(
            log_to_driver=False,
            logging_level="error",
            runtime_env={"py_modules": [str(root / room) for room in ROOMS], "excludes": ["**/__pycache__/"]},
        )
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        remedy = "where it asks for a token, RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH must give it"
        raise StageError(f"RAY_ADDRESS is {address}, and joining failed: {one_line(error)}; {remedy}") from error


def _start() -> None:
    """Start a Ray of our own on this machine."""
    ray.init(
        address="local",
        num_cpus=available_cpus(),
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=OBJECT_STORE,
    )


def _unfit(storage: Storage) -> dict[str, str]:
    """Ask each node whether it sees the storage; return those that do not, by id, with the reason."""
    token = secrets.token_hex(8)
    storage.write(f"seen-{token}", token.encode())
    check = ray.remote(num_cpus=0, max_retries=0)(_sees)
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    asked = {
        node: check.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(storage, token)
        for node in nodes
    }
    answered, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=NODE_ANSWERS)
    unfit = {}
    for node, answer in asked.items():
        if answer not in answered:
            continue  # slow, and not known to be unfit: the work looks for itself
        try:
            if reason := ray.get(answer):
                unfit[node] = f"{nodes[node]} does not see {storage}: {reason}; every node must (`storage`)"
        except ray.exceptions.RayError as error:
            unfit[node] = f"{nodes[node]} cannot run a task: {one_line(getattr(error, 'cause', None) or error)}"
    storage.remove(f"seen-{token}")
    return unfit


def _sees(storage: Storage, token: str) -> str:
    """Return why this machine does not see a file of the storage; empty where it does."""
    try:
        return "" if storage.read(f"seen-{token}") == token.encode() else "its file has another content"
    except OSError as error:
        return one_line(error, 200)


def _check_listening(address: str) -> None:
    """See that a process listens at `host:port`, for Ray would try for minutes.

    Raises:
        StageError: none does.
    """
    host, _, port = address.rpartition("://")[2].partition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise StageError(f"RAY_ADDRESS is {address}, and nothing listens there: {error}") from error


def describe(error: BaseException) -> str:
    """Return in one line why work ended that Ray ran."""
    cause: Any = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {one_line(cause)}" if str(cause).strip() else type(cause).__name__
