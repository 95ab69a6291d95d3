"""A cluster that grows and loses a node while a sweep runs."""

from __future__ import annotations

import copy
import shutil
import subprocess

from pipelines.sweep.record import TrialRecord, read_record
from pipelines.units.storage import Storage
from tests.faults.processes import MARK, left_behind
from tests.pipelines.nodes import Nodes, wait_for
from tests.pipelines.sandbox import PARAMS, Sandbox
from tests.pipelines.sweeps import COMMAND, journaled, results


def test_nodes_may_join_and_be_killed_while_a_sweep_runs(sandbox: Sandbox, s3: str) -> None:
    """A second node joins, is used, and is killed in the middle of a trial: the same record, no epoch run twice."""
    params = copy.deepcopy(PARAMS)
    deep = params["experiments"]["digits"]["deep"] | {"quick": {"epochs": 120, "trials": 4}}
    params["experiments"] = {"digits": {"deep": deep}}
    sandbox.write_params(params)
    sandbox.prepare()
    slow = sandbox.slow_training(0.2)  # long enough for a node to join
    slow.unlink()
    sandbox.train_here()
    undisturbed = results(sandbox.root)
    storage = Storage(s3) / "killed"
    sandbox.write_params(params | {"storage": storage.url})
    shutil.rmtree(sandbox.root / "runs")

    def known() -> list[TrialRecord]:
        return journaled(sandbox, storage / "sweeps")

    slow.touch()
    with Nodes(sandbox, {MARK: "killed-node", "RAY_AUTH_MODE": "disabled"}) as nodes:
        nodes.start()
        environment = sandbox.environment | {"RAY_ADDRESS": nodes.address, "RAY_AUTH_MODE": "disabled"}
        process = subprocess.Popen(COMMAND, cwd=sandbox.root, env=environment | {MARK: "killed-node"})
        wait_for(lambda: any(trial.history for trial in known()))
        joined = nodes.start()
        wait_for(lambda: len({trial.node for trial in known() if trial.history}) == 2, seconds=60)
        nodes.kill(joined)
        before = known()
        slow.unlink()
        assert process.wait(240) == 0
        after = read_record(sandbox.root / "runs" / "digits" / "deep")
    assert left_behind("killed-node") == ()
    assert results(sandbox.root) == undisturbed
    for trial in before:
        assert after.trials[trial.number - 1].history[: len(trial.history)] == trial.history
