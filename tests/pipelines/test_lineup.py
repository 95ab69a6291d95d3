"""The line-up: which trial comes next, and what is drawn for it, also after a driver was killed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from components.data import PreparedDataset
from components.state import State
from items.spec import ItemSpec
from pipelines.project import StageError
from pipelines.settings.experiment import Budget, ExperimentSettings, SweepSettings
from pipelines.sweep.journal import journals
from pipelines.sweep.lineup import Lineup
from pipelines.sweep.plan import Sweep
from pipelines.sweep.record import EpochRecord
from pipelines.units.storage import Storage

ITEM = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")
MODEL = {"rate": {"log_uniform": [1e-4, 1e-1]}, "size": {"integer": [2, 9]}, "kind": {"choice": ["x", "y", "z"]}}


def sweep_in(folder: Path, trials: int, name: str = "deep") -> Sweep:
    """Return a sweep of one epoch a trial, of a model that is never built."""
    data = cast(PreparedDataset, SimpleNamespace(schema=SimpleNamespace(item=ITEM, digest="data")))
    settings = ExperimentSettings(model=MODEL, sweep=SweepSettings(objective="loss"))
    return Sweep("digits", name, settings, Budget(epochs=1, trials=trials), "quick", 0, data, folder, Storage(folder))


def lineup_of(*sweeps: Sweep) -> Lineup:
    return Lineup(sweeps, {sweep.name: 1.0 for sweep in sweeps}, lambda *_: None, lambda *_: None)


def train(sweep: Sweep, config: dict[str, Any], value: float) -> None:
    """Write what a trial's worker would have written."""
    journal = sweep.journal(config["number"])
    epoch = EpochRecord(epoch=1, timestamp=1, seconds=1, metrics={sweep.objective: value}).model_dump()
    attempt = journal.begin("node")
    journal.save(attempt, State({"model.a": torch.ones(1)}, {"epoch": 1, "history": [epoch]}))
    journal.close("finished", attempt=attempt)


def test_trials_are_numbered_counted_and_journaled(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path, trials=2)
    lineup = lineup_of(sweep)
    first, second, third = (lineup.next() for _ in range(3))
    assert ((first or {})["number"], (second or {})["number"], third) == (1, 2, None)
    assert [journal.read().status for journal in journals(sweep.journals)] == ["running", "running"]
    assert lineup.left == 2
    assert not lineup.finished()


def test_a_resumed_line_up_hands_out_the_unfinished_and_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    def run(folder: Path, killed_after: int | None) -> list[object]:
        sweep = sweep_in(folder, trials=12)
        lineup, drawn = lineup_of(sweep), []
        for number in range(1, 13):
            config = lineup.next()
            if number == killed_after:  # the driver dies; a new one starts on the same journals
                lineup = lineup_of(sweep)
                again = lineup.next()
                assert (again or {})["parameters"] == (config or {})["parameters"]
            assert config is not None
            assert config["number"] == number
            drawn.append(config["parameters"])
            train(sweep, config, value=float(number % 5))
            lineup.ended(config)
        assert lineup.finished()
        return drawn

    straight = run(tmp_path / "straight", None)
    assert straight == run(tmp_path / "early", 5)
    assert straight == run(tmp_path / "late", 11)


def test_a_finished_trial_is_never_handed_out_again(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path, trials=2)
    train(sweep, lineup_of(sweep).next() or {}, value=1.0)
    resumed = lineup_of(sweep)
    assert resumed.left == 1
    assert (resumed.next() or {})["number"] == 2
    assert resumed.next() is None


def test_a_journal_that_was_lost_is_drawn_again(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path, trials=3)
    lineup = lineup_of(sweep)
    configs = [lineup.next() or {} for _ in range(3)]
    for config in configs:
        train(sweep, config, value=1.0)
    sweep.journal(1).folder.delete()
    again = lineup_of(sweep)
    assert again.left == 1
    assert (again.next() or {})["parameters"] == configs[0]["parameters"]


def test_the_trial_with_most_work_comes_first(tmp_path: Path) -> None:
    short, long = sweep_in(tmp_path, trials=2, name="short"), sweep_in(tmp_path, trials=2, name="long")
    lineup = Lineup([short, long], {short.name: 1.0, long.name: 9.0}, lambda *_: None, lambda *_: None)
    order = [lineup.next() or {} for _ in range(4)]
    assert [(config["name"], config["number"]) for config in order] == [
        ("digits-long", 1), ("digits-long", 2), ("digits-short", 1), ("digits-short", 2),
    ]  # fmt: skip


def test_a_line_up_refuses_a_history_that_nobody_wrote(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path, trials=2)
    lineup = lineup_of(sweep)
    config = lineup.next() or {}
    train(sweep, config, value=1234.5)
    (state,) = tmp_path.rglob("state-*.safetensors")
    state.write_bytes(state.read_bytes().replace(b"1234.5", b"1.2345"))
    with pytest.raises(StageError, match=rf"{state.name} is damaged: .*; delete .*trial-001 to run this trial"):
        lineup_of(sweep)
