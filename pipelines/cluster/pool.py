"""Functions run by Ray's workers, which stay warm from one to the next."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from pipelines.cluster.inputs import Shipment
from pipelines.cluster.session import Session, describe
from pipelines.units.storage import Files

RETRIES = 3  # times that work may lose its worker or node

Given = Shipment | tuple[Shipment, ...]


@dataclass(frozen=True)
class Ended:
    """Work that is over: its files, or why there are none.

    `lost` says that its worker or node was, RETRIES times: that is not the work's own fault.
    """

    name: str
    files: Files | None
    reason: str = ""
    lost: bool = False
    seconds: float = 0.0


class Pool:
    """Work in progress on a session's nodes."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._running: dict[Any, str] = {}

    @property
    def running(self) -> list[str]:
        """The names of the work that was submitted and is not over."""
        return list(self._running.values())

    def submit(
        self,
        name: str,
        work: Callable[..., None],
        arguments: Mapping[str, Any],
        inputs: Mapping[str, Given],
        cpus: float,
        gpus: float,
    ) -> None:
        """Have `work(out, **arguments, **inputs)` run where there is room for its share; first come, first served."""
        task = ray.remote(_run).options(
            name=name, num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES, label_selector=self._session.labels or None
        )
        self._running[task.remote(work, dict(arguments), dict(inputs))] = name

    def ended(self, timeout: float) -> list[Ended]:
        """Return what has come to its end, after waiting for at most `timeout` seconds for the first."""
        ready, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout)
        return [self._outcome(one) for one in ready]

    def _outcome(self, task: Any) -> Ended:
        name = self._running.pop(task)
        try:
            files, seconds = ray.get(task)
            return Ended(name, files, seconds=seconds)
        except ray.exceptions.RayTaskError as error:
            return Ended(name, None, describe(error))
        except ray.exceptions.RayError as error:
            return Ended(name, None, describe(error), lost=True)


def _run(work: Callable[..., None], arguments: dict[str, Any], inputs: dict[str, Given]) -> tuple[Files, float]:
    """Run work in a worker and return its files, and the seconds that it took."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        work(Path(folder), **arguments, **{name: _here(given) for name, given in inputs.items()})
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    return files, time.perf_counter() - began


def _here(given: Given) -> Path | tuple[Path, ...]:
    return tuple(one.here() for one in given) if isinstance(given, tuple) else given.here()
