"""Stages on a cluster whose nodes share nothing but an S3 server, and trials that each have a GPU."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipelines.cluster.confined import Emit, confined
from pipelines.evaluate import stage as evaluate
from pipelines.studies import stage as studies
from pipelines.units.storage import Storage
from tests.faults.processes import MARK, left_behind
from tests.pipelines import unit_works
from tests.pipelines.nodes import Nodes
from tests.pipelines.sandbox import PARAMS, Sandbox
from tests.pipelines.sweeps import results

STAGES = ("sweep", "export", "evaluate", "studies")


def params_of(storage: str | None) -> dict[str, Any]:
    """Return settings of three experiments of a trial each, and a study."""
    deep = copy.deepcopy(PARAMS["experiments"]["digits"]["deep"]) | {"quick": {"epochs": 4, "trials": 1}}
    linear = deep | {"model": deep["model"] | {"network": {"kind": "linear"}}}
    experiments = {"pca": PARAMS["experiments"]["digits"]["pca"], "linear": linear, "deep": deep}
    studies = {"subspaces": {"pca": "pca", "linear": "linear"}}
    return PARAMS | {"experiments": {"digits": experiments}, "studies": {"digits": studies}, "storage": storage}


@pytest.fixture(scope="module")
def alone(make_sandbox: Callable[[], Sandbox]) -> dict[str, Any]:
    """Results of the stages without Ray, one unit after the other."""
    sandbox = make_sandbox()
    sandbox.write_params(params_of(None))
    sandbox.train()
    with contextlib.chdir(sandbox.root):
        for name in ("pca", "linear", "deep"):
            evaluate.main("digits", [name])
        studies.main("digits")
    return results(sandbox.root)


@pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces need root")
def test_nodes_without_a_shared_folder_come_to_the_same_results(
    sandbox: Sandbox, s3: str, alone: dict[str, Any]
) -> None:
    """Neither node sees the project or this code: code and inputs travel by Ray, journals by S3."""
    sandbox.write_params(params_of(s3))
    sandbox.prepare()
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
        sandbox.prepare()
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


def test_trials_are_handed_out_until_one_waits() -> None:
    """Workers of all nodes start side by side, and a searcher decides no earlier than it must."""
    from pipelines.cluster.tuner import LineupSearch

    session = SimpleNamespace(nodes=[(2.0, 0.0), (1.0, 1.0)])
    configs = [{"number": n, "cpus": 1.0, "gpus": gpus} for n, gpus in enumerate((0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0))]
    search = LineupSearch(Given(configs), cast(Any, session))
    given = [search.suggest(str(n)) for n in range(5)]
    assert given == [*configs[:4], None]
    search.on_trial_complete("0")
    assert search.suggest("4") == configs[4]
    search.on_trial_complete("1")
    search.on_trial_complete("3")
    assert search.suggest("5") == configs[5]
    assert search.suggest("6") is None  # a second GPU is waited for
    session.nodes.append((1.0, 1.0))
    assert search.suggest("6") == configs[6]


class Given:
    """A line-up of the given configurations."""

    def __init__(self, configs: list[dict[str, Any]]) -> None:
        self._left = list(configs)

    def next(self) -> dict[str, Any] | None:
        return self._left.pop(0) if self._left else None

    def finished(self) -> bool:
        return not self._left

    def ended(self, config: dict[str, Any]) -> None:
        pass
