"""Inputs that hang a reader, or take all memory, unless they are read with care."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_cli import one_line, run
from test_inputs import GREY, everything, png
from tiny_bundles import write_linear

from serving import tables
from serving.inputs import InputError, open_input


def test_only_regular_files_of_a_folder_are_read(tmp_path: Path, pictures: np.ndarray) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.png").write_bytes(png(pictures[0]))
    (tmp_path / "outside.png").write_bytes(png(pictures[1]))
    (folder / "inside.png").symlink_to("good.png")
    (folder / "outside.png").symlink_to(tmp_path / "outside.png")
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.png")
    ids, _, reasons = everything(folder, GREY)
    assert ids == ["good.png", "inside.png"]
    assert "named pipe" in reasons["pipe.png"]
    assert "cannot be followed" in reasons["circle.png"]
    assert all("leaves the folder" in reasons[name] for name in ("outside.png", "zero.png"))


def test_a_folder_that_cannot_be_listed_is_an_item_that_cannot_be_read(
    tmp_path: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "x.png").write_bytes(png(pictures[0]))
    scan = os.scandir

    def scandir(path: Path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    ids, _, reasons = everything(tmp_path, GREY)
    assert ids == ["x.png"]
    assert reasons == {"locked/": "it is a folder that cannot be listed"}


@pytest.mark.parametrize("name", ["items.npy", "items.parquet", "items"])
def test_a_pipe_or_a_device_is_no_input(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: .*(named pipe|must be a folder)"):
        open_input(tmp_path / name, GREY)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match=f"{name}: .*(device|must be a folder)"):
        open_input(tmp_path / name, GREY)


BOMB = """
import resource, sys
from serving.inputs import open_input
from items.spec import ItemSpec
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
item = ItemSpec(kind="image", shape=(4, 4, 1), dtype="uint8")
first = next(open_input(sys.argv[1], item).chunks(0, 512))
print(len(first.broken) == len(first.ids) > 0)
"""


def test_a_small_table_of_large_images_takes_little_memory(tmp_path: Path) -> None:
    """Twelve million bytes 512 times, which a dictionary makes a file of a thousand bytes."""
    once = pa.array([bytes(12 << 20)], pa.binary())
    images = pa.DictionaryArray.from_arrays(pa.array(np.zeros(512, np.int32)), once)
    column = pa.StructArray.from_arrays([images], ["bytes"])
    pq.write_table(pa.table({"image": column}), tmp_path / "t.parquet", compression="zstd", store_schema=False)
    assert (tmp_path / "t.parquet").stat().st_size < 2000
    ran = subprocess.run(
        [sys.executable, "-c", BOMB, tmp_path / "t.parquet"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout) == (0, "True\n"), ran.stderr


def test_a_column_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tables, "BATCH_BYTES", 1 << 20)
    images = pa.table({"image": [bytes(1 << 18)] * 5})
    pq.write_table(images, tmp_path / "t.parquet", compression="zstd", use_dictionary=False)
    source = open_input(tmp_path / "t.parquet", GREY)
    with pytest.raises(InputError, match=r"t\.parquet: row group 0: image unpacks \d+ bytes to \d+, at most 100 times"):
        list(source.chunks(0, 512))


def test_ids_count_as_well_however_they_are_nested(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tables, "BATCH_BYTES", 1 << 20)
    rows = pa.table({"id": [["x" * (1 << 18)]] * 5, "image": [b""] * 5})
    pq.write_table(rows, tmp_path / "t.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(InputError, match=r"row group 0: id\.list\.element unpacks \d+ bytes to \d+"):
        list(open_input(tmp_path / "t.parquet", GREY).chunks(0, 512))


def test_an_image_that_is_too_large_is_named(tmp_path: Path, pictures: np.ndarray, monkeypatch) -> None:
    monkeypatch.setattr(tables, "IMAGE_BYTES", 1000)
    images = [png(pictures[0]), bytes(1001), png(pictures[1])]
    pq.write_table(pa.table({"image": images}), tmp_path / "t.parquet")
    ids, _, reasons = everything(tmp_path / "t.parquet", GREY)
    assert ids == ["0", "2"]
    assert reasons == {"1": "it has 1001 bytes, at most 1000 are read"}


def test_large_images_are_unpacked_a_few_rows_at_a_time(tmp_path: Path, pictures: np.ndarray, monkeypatch) -> None:
    encoded = [png(picture) for picture in pictures]
    pq.write_table(pa.table({"image": encoded}), tmp_path / "t.parquet")
    asked: list[int] = []
    iterate = pq.ParquetFile.iter_batches

    def iter_batches(self, size: int, **options):
        asked.append(size)
        return iterate(self, size, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", iter_batches)
    np.testing.assert_array_equal(everything(tmp_path / "t.parquet", GREY, size=20)[1], pictures)
    monkeypatch.setattr(tables, "BATCH_BYTES", 3 * sum(map(len, encoded)))
    np.testing.assert_array_equal(everything(tmp_path / "t.parquet", GREY, size=20)[1], pictures)
    assert asked[0] == 20
    assert 1 <= asked[1] <= 3


def test_damaged_headers_of_arrays_are_refused_in_one_line(tmp_path: Path, pictures: np.ndarray) -> None:
    np.save(tmp_path / "whole.npy", pictures)
    whole = (tmp_path / "whole.npy").read_bytes()
    generator = random.Random(0)
    refused: list[str] = []
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[generator.randrange(118)] = generator.choice(b"\0\n '\"(){}[]09,L\\<" + generator.randbytes(4))
        (tmp_path / "damaged.npy").write_bytes(damaged)
        try:
            assert open_input(tmp_path / "damaged.npy", GREY).total == 23
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 200
    assert all(reason.startswith(f"{tmp_path}/damaged.npy: ") and "\n" not in reason for reason in refused)


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "{array}", "--model", "{model}", "--out", "s3://bucket/codes"],
        ["encode", "s3://bucket/in.npy", "--model", "{model}", "--out", "o"],
        ["decode", "s3://bucket/codes", "--model", "{model}", "--out", "o"],
        ["decode", "{codes}", "--model", "{model}", "--out", "s3://bucket/out"],
    ],
)
def test_a_url_is_refused_in_one_line(
    tmp_path: Path, pictures: np.ndarray, arguments: list[str], monkeypatch, capsys: pytest.CaptureFixture
) -> None:
    model = write_linear(tmp_path / "model")
    np.save(tmp_path / "in.npy", pictures)
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "encode", "in.npy", "--model", model, "--out", "codes") == 0
    capsys.readouterr()
    filled = [each.format(array=tmp_path / "in.npy", model=model, codes="codes") for each in arguments]
    assert run(monkeypatch, *filled) == 1
    assert "is a URL, must be a file or folder on this machine" in one_line(capsys.readouterr().err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codes", "in.npy", "model"]
