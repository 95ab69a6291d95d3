"""Damage to a folder of codes: repaired by encode, refused by readers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_encoding import KilledError, encode, files, killed_after

from items.digests import sha256_of
from serving.bundle import Bundle
from serving.decoding import decode_from_shards
from serving.shards import CodesManifest, FinishedShard, ShardsError, read_codes


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory, pictures: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("array") / "pictures.npy"
    np.save(path, pictures)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, array: Path, linear: Bundle) -> Path:
    """Finished codes in three shards of 8, 8 and 7."""
    folder = tmp_path_factory.mktemp("finished") / "codes"
    encode(array, linear, folder)
    return folder


@pytest.fixture
def codes(tmp_path: Path, finished: Path) -> Path:
    """A copy of the finished codes, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "codes"))


def lose(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes([content[100] ^ 4]) + content[101:])


@pytest.mark.parametrize("damage", [lose, cut, flip])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_damaged_shard_of_a_finished_job_is_encoded_again_and_no_other(
    array: Path, codes: Path, linear: Bundle, damage: Callable, index: int, monkeypatch, caplog
) -> None:
    whole = files(codes)
    damage(codes / f"part-{index:05d}.parquet")
    encoded: list[int] = []
    original = Bundle.encode
    monkeypatch.setattr(
        Bundle, "encode", lambda self, items, size: encoded.append(len(items)) or original(self, items, size)
    )
    done: list[int] = []
    encode(array, linear, codes, progress=done.append)
    assert files(codes) == whole
    assert sum(encoded) == (8, 8, 7)[index]
    assert sum(done) == 23
    assert caplog.messages == [f"{codes}/part-{index:05d}.parquet was missing or damaged and was encoded again"]


def test_repair_finds_the_items_of_a_shard_among_skipped_ones(
    tmp_path: Path, pictures: np.ndarray, linear: Bundle, folder_of: Callable[[np.ndarray], Path]
) -> None:
    folder = folder_of(pictures)
    for row in (2, 9, 10, 21):
        (folder / "ab"[row >= 10] / f"{row:03d}.png").write_bytes(b"broken")
    encode(folder, linear, tmp_path / "out", on_error="skip")
    whole = files(tmp_path / "out")
    for shard in (tmp_path / "out").glob("part-*"):
        shard.unlink()
    encode(folder, linear, tmp_path / "out", on_error="skip")
    assert files(tmp_path / "out") == whole


def test_a_shard_that_cannot_be_made_as_it_was_is_refused(
    array: Path, codes: Path, linear: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(codes / "part-00001.parquet")
    original = Bundle.encode
    monkeypatch.setattr(Bundle, "encode", lambda self, items, size: original(self, items, size) + 1e-3)
    with pytest.raises(ShardsError, match=r"part-00001\.parquet: missing or damaged, and its items give other bytes"):
        encode(array, linear, codes)
    assert not (codes / "part-00001.parquet").exists()


def altered(codes: Path, change: Callable[[dict[str, Any]], None], *, sealed: bool = True) -> None:
    """Change a manifest; where `sealed`, with the digest of its new content."""
    path = codes / "manifest.json"
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))
    if sealed and "digest" in content:
        path.write_text(json.dumps(content | {"digest": CodesManifest.digest_of(content)}))


def remove_shard(manifest: dict[str, Any]) -> None:
    del manifest["shards"][1]


def remove_last_shard(manifest: dict[str, Any]) -> None:
    del manifest["shards"][2]
    manifest["items"] = 16


def add_shard(manifest: dict[str, Any]) -> None:
    manifest["shards"].append(manifest["shards"][0] | {"file": "part-00003.parquet"})


def repeat_shard(manifest: dict[str, Any]) -> None:
    manifest["shards"][1] = manifest["shards"][0]


def huge_count(manifest: dict[str, Any]) -> None:
    manifest["shards"][2]["count"] = 10**19


def wrong_count(manifest: dict[str, Any]) -> None:
    manifest["shards"][2]["count"] = 6
    manifest["items"] = 22


def wrong_items(manifest: dict[str, Any]) -> None:
    manifest["items"] = 22


