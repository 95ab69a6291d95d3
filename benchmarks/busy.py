"""The share of a machine's, or a cluster's, time that goes into trials, after Ray has started.

python -m benchmarks.busy lineup     the default line-up on this machine, from nothing; MNIST must be prepared
python -m benchmarks.busy cluster    40 trials of unequal length on 8 nodes, simulated here: the trials sleep

Prints one line of JSON: the sum over trials of seconds x CPUs, over wall seconds x CPUs. The simulated nodes start
their workers all at once on the cores of one machine, where real ones have their own: `all_nodes_after` is the seconds
until every node had ended an epoch.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

from benchmarks.sleepers import Sleepers, sleep
from components.data import open_dataset
from pipelines.cluster.confined import Emit, confined, keep_forkable
from pipelines.project import Project
from pipelines.settings.params import load_params
from pipelines.sweep.plan import sweeps_of
from pipelines.sweep.progress import SweepProgress
from pipelines.sweep.stage import train_lineup
from pipelines.units.storage import Storage

NODES = 8


def lineup() -> dict[str, float]:
    """Sweep the default line-up into a temporary folder."""
    keep_forkable()
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
    first_epochs: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for event in confined(on_nodes, Path(folder) / "log", uses_ray=True):
            if event["event"] == "say":
                began = time.monotonic()
                sys.stderr.write(f"{event['text']}\n")
            elif event["event"] == "epoch":
                ended = time.monotonic()
                seconds += event["metrics"]["seconds"]
                first_epochs.setdefault(event["config"]["number"], ended - began)
    started = sorted(first_epochs.values())[NODES - 1]
    return {"trial_seconds": seconds, "wall_seconds": ended - began, "cpus": float(NODES), "all_nodes_after": started}


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
