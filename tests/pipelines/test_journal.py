"""Journals: what a trial leaves, in a folder or on S3; damage is refused, and old attempts do no harm."""

from __future__ import annotations

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from components.state import State
from pipelines.project import StageError
from pipelines.sweep.journal import Journal, Superseded, journals
from pipelines.sweep.record import EpochRecord
from pipelines.units.storage import Storage


def state(*values: float) -> State:
    """Return the training state after as many epochs as there are values."""
    history = [
        EpochRecord(epoch=n, timestamp=n, seconds=1, metrics={"validation_loss": value}).model_dump()
        for n, value in enumerate(values, 1)
    ]
    return State({"model.a": torch.ones(2), "best.a": torch.ones(2)}, {"epoch": len(values), "history": history})


def test_a_trial_goes_on_from_the_last_epoch_that_any_attempt_kept(storage: Storage) -> None:
    journal = Journal.of(storage, 7)
    assert not journal.exists()
    journal.open(7, {"model.rate": 0.1})
    assert (journal.read().status, journal.read().history, journal.resume()) == ("running", (), None)
    first = journal.begin("one node")
    journal.save(first, state(3.0))
    journal.save(first, state(3.0, 2.0))
    second = journal.begin("another node")
    assert second == first + 1
    assert journal.read().node == "another node"
    assert [epoch.epoch for epoch in journal.read().history] == [1, 2]
    resumed = journal.resume()
    assert resumed is not None
    assert resumed.rest["epoch"] == 2
    journal.save(second, state(3.0, 2.0, 1.0))
    journal.close("finished", attempt=second)
    assert [each.read().number for each in journals(storage)] == [7]
    assert journal.read().status == "finished"
    with pytest.raises(Superseded):
        journal.begin("a third node")


def test_an_attempt_that_wakes_again_does_no_harm(storage: Storage) -> None:
    """The first attempt was given up as lost; it writes, closes and goes on after the second has begun."""
    journal = Journal.of(storage, 1)
    journal.open(1, {})
    first = journal.begin("lost")
    journal.save(first, state(3.0))
    second = journal.begin("found")
    with pytest.raises(Superseded, match="attempt 1: the trial is at attempt 2"):
        journal.expect(first)
    journal.expect(second)
    journal.save(second, state(3.0, 2.0))
    journal.save(first, state(9.0, 9.0, 9.0))
    journal.close("failed", "too late", attempt=first)
    assert journal.read().status == "running"
    assert [epoch.metrics["validation_loss"] for epoch in journal.read().history] == [3.0, 2.0]
    journal.close("stopped")
    assert (journal.read().status, journal.read().reason) == ("stopped", "")


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """The folder of a sweep with one trial that ended and one that goes on."""
    for number, ended in ((1, True), (2, False)):
        journal = Journal.of(Storage(tmp_path), number)
        journal.open(number, {"model.training.learning_rate": 1e-3})
        attempt = journal.begin("a node")
        journal.save(attempt, state(2.0))
        if ended:
            journal.close("finished", attempt=attempt)
    return tmp_path


@pytest.mark.parametrize("name", ["trial.json", "attempt-001.json", "state-001.safetensors", "end-001.json"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_damaged_journal_is_refused_by_name(swept: Path, number: int, name: str) -> None:
    if (number, name) == (2, "end-001.json"):
        return  # it has not ended
    journal = Journal.of(Storage(swept), number)
    journal.check()
    path = swept / f"trial-00{number}" / name
    whole = path.read_bytes()
    damages = [whole[:length] for length in (0, 1, 7, 8, 9, len(whole) // 2, len(whole) - 1)]
    damages += [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in range(0, len(whole), 7)]
    damages += [b"null", b"[]", b"{}", b'"x"', b"\xff\xfe", b"[" * 5000]
    if name == "trial.json":
        entry = json.loads(whole)
        damages += [json.dumps(entry | {key: [None]}).encode() for key in entry]
    for damaged in damages:
        path.write_bytes(damaged)
        with pytest.raises(StageError) as refusal:
            journal.check()
        assert str(refusal.value).startswith(f"{path} is damaged: ")
        assert f"delete {path.parent} to run this trial from its start" in str(refusal.value)


@pytest.mark.parametrize("name", ["trial.json", "state-001.safetensors"])
def test_a_file_that_an_ended_trial_lacks_is_missed(swept: Path, name: str) -> None:
    (swept / "trial-001" / name).unlink()
    with pytest.raises(StageError, match="is damaged: missing"):
        Journal.of(Storage(swept), 1).check()


def test_a_state_that_is_replaced_while_it_is_read_is_no_damage(storage: Storage) -> None:
    journal = Journal.of(storage, 1)
    journal.open(1, {})
    attempt = journal.begin("node")
    journal.save(attempt, state(1.0))
    over = threading.Event()

    def train() -> None:
        epochs = itertools.cycle((1, 200, 3, 100))
        while not over.is_set():
            journal.save(attempt, state(*[1.0] * next(epochs)))

    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train)
        try:
            for _ in range(25):
                assert journal.read().history[0].epoch == 1
                assert journal.resume() is not None
        finally:
            over.set()
        training.result()
