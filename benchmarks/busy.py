"""The share of a machine's, or a cluster's, time that goes into trials, after Ray has started.

python -m benchmarks.busy lineup     the default line-up on this machine, from nothing; MNIST must be prepared
python -m benchmarks.busy cluster    40 trials of unequal length on 8 nodes, simulated here: the trials sleep

Prints one line of JSON: the sum over trials of seconds x CPUs, over wall seconds x CPUs.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from components.data import open_dataset
from pipelines.cluster.confined import Emit, confined
from pipelines.project import Project
from pipelines.settings.params import load_params
from pipelines.sweep.plan import sweeps_of
from pipelines.sweep.progress import SweepProgress
from pipelines.sweep.stage import train_lineup
from pipelines.units.storage import Storage

NODES, TRIALS, EPOCHS = 8, 40, 6
SHORTEST, LONGEST = 3.0, 15.0  # seconds of a trial


def lineup() -> dict[str, float]:
    """Sweep the default line-up into a temporary folder."""
    project = Project.here()
    params = load_params(project)
    data = open_dataset(project.data("mnist"))
    with tempfile.TemporaryDirectory() as folder:
        sweeps = [
            replace(sweep, folder=Path(folder) / sweep.experiment, storage=Storage(Path(folder) / "work"))
            for sweep in sweeps_of(project, params, "mnist", (), data)
        ]
        seconds, began, ended, cpus = 0.0, 0.0, 0.0, 0.0
        with SweepProgress(sweeps) as progress:
            for event in confined(lambda emit: train_lineup(sweeps, "none", emit), Path(folder) / "log", uses_ray=True):
                match event["event"]:
                    case "say":
                        began, cpus = time.monotonic(), float(event["text"].split(", ")[1].split()[0])
                        progress.say(event["text"])
                    case "epoch":
                        ended = time.monotonic()
                        seconds += event["metrics"]["seconds"] * event["config"]["cpus"]
                        progress.epoch(event["config"], event["metrics"])
                    case "failed":
                        raise SystemExit(f"{event['name']}: {event['reason']}")
    return {"trial_seconds": seconds, "wall_seconds": ended - began, "cpus": cpus}


class Sleepers:
    """A line-up of trials that sleep, the longest first; see :class:`pipelines.cluster.tuner.Lineup`."""

    def __init__(self) -> None:
        draw = Random(0)
        lengths = sorted((draw.uniform(SHORTEST, LONGEST) for _ in range(TRIALS)), reverse=True)
        self._left = [{"number": n, "seconds": s, "cpus": 1.0, "gpus": 0.0} for n, s in enumerate(lengths, 1)]

    def next(self) -> dict[str, Any] | None:
        """Return the next trial."""
        return self._left.pop(0) if self._left else None

    def finished(self) -> bool:
        """Return whether all trials were begun."""
        return not self._left

    def ended(self, config: dict[str, Any]) -> None:
        """Take no note: a trial that has ended has ended."""


def sleep(config: dict[str, Any], *, node: str, tell: Callable[[dict[str, Any]], None]) -> None:
    """Be a trial: sleep for each epoch."""
    for epoch in range(1, EPOCHS + 1):
        began = time.perf_counter()
        time.sleep(config["seconds"] / EPOCHS)
        tell({"epoch": epoch, "seconds": time.perf_counter() - began})


def on_nodes(emit: Emit) -> None:
    """Run the sleeping trials on a cluster of nodes of one CPU each, started for this."""
    from ray.cluster_utils import Cluster

    from pipelines.cluster.session import connected
    from pipelines.cluster.tuner import tune_lineup

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(NODES - 1):
        cluster.add_node(num_cpus=1)
    os.environ["RAY_ADDRESS"] = cluster.address
    with connected() as session, tempfile.TemporaryDirectory() as folder:
        emit({"event": "say", "text": str(session)})
        tune_lineup(session, Sleepers(), sleep, {}, emit, Path(folder))


def cluster() -> dict[str, float]:
    """Run sleeping trials on a simulated cluster."""
    seconds, began, ended = 0.0, 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for event in confined(on_nodes, Path(folder) / "log", uses_ray=True):
            if event["event"] == "say":
                began = time.monotonic()
                sys.stderr.write(f"{event['text']}\n")
            elif event["event"] == "epoch":
                ended = time.monotonic()
                seconds += event["metrics"]["seconds"]
    return {"trial_seconds": seconds, "wall_seconds": ended - began, "cpus": float(NODES)}


def main() -> None:
    """Print the share of one of the two."""
    parts = {"lineup": lineup, "cluster": cluster}
    if len(sys.argv) != 2 or sys.argv[1] not in parts:
        raise SystemExit(f"usage: python -m benchmarks.busy {'|'.join(parts)}")
    with chdir(Project.here().root):
        found = parts[sys.argv[1]]()
    share = found["trial_seconds"] / (found["wall_seconds"] * found["cpus"])
    print(json.dumps({"benchmark": f"busy {sys.argv[1]}", "share": round(share, 3)} | found))


if __name__ == "__main__":
    main()
