"""Stages on a cluster whose nodes share nothing but an S3 server, and one of which is lost."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster.confined import Emit, confined
from pipelines.sweep.journal import journals
from pipelines.sweep.record import TrialRecord, read_record
from pipelines.units.storage import Storage
from tests.faults.processes import MARK, left_behind
from tests.pipelines import unit_works
from tests.pipelines.nodes import Nodes, wait_for
from tests.pipelines.s3 import bucket
from tests.pipelines.sandbox import PARAMS, Sandbox

STAGES = ("sweep", "export", "evaluate", "studies")
TIMES = ("started", "node", "timestamp", "seconds", "train_items_per_second", "encode_items_per_second")


def params_of(storage: str | None) -> dict[str, Any]:
    """Return settings with a study beside the experiments."""
    params = copy.deepcopy(PARAMS)
    linear = copy.deepcopy(params["experiments"]["digits"]["deep"])
    linear["model"]["network"] = {"kind": "linear"}
    params["experiments"]["digits"]["linear"] = linear
    params["studies"] = {"digits": {"subspaces": {"pca": "pca", "linear": "linear"}}}
    return params | {"storage": storage}


def results(root: Path) -> dict[str, Any]:
    """Return what the stages left, without times and what is derived from them."""

    def timeless(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: timeless(value) for key, value in tree.items() if key not in TIMES}
        return [timeless(one) for one in tree] if isinstance(tree, list) else tree

    found = {}
    for path in sorted(root.rglob("*.json")):
        if path.relative_to(root).parts[0] in ("runs", "metrics", "studies") and path.name != "unit.json":
            tree = json.loads(path.read_text())
            tree.pop("digest", None)  # of a record: it covers the times
            tree.pop("git_commit", None)
            found[str(path.relative_to(root))] = timeless(tree)
    return found


@pytest.fixture(scope="module")
def alone(make_sandbox: Callable[[], Sandbox]) -> dict[str, Any]:
    """Results of the stages on this machine alone, on a Ray of their own."""
    sandbox = make_sandbox()
    sandbox.write_params(params_of(None))
    for stage in ("prepare", *STAGES):
        sandbox.stage(stage, "digits")
    return results(sandbox.root)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with bucket() as url:
        yield url


@pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces need root")
def test_nodes_without_a_shared_folder_come_to_the_same_results(
    sandbox: Sandbox, s3: str, alone: dict[str, Any]
) -> None:
    """Neither node sees the project or this code: code and inputs travel by Ray, journals by S3."""
    sandbox.write_params(params_of(s3))
    sandbox.stage("prepare", "digits")
    token = sandbox.root.with_name(f"{sandbox.root.name}-token")
    token.write_text("0123456789abcdef" * 4)
    tokens = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    with Nodes(sandbox, tokens | {MARK: "own-files"}, own_files=True) as nodes:
        nodes.start()
        nobody = {"HOME": str(sandbox.root), "RAY_py_gcs_connect_timeout_s": "3", "RAY_ADDRESS": nodes.address}
        refused = sandbox.stage("sweep", "digits", fails=True, **nobody)
        nodes.start()
        printed = [sandbox.stage(stage, "digits", RAY_ADDRESS=nodes.address, **tokens).stdout for stage in STAGES]
        sandbox.write_params(params_of(None) | {"seed": 1})
        sandbox.stage("prepare", "digits")
        unseen = sandbox.stage("sweep", "digits", fails=True, RAY_ADDRESS=nodes.address, **tokens)
        sandbox.write_params(params_of(s3))
    assert left_behind("own-files") == ()
    assert refused.stderr.startswith(f"error: RAY_ADDRESS is {nodes.address}, and joining failed: ")
    assert all("2 nodes, 2 CPUs, 0 GPUs" in text for text in printed[:3])
    assert unseen.stderr.count("does not see") == 2
    assert "every node must (`storage`)" in unseen.stderr
    assert "to epoch" not in unseen.stdout
    assert results(sandbox.root) == alone
    assert not (Storage(s3) / "sweeps").names()


def test_nodes_may_join_and_be_killed_while_a_sweep_runs(sandbox: Sandbox, s3: str) -> None:
    """A second node joins, is used, and is killed in the middle of a trial: the same record, no epoch run twice."""
    epochs = 120
    training = sandbox.root / "components" / "training.py"
    start = "        began = time.perf_counter()\n"
    assert training.read_text().count(start) == 1
    training.write_text(training.read_text().replace(start, f"{start}        time.sleep(0.2)\n"))  # time to join
    params = copy.deepcopy(PARAMS)
    deep = params["experiments"]["digits"]["deep"] | {"quick": {"epochs": epochs, "trials": 4}}
    params["experiments"] = {"digits": {"deep": deep}}
    sandbox.write_params(params)
    sandbox.stage("prepare", "digits")
    sandbox.stage("sweep", "digits")
    undisturbed = results(sandbox.root)
    storage = Storage(s3) / "killed"
    sandbox.write_params(params | {"storage": storage.url})
    subprocess.run(["rm", "-rf", sandbox.root / "runs"], check=True)

    def known() -> dict[int, TrialRecord]:
        sweeps = storage / "sweeps"
        found = [journal for name in sweeps.names() for journal in journals(sweeps / name) if journal.exists()]
        return {trial.number: trial for trial in (journal.read() for journal in found)}

    with Nodes(sandbox, {MARK: "killed-node", "RAY_AUTH_MODE": "disabled"}) as nodes:
        nodes.start()
        environment = sandbox.environment | {"RAY_ADDRESS": nodes.address, "RAY_AUTH_MODE": "disabled"}
        command = [sys.executable, "-m", "pipelines.sweep", "digits"]
        process = subprocess.Popen(command, cwd=sandbox.root, env=environment | {MARK: "killed-node"})
        wait_for(lambda: any(trial.history for trial in known().values()))
        joined = nodes.start()
        wait_for(lambda: len({trial.node for trial in known().values() if trial.history}) == 2, seconds=60)
        nodes.kill(joined)
        before = known()
        assert process.wait(240) == 0
        after = read_record(sandbox.root / "runs" / "digits" / "deep")
    assert left_behind("killed-node") == ()
    assert results(sandbox.root) == undisturbed
    for number, trial in before.items():
        assert after.trials[number - 1].history[: len(trial.history)] == trial.history


def test_each_trial_has_a_gpu_to_itself_where_there_are_any(tmp_path: Path) -> None:
    """Ray counts two GPUs here; a trial that asks for none sees none."""

    def work(emit: Emit) -> None:
        import ray

        from pipelines.cluster.session import Session
        from pipelines.cluster.tuner import tune_lineup

        ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)
        session = Session(shared=False)
        emit({"event": "share", "gpus": session.gpu_share})
        shares = [session.gpu_share, session.gpu_share, 0.0]
        meeting = {"meeting": str(tmp_path / "meeting"), "together": 3}
        configs = [{"number": n, "cpus": 1.0, "gpus": share} | meeting for n, share in enumerate(shares)]
        tune_lineup(session, Given(configs), unit_works.report_devices, {}, emit, tmp_path)

    (tmp_path / "meeting").mkdir()
    events = list(confined(work, tmp_path / "log", uses_ray=True))
    assert events[0] == {"event": "share", "gpus": 1.0}
    seen = {e["config"]["number"]: e["metrics"]["device"] for e in events if e["event"] == "epoch"}
    assert {seen[0], seen[1]} == {0, 1}
    assert seen[2] == -1


class Given:
    """A line-up of the given configurations."""

    def __init__(self, configs: list[dict[str, Any]]) -> None:
        self._left = configs

    def next(self) -> dict[str, Any] | None:
        return self._left.pop(0) if self._left else None

    def finished(self) -> bool:
        return not self._left

    def ended(self, config: dict[str, Any]) -> None:
        pass
