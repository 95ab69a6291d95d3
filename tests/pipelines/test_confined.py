"""Work in a process of its own: what it emits arrives, and nothing of it outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pipelines.cluster import confined as module
from pipelines.cluster.confined import Emit, Lost, confined
from pipelines.project import StageError
from tests.faults.processes import MARK, left_behind


def test_confined_work_hands_on_what_it_emits_and_how_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"

    def refuses(emit: Emit) -> None:
        emit([1, "two"])
        raise StageError("not like this")

    def raises(emit: Emit) -> None:
        raise ValueError("x\ny")

    def waits(emit: Emit) -> None:
        subprocess.run(["sleep", "0.8"], check=True)
        time.sleep(60)

    def dies(emit: Emit) -> None:
        subprocess.Popen(["sleep", "60"], env=os.environ | {MARK: "confined"})
        os.kill(os.getpid(), signal.SIGKILL)

    def loses_its_guard(emit: Emit) -> None:
        subprocess.Popen(["sleep", "60"], env=os.environ | {MARK: "unguarded"})
        emit("begun")
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)

    assert list(confined(lambda emit: emit({"a": 1}), log)) == [{"a": 1}]
    events = confined(refuses, log)
    assert next(events) == [1, "two"]
    with pytest.raises(StageError, match="not like this"):
        next(events)
    with pytest.raises(Lost, match="ended by signal 9"):
        list(confined(dies, log))
    assert left_behind("confined", grace=0) == ()
    events = confined(loses_its_guard, log)
    assert next(events) == "begun"
    with pytest.raises(Lost, match="its guard was killed"):
        next(events)
    assert left_behind("unguarded", grace=0) == ()
    with pytest.raises(Lost, match="ValueError: x"):
        list(confined(raises, log))
    monkeypatch.setattr(module, "VITAL", ("sleep",))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(Lost, match="a process that it needs was killed"):
        list(confined(waits, log, uses_ray=True))


def test_a_ray_of_our_own_asks_for_a_token_that_nobody_else_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")

    def environment(emit: Emit) -> None:
        emit({name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")})

    (first,), (second,) = (list(confined(environment, tmp_path / "log", uses_ray=True)) for _ in range(2))
    assert first["RAY_AUTH_MODE"] == "token"
    assert len(first["RAY_AUTH_TOKEN"]) == 64
    assert first["RAY_AUTH_TOKEN"] != second["RAY_AUTH_TOKEN"]
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    (joined,) = confined(environment, tmp_path / "log", uses_ray=True)
    assert joined["RAY_AUTH_MODE"] == "disabled"
