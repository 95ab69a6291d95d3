"""Storage: a path and an S3 bucket behave the same."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from pipelines.units.storage import Storage


def test_a_file_is_read_as_it_was_written_and_replaced_whole(storage: Storage) -> None:
    deep = storage / "a" / "b"
    assert not deep.exists("one")
    deep.write("one", b"first")
    deep.write("one", b"second, and longer")
    deep.write("two", b"")
    assert (deep.read("one"), deep.read("two")) == (b"second, and longer", b"")
    assert deep.exists("one")
    with deep.open("one") as file:
        file.seek(8)
        assert file.read(3) == b"and"
    assert deep.names() == ["one", "two"]
    assert storage.names() == ["a"]


def test_what_is_not_there_is_an_error_that_names_it(storage: Storage) -> None:
    assert storage.names() == []
    with pytest.raises(FileNotFoundError, match="nothing"):
        storage.read("nothing")


def test_a_folder_is_deleted_with_all_that_is_in_it_and_nothing_else(storage: Storage) -> None:
    (storage / "gone" / "below").write("file", b"1")
    (storage / "gone2").write("file", b"2")
    (storage / "gone").delete()
    (storage / "never-there").delete()
    assert (storage / "gone").names() == []
    assert (storage / "gone2").read("file") == b"2"


def test_what_a_killed_deletion_left_goes_with_the_next_one(tmp_path: Path) -> None:
    storage = Storage(tmp_path) / "gone"
    (Storage(tmp_path) / ".gone.deleted").write("half", b"1")
    storage.delete()
    assert list(tmp_path.iterdir()) == []


def test_a_file_can_be_removed(storage: Storage) -> None:
    storage.write("one", b"1")
    storage.remove("one")
    assert not storage.exists("one")


def test_it_travels_to_other_processes(storage: Storage) -> None:
    storage.write("one", b"1")
    assert pickle.loads(pickle.dumps(storage)).read("one") == b"1"  # noqa: S301 # our own bytes
    assert pickle.loads(pickle.dumps(storage)) == storage  # noqa: S301


def test_a_password_in_a_url_is_not_shown() -> None:
    storage = Storage("s3://key:secret@bucket/folder?region=x") / "sub"
    assert str(storage) == "s3://bucket/folder/sub?region=x"
    assert "secret" not in repr(storage)


def test_a_crash_in_the_middle_of_a_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(tmp_path)
    storage.write("one", b"old")

    def crash(descriptor: int) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", crash)
        with pytest.raises(OSError, match="no space"):
            storage.write("one", b"new")
    assert storage.read("one") == b"old"
    assert storage.names() == ["one"]
