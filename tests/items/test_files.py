from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from items.errors import ItemError
from items.files import IMAGE_BYTES, names_below, read_within


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "good.png").write_bytes(b"good")
    (folder / "empty.png").write_bytes(b"")
    (folder / "inside.png").symlink_to("good.png")
    (folder / "sub" / "up.png").symlink_to("../good.png")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folder / "outside.png").symlink_to(tmp_path / "secret.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "gone.png").symlink_to("nowhere")
    (folder / "circle.png").symlink_to("circle.png")
    os.mkfifo(folder / "pipe.png")
    with (folder / "large.png").open("wb") as file:
        file.truncate(IMAGE_BYTES + 1)
    (folder / "directory.png").symlink_to("sub")
    return folder


@pytest.mark.parametrize("name", ["good.png", "inside.png", "sub/up.png"])
def test_files_and_links_to_files_inside_are_read(folder: Path, name: str) -> None:
    assert read_within(folder, name)[0] == b"good"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty.png", "it is empty"),
        ("outside.png", "a link that leaves the folder"),
        ("zero.png", "a link that leaves the folder"),
        ("gone.png", "a link to nothing"),
        ("circle.png", "a link that cannot be followed"),
        ("pipe.png", "a named pipe, only regular files"),
        ("directory.png", "it is a folder, only regular files"),
        ("large.png", f"it has {IMAGE_BYTES + 1} bytes, at most {IMAGE_BYTES} are read"),
    ],
)
def test_other_files_are_refused_with_the_reason(folder: Path, name: str, reason: str) -> None:
    with pytest.raises(ItemError, match=reason):
        read_within(folder, name)


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may have 107 characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.png")
        with pytest.raises(ItemError, match="a socket"):
            read_within(tmp_path, "s.png")


def test_names_are_sorted_and_links_to_folders_not_followed(folder: Path) -> None:
    (folder / "sub.png").write_bytes(b"x")
    (folder / "sub" / "notes.txt").write_text("")
    (folder / "again").symlink_to(folder)
    names = list(names_below(folder, {".png"}))
    assert names == sorted(names)
    assert {"sub.png", "sub/up.png", "pipe.png"} < set(names)
    assert not any(name.startswith("again") or name.endswith(".txt") for name in names)


def test_a_folder_that_cannot_be_listed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def scandir(path: Path):
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert "sub/" in list(names_below(folder, {".png"}))
    with pytest.raises(ItemError, match="a folder that cannot be listed"):
        read_within(folder, "sub/")
