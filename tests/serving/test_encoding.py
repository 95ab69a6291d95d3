from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_bundles import SHAPE, write_linear, write_quantized

from serving.bundle import Bundle
from serving.encoding import encode_to_shards
from serving.inputs import InputError, open_input
from serving.shards import CodesManifest, ShardsError, read_codes, read_codes_manifest

SMALL = {"batch_size": 4, "shard_size": 8}


class KilledError(Exception):
    pass


@pytest.fixture
def array(tmp_path: Path, pictures: np.ndarray) -> Path:
    np.save(tmp_path / "pictures.npy", pictures)
    return tmp_path / "pictures.npy"


def encode(path: Path, bundle: Bundle, out: Path, **options) -> CodesManifest:
    return encode_to_shards(open_input(path, bundle.manifest.item), bundle, out, **{**SMALL, **options})


def killed_after(count: int) -> Callable[[int], None]:
    done = 0

    def progress(more: int) -> None:
        nonlocal done
        done += more
        if done > count:
            raise KilledError

    return progress


def files(folder: Path) -> dict[str, bytes]:
    """All that a job left, but for how long it took."""
    content = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    manifest = json.loads((folder / "manifest.json").read_bytes())
    content["manifest.json"] = json.dumps({k: v for k, v in manifest.items() if "second" not in k}).encode()
    return content


def test_shards_hold_what_the_bundle_encodes(
    tmp_path: Path, array: Path, pictures: np.ndarray, linear: Bundle, quantized: Bundle
) -> None:
    for bundle in (linear, quantized):
        manifest = encode(array, bundle, tmp_path / "out" / bundle.name)
        shards = list(read_codes(tmp_path / "out" / bundle.name))
        codes = np.concatenate([codes for _, codes in shards])
        np.testing.assert_array_equal(codes, bundle.encode(pictures, batch_size=4))
        assert codes.dtype == bundle.manifest.code.dtype
        assert [name for ids, _ in shards for name in ids] == [str(row) for row in range(23)]
        assert [shard.count for shard in manifest.shards] == [8, 8, 7]
        assert manifest.items == 23
        assert manifest.code == bundle.manifest.code
        assert manifest.job.bundle.digest == bundle.manifest.digest


def test_a_shard_is_a_plain_parquet_table(tmp_path: Path, array: Path, quantized: Bundle) -> None:
    encode(array, quantized, tmp_path / "out")
    schema = pq.read_schema(tmp_path / "out" / "part-00000.parquet")
    assert schema.field("id").type == pa.string()
    assert schema.field("code").type.list_size == 4
    assert schema.field("code").type.value_type == pa.uint8()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "manifest.json",
        *(f"part-{index:05d}.parquet" for index in range(3)),
    ]


def test_array_and_folder_give_the_same_codes(
    tmp_path: Path, array: Path, pictures: np.ndarray, linear: Bundle, folder_of: Callable[[np.ndarray], Path]
) -> None:
    encode(array, linear, tmp_path / "x")
    encode(folder_of(pictures), linear, tmp_path / "y")
    for (_, one), (ids, other) in zip(read_codes(tmp_path / "x"), read_codes(tmp_path / "y"), strict=True):
        np.testing.assert_array_equal(one, other)
        assert all(name.endswith(".png") for name in ids)


@pytest.mark.parametrize("count", [0, 3, 8, 13, 19, 22])
def test_a_killed_job_ends_with_the_same_bytes(
    tmp_path: Path, pictures: np.ndarray, linear: Bundle, folder_of: Callable[[np.ndarray], Path], count: int
) -> None:
    """Entries 2, 9, 10 and the last two are broken: before, between and after shards."""
    folder = folder_of(pictures)
    for row in (2, 9, 10, 21, 22):
        (folder / "ab"[row >= 10] / f"{row:03d}.png").write_bytes(b"broken")
    whole, broken_off = tmp_path / "whole", tmp_path / "broken off"
    encode(folder, linear, whole, on_error="skip")
    with pytest.raises(KilledError):
        encode(folder, linear, broken_off, on_error="skip", progress=killed_after(count))
    with pytest.raises(ShardsError, match="holds no finished codes"):
        read_codes_manifest(broken_off)
    manifest = encode(folder, linear, broken_off, on_error="skip")
    assert files(broken_off) == files(whole)
    assert [item.id for item in manifest.skipped] == [f"{'ab'[r >= 10]}/{r:03d}.png" for r in (2, 9, 10, 21, 22)]


