from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from items.atomic import write_file, written_file, written_whole


def test_a_file_is_written_with_the_folders_above_it_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.json"
    write_file(path, b"old")
    assert path.read_bytes() == b"old"
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_stays_as_it_was_where_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_file(path, b"old")

    def fail() -> None:
        with written_file(path) as partial:
            partial.write_bytes(b"half of the n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_a_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with written_file(path) as first, written_file(path) as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def write(folder: Path, text: str) -> None:
    with written_whole(folder) as new:
        for name in "abc":
            (new / name).write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_folder_stays_as_it_was_where_writing_fails(tmp_path: Path) -> None:
    folder = tmp_path / "plots"

    def fail() -> None:
        with written_whole(folder) as new:
            (new / "a").write_text("new")
            raise ZeroDivisionError

    write(folder, "old")
    with pytest.raises(ZeroDivisionError):
        fail()
    assert content(folder) == dict.fromkeys("abc", "old")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_kill_while_a_folder_is_replaced_leaves_it_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path, **_: object) -> None:
        if path.exists():
            next(path.iterdir()).unlink()
            raise KeyboardInterrupt

    folder = tmp_path / "plots"
    write(folder, "old")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            write(folder, "new")
    assert content(folder) == dict.fromkeys("abc", "new")
    write(folder, "newer")
    assert list(tmp_path.iterdir()) == [folder]


def test_the_earlier_folder_comes_back_where_the_new_one_cannot_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rename = tmp_path / "plots", Path.rename

    def refused(path: Path, target: Path) -> Path:
        if path.name.endswith(".partial"):
            raise OSError(28, "No space left on device")
        return rename(path, target)

    write(folder, "old")
    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="No space left"):
        write(folder, "new")
    assert content(folder) == dict.fromkeys("abc", "old")
    assert list(tmp_path.iterdir()) == [folder]
