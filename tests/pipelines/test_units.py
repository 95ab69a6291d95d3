"""Units: what is done is left alone, what fails keeps no other from being done, results are whole."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.project import Project, StageError
from pipelines.units.run import run_units
from pipelines.units.storage import Storage
from pipelines.units.unit import Unit, delete_others, result_key, write_result
from tests.pipelines import unit_works


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, tmp_path)


def counting(tmp_path: Path, name: str, key: str = "k") -> Unit:
    """Return a unit that leaves a line in a log each time that it is done."""
    arguments, inputs = {"text": name}, {"log": tmp_path / "log"}
    return Unit(name, f"{key}-{name}", unit_works.count, tmp_path / "made" / name, arguments, inputs)


def text_of(unit: Unit) -> str:
    return unit.storage.read("result.txt").decode()


def test_a_line_up_of_units_is_done_once_with_what_it_needs(project: Project, tmp_path: Path) -> None:
    """On Ray: needed units first, inputs from this machine, a failure beside them, and nothing done twice."""
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "given.txt").write_text("given")
    (tmp_path / "log").mkdir()
    parts = tuple(
        Unit(f"part-{n}", f"part-{n}", unit_works.write, tmp_path / "parts" / str(n), {"text": n}) for n in "12"
    )
    joined = Unit("joined", "j", unit_works.join, tmp_path / "made" / "joined", {"separator": "+"},
                  {"parts": parts, "extra": tmp_path / "extra"})  # fmt: skip
    bad = Unit("bad", "b", unit_works.fail, tmp_path / "made" / "bad", {"why": "no luck\nat all"})
    behind = Unit("behind", "x", unit_works.join, tmp_path / "made" / "behind", {"separator": "+"},
                  {"parts": (bad,), "extra": tmp_path / "extra"})  # fmt: skip
    one = counting(tmp_path, "one")
    with pytest.raises(StageError) as error:
        run_units(project, [joined, behind, one])
    assert str(error.value).splitlines() == [
        "2 of 6 failed, the others are done:",
        "  bad: ValueError: no luck at all",
        "  behind: needs what failed or was lost",
    ]
    assert text_of(joined) == "1+2+given"
    assert text_of(one) == "one"
    assert not (tmp_path / "made" / "bad").exists()
    (line,) = (tmp_path / "log" / "log.txt").read_text().splitlines()
    assert int(line.split()[1]) != os.getpid()

    run_units(project, [joined, one, *parts])
    assert (tmp_path / "log" / "log.txt").read_text().splitlines() == [line]


def test_a_changed_key_or_a_damaged_file_costs_its_unit_alone(project: Project, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    done = [counting(tmp_path, name) for name in ("one", "two")]
    for unit in done:
        run_units(project, [unit])
    run_units(project, [counting(tmp_path, "one"), counting(tmp_path, "two", key="changed")])
    (tmp_path / "made" / "one" / "result.txt").write_text("damaged")
    run_units(project, [counting(tmp_path, "one"), counting(tmp_path, "two", key="changed")])
    assert [line.split()[0] for line in (tmp_path / "log" / "log.txt").read_text().splitlines()] == [
        "one",
        "two",
        "two",
        "one",
    ]
    assert text_of(counting(tmp_path, "one")) == "one"


@pytest.mark.parametrize("damage", ["[]", "{", '{"key": "k", "files": []}', '{"key": "k", "files": {"gone": "0"}}'])
def test_a_damaged_note_of_a_result_is_no_result(tmp_path: Path, damage: str) -> None:
    write_result(Storage(tmp_path / "made"), "k", {"a": b"1"})
    assert result_key(Storage(tmp_path / "made")) == "k"
    (tmp_path / "made" / "unit.json").write_text(damage)
    assert result_key(Storage(tmp_path / "made")) is None


def test_a_single_unit_runs_here_and_its_failure_leaves_the_old_result(project: Project, tmp_path: Path) -> None:
    place = tmp_path / "made" / "it"
    run_units(project, [Unit("it", "1", unit_works.write, place, {"text": "old"})])
    with pytest.raises(StageError, match="it: ValueError: broken"):
        run_units(project, [Unit("it", "2", unit_works.fail, place, {"why": "broken"})])
    assert (place / "result.txt").read_text() == "old"
    assert json.loads((place / "unit.json").read_text())["key"] == "1"


def test_parts_may_lie_on_s3_and_are_kept_there(project: Project, tmp_path: Path, s3: str) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "given.txt").write_text("given")
    parts = tuple(Unit(f"part-{n}", f"p{n}", unit_works.write, Storage(s3) / n, {"text": n}) for n in "12")

    def page(**settings: Any) -> Unit:
        inputs = {"parts": parts, "extra": tmp_path / "extra"}
        return Unit("page", str(settings), unit_works.join, tmp_path / "page", settings, inputs)

    run_units(project, [page(separator="+")])
    assert (tmp_path / "page" / "result.txt").read_text() == "1+2+given"
    kept = {n: (Storage(s3) / n).read("unit.json") for n in "12"}
    shutil.rmtree(tmp_path / "page")
    run_units(project, [page(separator="-")])
    assert (tmp_path / "page" / "result.txt").read_text() == "1-2-given"
    assert {n: (Storage(s3) / n).read("unit.json") for n in "12"} == kept


def test_results_of_what_is_no_longer_asked_for_are_deleted(tmp_path: Path) -> None:
    for name in ("kept", "kept.throughput", "gone", ".kept.partial"):
        (tmp_path / name).mkdir()
    (tmp_path / "gone.json").touch()
    delete_others(tmp_path, ["kept"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "kept.throughput"]
    delete_others(tmp_path / "nothing", ["kept"])