@pytest.mark.filterwarnings("ignore:Pydantic serializer")
@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize(
    "change", [remove_shard, remove_last_shard, add_shard, repeat_shard, huge_count, wrong_count, wrong_items]
)
def test_a_manifest_that_does_not_fit_its_shards_is_refused(
    tmp_path: Path, codes: Path, linear: Bundle, change: Callable, sealed: bool
) -> None:
    altered(codes, change, sealed=sealed)
    with pytest.raises(ShardsError):
        list(read_codes(codes))
    with pytest.raises(ShardsError):
        decode_from_shards(codes, linear, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def test_any_change_to_a_manifest_is_noticed_but_to_its_times(codes: Path) -> None:
    manifest = json.loads((codes / "manifest.json").read_bytes())
    changes = {"input": "elsewhere", "skipped": [{"id": "1", "reason": "gone"}], "seconds": 3.5}
    for key, value in changes.items():
        (codes / "manifest.json").write_text(json.dumps(manifest | {key: value}))
        if key == "seconds":
            assert sum(len(ids) for ids, _ in read_codes(codes)) == 23
        else:
            with pytest.raises(ShardsError, match="was changed, its digest is"):
                list(read_codes(codes))


def test_a_shard_of_another_job_is_named(codes: Path, array: Path, linear: Bundle) -> None:
    (codes / "part-00003.parquet").write_bytes((codes / "part-00000.parquet").read_bytes())
    with pytest.raises(ShardsError, match=r"part-00003\.parquet: is a shard of another job"):
        list(read_codes(codes))
    with pytest.raises(ShardsError, match=r"part-00003\.parquet: is a shard of another job"):
        encode(array, linear, codes)


@pytest.mark.filterwarnings("ignore:Pydantic serializer")
def test_a_shard_of_other_rows_or_types_is_refused_before_anything_is_written(
    tmp_path: Path, codes: Path, linear: Bundle
) -> None:
    path = codes / "part-00002.parquet"
    table = pq.read_table(path)
    fewer, other = table.slice(0, 5), pa.table({"id": table["id"], "code": ["x"] * 7})
    for written, reason in [(fewer, "holds 5 codes, the manifest says 7"), (other, "must be .*fixed_size_list")]:
        pq.write_table(written, path)
        altered(codes, lambda manifest: manifest["shards"][2].update(sha256=sha256_of(path)))
        with pytest.raises(ShardsError, match=reason):
            decode_from_shards(codes, linear, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("key", ["count", "stop", "skipped", "file"])
def test_a_record_of_progress_that_is_wrong_is_ignored(
    tmp_path: Path, array: Path, codes: Path, linear: Bundle, key: str, sealed: bool
) -> None:
    with pytest.raises(KilledError):
        encode(array, linear, tmp_path / "out", progress=killed_after(20))
    path = tmp_path / "out" / ".progress" / "part-00001.json"
    record = json.loads(path.read_bytes())
    if key == "skipped":
        record["skipped"] = [{"id": "9", "reason": "made up"}]
    else:
        holder = record["shard"] if key in record["shard"] else record
        holder[key] = {"count": 7, "stop": 20, "file": "part-00000.parquet"}[key]
    if sealed and "digest" in record:
        record["digest"] = FinishedShard.digest_of(record)
    path.write_text(json.dumps(record))
    encode(array, linear, tmp_path / "out")
    assert files(tmp_path / "out") == files(codes)


def test_positions_that_do_not_fit_a_shards_count_are_refused(codes: Path, array: Path, linear: Bundle) -> None:
    path = codes / "manifest.json"
    manifest = CodesManifest.model_validate_json(path.read_bytes())
    for index, stop in ((0, 9999), (0, 3), (2, 24)):
        shards = list(manifest.shards)
        shards[index] = shards[index].model_copy(update={"stop": stop})
        changed = manifest.model_copy(update={"shards": tuple(shards)}).sealed()
        path.write_text(changed.model_dump_json())
        with pytest.raises(ShardsError, match="position"):
            encode(array, linear, codes)
