"""A second job in the folder of a running one, and changes to its input."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_encoding import encode, files
from test_inputs import png

from serving.bundle import Bundle
from serving.decoding import decode_from_shards
from serving.inputs import InputError, open_input
from serving.locks import LockedError, locked
from serving.shards import ShardsError


@pytest.fixture
def array(tmp_path: Path, pictures: np.ndarray) -> Path:
    np.save(tmp_path / "pictures.npy", pictures)
    return tmp_path / "pictures.npy"


def at(count: int, act: Callable[[], object]) -> Callable[[int], None]:
    """Return a `progress` that calls `act` once, when so many items are done."""
    done, acted = 0, False

    def progress(more: int) -> None:
        nonlocal done, acted
        done += more
        if done >= count and not acted:
            acted = True
            act()

    return progress


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_second_job_in_a_folder_is_refused_and_does_no_harm(
    tmp_path: Path, array: Path, linear: Bundle, quantized: Bundle, overwrite: bool
) -> None:
    refused: list[str] = []

    def second() -> None:
        for bundle in (linear, quantized):
            with pytest.raises(LockedError) as caught:
                encode(array, bundle, tmp_path / "out", overwrite=overwrite)
            refused.append(str(caught.value))

    encode(array, linear, tmp_path / "out", progress=at(12, second))
    encode(array, linear, tmp_path / "alone")
    assert files(tmp_path / "out") == files(tmp_path / "alone")
    assert len(refused) == 2
    assert f"process {os.getpid()} on " in refused[0]


def test_a_second_decoding_to_a_folder_is_refused(tmp_path: Path, array: Path, linear: Bundle) -> None:
    encode(array, linear, tmp_path / "codes")

    def second() -> None:
        with pytest.raises(LockedError, match="is writing to it"):
            decode_from_shards(tmp_path / "codes", linear, tmp_path / "out")

    assert decode_from_shards(tmp_path / "codes", linear, tmp_path / "out", progress=at(1, second)) == 23
    assert len(list((tmp_path / "out").glob("*.png"))) == 23
    assert not list(tmp_path.glob(".out*"))


def test_a_lock_is_gone_with_its_process(tmp_path: Path, array: Path, linear: Bundle) -> None:
    (tmp_path / "out").mkdir()
    hold = (
        "import sys, time, pathlib; from serving.locks import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), pathlib.Path('there')): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, tmp_path / "out" / ".lock"],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert holder.stdout
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(LockedError, match=f"process {holder.pid} on"):
        encode(array, linear, tmp_path / "out")
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert (tmp_path / "out" / ".lock").exists()
    assert encode(array, linear, tmp_path / "out").items == 23
    assert not (tmp_path / "out" / ".lock").exists()


def test_a_lock_on_a_file_that_was_removed_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder may remove it after another process opened it and before that one has the lock."""
    path = tmp_path / ".lock"
    opened = Path.open
    removed: list[Path] = []

    def open_then_removed(self: Path, mode: str):
        file = opened(self, mode)
        if not removed:
            removed.append(self)
            self.unlink()
        return file

    monkeypatch.setattr(Path, "open", open_then_removed)
    with locked(path, tmp_path):
        assert removed == [path]
        assert path.exists()


def rewrite(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    with path.open("r+b") as file:
        file.write(content)


def truncate(path: Path) -> None:
    os.truncate(path, 200)


def replace(path: Path) -> None:
    status = path.stat()
    new = path.with_suffix(".new")
    new.write_bytes(path.read_bytes()[::-1])
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    new.rename(path)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("kind", ["npy", "parquet"])
@pytest.mark.parametrize("change", [rewrite, truncate, replace, remove])
@pytest.mark.parametrize("when", [4, 20])
def test_a_file_that_changes_while_it_is_encoded_is_named_and_no_manifest_written(
    tmp_path: Path, array: Path, linear: Bundle, folder_of, pictures, kind: str, change: Callable, when: int
) -> None:
    path = array
    if kind == "parquet":
        encoded = [file.read_bytes() for file in sorted(folder_of(pictures).rglob("*.png"))]
        path = tmp_path / "pictures.parquet"
        pq.write_table(pa.table({"image": encoded}), path, row_group_size=4)
    with pytest.raises(InputError, match=rf"{path.name}: (changed|was removed)"):
        encode(path, linear, tmp_path / "out", progress=at(when, lambda: change(path)))
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: rewrite(folder / "b" / "022.png"),
        lambda folder: remove(folder / "b" / "020.png"),
        lambda folder: remove(folder / "b" / "022.png"),
        lambda folder: (folder / "b" / "0215.png").write_bytes((folder / "a" / "001.png").read_bytes()),
        lambda folder: (folder / "b" / "999.png").write_bytes((folder / "a" / "001.png").read_bytes()),
    ],
    ids=["written", "removed", "last removed", "added", "last added"],
)
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_folder_that_changes_while_it_is_encoded_is_named_and_no_manifest_written(
    tmp_path: Path, linear: Bundle, folder_of, pictures: np.ndarray, change: Callable, on_error: str
) -> None:
    folder = folder_of(pictures)
    source = open_input(folder, linear.manifest.item)
    change(folder)
    with pytest.raises(InputError, match="pictures: changed while it was encoded"):
        encode_source(source, linear, tmp_path / "out", on_error)
    assert not (tmp_path / "out" / "manifest.json").exists()


def encode_source(source, bundle: Bundle, out: Path, on_error: str) -> None:
    from serving.encoding import encode_to_shards

    encode_to_shards(source, bundle, out, batch_size=4, shard_size=8, on_error=on_error)


def test_a_folder_that_is_emptied_while_a_job_writes_to_it_is_not_called_done(
    tmp_path: Path, array: Path, linear: Bundle
) -> None:
    out = tmp_path / "out"

    def empty() -> None:
        for path in out.glob("part-*"):
            path.unlink()

    with pytest.raises(ShardsError, match=r"part-00000\.parquet: the manifest names this file, and it is not there"):
        encode(array, linear, out, progress=at(20, empty))
    assert not (out / "manifest.json").exists()


def test_releasing_a_removed_lock_leaves_the_next_owners_in_place(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path, tmp_path):
        path.unlink()
        with locked(path, tmp_path):
            theirs = path.stat().st_ino
            with pytest.raises(LockedError), locked(path, tmp_path):
                pass
            assert path.stat().st_ino == theirs
    first = locked(path, tmp_path)
    first.__enter__()
    path.unlink()
    with locked(path, tmp_path):
        first.__exit__(None, None, None)
        assert path.exists()


@pytest.mark.parametrize("overwrite", [True, False])
def test_an_input_that_is_named_as_a_shard_is_not_written_over(
    tmp_path: Path, pictures: np.ndarray, linear: Bundle, overwrite: bool
) -> None:
    source = tmp_path / "part-00000.parquet"
    pq.write_table(pa.table({"image": [png(picture) for picture in pictures]}), source)
    content = source.read_bytes()
    with pytest.raises(InputError, match=r"part-00000\.parquet: is in .* and has the name of a shard"):
        encode(source, linear, tmp_path, overwrite=overwrite)
    assert source.read_bytes() == content
