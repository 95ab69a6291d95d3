"""The tracking store when several processes want it, and when one is killed while it makes the database."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.tracking.store import Store, UnreachableError, answered
from serving.registry import RegistryError, registered_models

OPEN = """
import sys
from pathlib import Path
from pipelines.tracking.store import Store
store = Store.of(Path(sys.argv[1]))
store.client
print("opened", flush=True)
print(store.experiment_id("digits"))
"""


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def opening(home: Path, before: str = "") -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return subprocess.Popen(
        [sys.executable, "-c", before + OPEN, str(home)], env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def test_processes_that_open_a_fresh_store_at_once_share_one_database(tmp_path: Path) -> None:
    running = [opening(tmp_path) for _ in range(3)]
    for process in running:
        output = process.communicate()
        assert process.returncode == 0, output
    names = sqlite3.connect(tmp_path / "mlflow.db").execute("select name from experiments").fetchall()
    assert sorted(names) == [("Default",), ("digits",)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


KILL = """
import os
from sqlalchemy import event
from sqlalchemy.engine import Engine
left = [{alterations}]

@event.listens_for(Engine, "after_cursor_execute")
def count(connection, cursor, statement, *rest):
    left[0] -= statement.strip().upper().startswith("ALTER TABLE")
    if left[0] == 0:
        os.kill(os.getpid(), 9)
"""


def test_a_kill_while_the_database_is_made_leaves_none_or_a_whole_one(tmp_path: Path) -> None:
    for alterations in random.Random(7).sample(range(1, 12), 2):
        killed = opening(tmp_path, KILL.format(alterations=alterations))
        killed.communicate()
        assert killed.returncode == -9
        assert not (tmp_path / "mlflow.db").exists()
    store = Store.of(tmp_path)
    with answered(store):
        assert store.experiment_id("digits")
    assert not list(tmp_path.glob("*.partial*"))


def half_made(path: Path) -> None:
    """Leave the first tables of a database, as a kill in MLflow's migrations does."""
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine, text

    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(text("alter table runs add column deleted_time bigint"))
    engine.dispose()


@pytest.mark.parametrize("damage", [half_made, lambda path: path.write_bytes(b"no database at all" * 300)])
def test_a_half_made_database_is_one_line_with_the_remedy(
    tmp_path: Path, damage: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(damage)
    damage(tmp_path / "mlflow.db")
    store = Store.of(tmp_path)
    expected = "delete it and run `python -m pipelines.register`"
    with pytest.raises(UnreachableError, match=expected) as raised, answered(store):
        store.experiment_id("digits")
    assert "\n" not in str(raised.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    with pytest.raises(RegistryError, match=expected):
        registered_models()


def test_the_store_is_held_against_other_processes_and_not_against_oneself(tmp_path: Path) -> None:
    store = Store("http://127.0.0.1:9", None, tmp_path / "lock")
    other = f"import fcntl; fcntl.flock(open({str(store.lock)!r}, 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with store.alone(), store.alone():
        assert subprocess.run([sys.executable, "-c", other], capture_output=True).returncode == 1
    assert subprocess.run([sys.executable, "-c", other], capture_output=True).returncode == 0
