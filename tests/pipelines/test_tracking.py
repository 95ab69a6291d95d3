"""The tracking store: made whole or not at all, written by one process at a time, with every setting that was given."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.tracking.runs import SweepRuns, given
from pipelines.tracking.store import Store, UnreachableError, answered

SETTINGS: dict[str, Any] = {
    "dataset": "digits",
    "model": {
        "kind": "autoencoder",
        "network": {"kind": "mlp", "hidden": [64, 32]},
        "bottleneck": {"kind": "vector_quantizer", "entries": 512, "commitment": {"uniform": [0.1, 0.5]}},
        "penalties": [{"kind": "l1", "weight": {"log_uniform": [0.01, 1.0]}}, {"kind": "contractive", "weight": 0.25}],
    },
    "quick": {"epochs": 4, "trials": 3},
}
MAKES_A_STORE = """
import sys
from pathlib import Path
from pipelines.tracking.store import Store
Store.of(Path(sys.argv[1])).experiment_id("digits")
"""
FIXED = {
    "model": "autoencoder",
    "network": "mlp",
    "network.hidden": [64, 32],
    "bottleneck": "vector_quantizer",
    "bottleneck.entries": 512,
    "penalties.0": "l1",
    "penalties.1": "contractive",
    "penalties.1.weight": 0.25,
}
DRAWN = {"model.bottleneck.commitment": 0.3, "model.penalties.0.weight": 0.0312345}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Store.of(tmp_path_factory.mktemp("tracking"))


def test_settings_that_are_given_stand_under_their_paths_without_those_that_are_searched() -> None:
    assert given(SETTINGS["model"]) == FIXED


def test_a_sweep_shows_what_it_was_given_and_a_trial_what_it_drew(store: Store) -> None:
    runs = SweepRuns(store, "digits-vqvae", SETTINGS, "key", "quick", "validation_squared_error")
    parent = runs.parent(1000)
    trial = runs.trial(parent, 1, DRAWN, 2000)
    shown = {name: str(value) for name, value in FIXED.items()}
    found = store.client.get_run(parent.info.run_id).data.params
    assert found == shown | {"budget": "quick", "epochs": "4", "trials": "3"}
    drawn = {"bottleneck.commitment": "0.3", "penalties.0.weight": "0.03123"}
    assert store.client.get_run(trial.info.run_id).data.params == shown | drawn


def test_more_settings_than_mlflow_takes_at_once_and_longer_ones_are_logged(store: Store) -> None:
    run = store.client.create_run(store.experiment_id("many"))
    runs = SweepRuns(store, "many", SETTINGS, "key", "quick", "validation_squared_error")
    runs.log_parameters(run, {f"layer.{n}": n for n in range(130)} | {"long": "x" * 7000})
    found = store.client.get_run(run.info.run_id).data.params
    assert (len(found), found["layer.129"], len(found["long"])) == (131, "129", 6000)


def test_a_database_whose_making_was_killed_is_made_by_the_next_process(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    for pause in (0.0, 0.2):
        maker = subprocess.Popen(
            [sys.executable, "-c", MAKES_A_STORE, str(tmp_path)],
            env=environment,
            start_new_session=True,
            stderr=subprocess.PIPE,
        )
        while maker.poll() is None and not any(f.stat().st_size for f in tmp_path.glob("mlflow.db*")):
            time.sleep(0.005)
        time.sleep(pause)
        assert maker.poll() is None, "it was to be killed while it makes the database"
        os.killpg(maker.pid, signal.SIGKILL)
        maker.communicate()
    done = subprocess.run(
        [sys.executable, "-c", MAKES_A_STORE, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} - {"mlartifacts"} == {"mlflow.db", "mlflow.db.lock"}


def test_a_database_that_is_damaged_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(b"SQLite format 3\0" + bytes(200))
    store = Store.of(tmp_path)
    with (
        pytest.raises(UnreachableError, match=r"delete or repair .*mlflow\.db and run `python -m pipelines\.register`"),
        answered(store),
    ):
        store.experiment_id("digits")


def _hold(store: Store, held: Any, release: Any) -> None:
    with store.alone():
        held.set()
        release.wait(30)


def test_one_process_at_a_time_writes_to_a_store(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    held, release, second = context.Event(), context.Event(), context.Event()
    first = context.Process(target=_hold, args=(store, held, release))
    other = context.Process(target=_hold, args=(store, second, release))
    first.start()
    assert held.wait(30)
    other.start()
    assert not second.wait(0.3)
    release.set()
    assert second.wait(30)
    first.join()
    other.join()