def test_finished_shards_are_not_encoded_again(
    tmp_path: Path, array: Path, quantized: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KilledError):
        encode(array, quantized, tmp_path / "out", progress=killed_after(16))
    before = (tmp_path / "out" / "part-00000.parquet").stat().st_mtime_ns
    encoded = []
    original = Bundle.encode
    monkeypatch.setattr(
        Bundle, "encode", lambda self, items, size: encoded.append(len(items)) or original(self, items, size)
    )
    encode(array, quantized, tmp_path / "out")
    assert sum(encoded) == 23 - 16
    assert (tmp_path / "out" / "part-00000.parquet").stat().st_mtime_ns == before


def test_a_shard_damaged_meanwhile_is_encoded_again(tmp_path: Path, array: Path, quantized: Bundle) -> None:
    encode(array, quantized, tmp_path / "whole")
    with pytest.raises(KilledError):
        encode(array, quantized, tmp_path / "out", progress=killed_after(20))
    (tmp_path / "out" / "part-00001.parquet").write_bytes(b"damaged")
    encode(array, quantized, tmp_path / "out")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_finished_job_is_left_alone(tmp_path: Path, array: Path, quantized: Bundle) -> None:
    first = encode(array, quantized, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert encode(array, quantized, tmp_path / "out") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("finished", [True, False])
def test_another_jobs_codes_are_replaced_only_on_request(
    tmp_path: Path, array: Path, linear: Bundle, quantized: Bundle, finished: bool
) -> None:
    out = tmp_path / "out"
    if finished:
        encode(array, linear, out)
    else:
        with pytest.raises(KilledError):
            encode(array, linear, out, progress=killed_after(16))
    (out / "notes.txt").write_text("mine")
    kept = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    with pytest.raises(ShardsError, match=r"codes of another job \(bundle"):
        encode(array, quantized, out)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == kept
    encode(array, quantized, out, overwrite=True)
    encode(array, quantized, tmp_path / "fresh")
    assert (out / "notes.txt").read_text() == "mine"
    (out / "notes.txt").unlink()
    assert files(out) == files(tmp_path / "fresh")


def test_a_killed_job_goes_on_under_overwrite_and_a_finished_one_is_done_anew(
    tmp_path: Path, array: Path, linear: Bundle, quantized: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    encode(array, linear, out)
    with pytest.raises(KilledError):
        encode(array, quantized, out, overwrite=True, progress=killed_after(16))
    encoded: list[int] = []
    original = Bundle.encode
    monkeypatch.setattr(
        Bundle, "encode", lambda self, items, size: encoded.append(len(items)) or original(self, items, size)
    )
    for expected in (23 - 16, 23):
        encode(array, quantized, out, overwrite=True)
        assert sum(encoded) == expected
        encoded.clear()
    encode(array, quantized, tmp_path / "fresh")
    assert files(out) == files(tmp_path / "fresh")


def test_a_changed_input_does_not_go_on(tmp_path: Path, array: Path, pictures: np.ndarray, linear: Bundle) -> None:
    with pytest.raises(KilledError):
        encode(array, linear, tmp_path / "out", progress=killed_after(16))
    np.save(array, pictures[::-1])
    with pytest.raises(ShardsError, match=r"unfinished codes of another job \(input"):
        encode(array, linear, tmp_path / "out")


def test_shards_of_another_job_are_not_overwritten(tmp_path: Path, array: Path, linear: Bundle) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part-00000.parquet").write_text("of another job")
    with pytest.raises(ShardsError, match="a shard of another job"):
        encode(array, linear, tmp_path / "out")
    assert (tmp_path / "out" / "part-00000.parquet").read_text() == "of another job"


def test_a_broken_image_stops_the_job_or_is_listed(
    tmp_path: Path, pictures: np.ndarray, linear: Bundle, folder_of: Callable[[np.ndarray], Path]
) -> None:
    folder = folder_of(pictures)
    (folder / "b" / "013.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"b/013\.png: it is not a whole image"):
        encode(folder, linear, tmp_path / "out")
    manifest = encode(folder, linear, tmp_path / "out", on_error="skip")
    assert manifest.items == 22
    assert [item.id for item in manifest.skipped] == ["b/013.png"]
    codes = np.concatenate([codes for _, codes in read_codes(tmp_path / "out")])
    np.testing.assert_array_equal(codes, linear.encode(np.delete(pictures, 13, axis=0), 4))
    with pytest.raises(InputError, match=r"b/013\.png"):  # without `skip` it is an error, though the job is done
        encode(folder, linear, tmp_path / "out")


def test_skipped_items_of_finished_shards_stop_a_job_that_must_not_skip(
    tmp_path: Path, pictures: np.ndarray, linear: Bundle, folder_of: Callable[[np.ndarray], Path]
) -> None:
    folder = folder_of(pictures)
    (folder / "a" / "003.png").write_bytes(b"broken")
    with pytest.raises(KilledError):
        encode(folder, linear, tmp_path / "out", on_error="skip", progress=killed_after(17))
    with pytest.raises(InputError, match=r"a/003\.png"):
        encode(folder, linear, tmp_path / "out")


def test_items_skipped_after_the_last_full_shard_are_listed(
    tmp_path: Path, pictures: np.ndarray, linear: Bundle, folder_of: Callable[[np.ndarray], Path]
) -> None:
    folder = folder_of(pictures)
    for row in range(16, 23):
        (folder / "b" / f"{row:03d}.png").write_bytes(b"")
    manifest = encode(folder, linear, tmp_path / "out", on_error="skip")
    assert [shard.count for shard in manifest.shards] == [8, 8]
    assert [item.id for item in manifest.skipped] == [f"b/{row:03d}.png" for row in range(16, 23)]


def test_nothing_but_broken_items_is_an_error(tmp_path: Path, linear: Bundle) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of its 1 items can be encoded; a\.png: it is empty"):
        encode(tmp_path / "in", linear, tmp_path / "out", on_error="skip")


def test_rows_that_are_not_finite_stop_the_job(tmp_path: Path) -> None:
    bundle = Bundle.load(write_linear(tmp_path / "bundle", shape=(3,), dtype="float32", kind="vector"))
    rows = np.ones((9, 3), np.float32)
    rows[4] = np.nan
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(InputError, match="4: it holds NaN"):
        encode(tmp_path / "rows.npy", bundle, tmp_path / "out")
    assert encode(tmp_path / "rows.npy", bundle, tmp_path / "out", on_error="skip").items == 8


def test_shards_are_rounded_up_to_whole_batches(tmp_path: Path, array: Path, linear: Bundle) -> None:
    manifest = encode(array, linear, tmp_path / "out", batch_size=5, shard_size=7)
    assert [shard.count for shard in manifest.shards] == [10, 10, 3]


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_shards_are_not_read(tmp_path: Path, array: Path, linear: Bundle, damage: str) -> None:
    encode(array, linear, tmp_path / "out")
    shard = tmp_path / "out" / "part-00001.parquet"
    if damage == "changed":
        shard.write_bytes(shard.read_bytes()[:-1])
    else:
        shard.unlink()
    with pytest.raises(ShardsError, match=r"part-00001\.parquet"):
        list(read_codes(tmp_path / "out"))


def test_progress_counts_every_item_once(tmp_path: Path, array: Path, quantized: Bundle) -> None:
    counted: list[int] = []
    encode(array, quantized, tmp_path / "out", progress=counted.append)
    assert sum(counted) == 23
    resumed: list[int] = []
    encode(array, quantized, tmp_path / "out", progress=resumed.append)
    assert sum(resumed) == 23


def test_wide_codes_keep_their_type(tmp_path: Path, array: Path, pictures: np.ndarray) -> None:
    bundle = Bundle.load(write_quantized(tmp_path / "wide", dtype="uint16"))
    encode(array, bundle, tmp_path / "out")
    (_, codes), *_ = read_codes(tmp_path / "out")
    assert codes.dtype == np.uint16
    assert codes.shape == (8, 4)
    assert pictures.shape[1:] == SHAPE
