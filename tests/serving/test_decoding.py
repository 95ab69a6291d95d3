from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny_bundles import write_linear

from serving.bundle import Bundle
from serving.decoding import decode_from_shards
from serving.encoding import encode_to_shards
from serving.inputs import open_input
from serving.shards import ShardsError


def encode(path: Path, bundle: Bundle, out: Path) -> Path:
    encode_to_shards(open_input(path, bundle.manifest.item), bundle, out, batch_size=4, shard_size=8)
    return out


def index(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]


def test_pictures_come_back_under_their_names(
    tmp_path: Path, pictures: np.ndarray, linear: Bundle, folder_of: Callable[[np.ndarray], Path]
) -> None:
    codes = encode(folder_of(pictures), linear, tmp_path / "codes")
    assert decode_from_shards(codes, linear, tmp_path / "out", batch_size=5) == 23
    for row, picture in enumerate(pictures):
        found = np.asarray(Image.open(tmp_path / "out" / f"{'ab'[row >= 10]}_{row:03d}.png"))
        np.testing.assert_array_equal(found, picture[..., 0])
    assert len(list((tmp_path / "out").glob("*.png"))) == 23


def test_a_decoded_folder_appears_at_once_when_all_is_in_it(
    tmp_path: Path, pictures: np.ndarray, linear: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "p.npy", pictures)
    codes = encode(tmp_path / "p.npy", linear, tmp_path / "codes")
    seen: list[int] = []
    rename = Path.rename

    def watched(path: Path, target: Path) -> Path:
        assert not target.exists()
        seen.append(len(list(path.glob("*.png"))))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", watched)
    decode_from_shards(codes, linear, tmp_path / "out")
    assert seen == [23]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codes", "out", "p.npy"]


def test_ids_cannot_leave_the_folder_or_replace_one_another(tmp_path: Path, linear: Bundle) -> None:
    names = [
        "../../evil.png",
        "/etc/passwd",
        "a/b.png",
        "a_b.png",
        "a b",
        "a_b",
        "",
        "..",
        "x" * 500,
        "é",
        "A_B.png",
        "a_b",
    ]
    pictures = [np.full((4, 4), 20 * row, np.uint8) for row in range(len(names))]
    encoded = []
    for picture in pictures:
        Image.fromarray(picture).save(tmp_path / "p.png")
        encoded.append((tmp_path / "p.png").read_bytes())
    (tmp_path / "p.png").unlink()
    pq.write_table(pa.table({"id": names, "image": encoded}), tmp_path / "in.parquet")
    codes = encode(tmp_path / "in.parquet", linear, tmp_path / "codes")
    decode_from_shards(codes, linear, tmp_path / "out")
    lines = index(tmp_path / "out")
    assert [line["id"] for line in lines] == names
    for line, picture in zip(lines, pictures, strict=True):
        assert "/" not in line["file"]
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / line["file"])), picture)
    assert not list(tmp_path.glob("*.png"))


def test_other_items_become_rows_of_an_array(tmp_path: Path) -> None:
    bundle = Bundle.load(write_linear(tmp_path / "bundle", shape=(3,), dtype="float32", kind="vector"))
    rows = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    codes = encode(tmp_path / "rows.npy", bundle, tmp_path / "codes")
    done: list[int] = []
    decode_from_shards(codes, bundle, tmp_path / "out", batch_size=2, progress=done.append)
    np.testing.assert_allclose(np.load(tmp_path / "out" / "items.npy"), rows, atol=1e-5)
    assert index(tmp_path / "out") == [{"id": str(row), "row": row} for row in range(11)]
    assert sum(done) == 11


def test_codes_of_another_bundle_are_refused(
    tmp_path: Path, pictures: np.ndarray, linear: Bundle, quantized: Bundle
) -> None:
    np.save(tmp_path / "p.npy", pictures)
    codes = encode(tmp_path / "p.npy", linear, tmp_path / "codes")
    with pytest.raises(ShardsError, match=r"made by bundle linear .* this is quantized"):
        decode_from_shards(codes, quantized, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty_is_left_as_it_is(tmp_path: Path, pictures: np.ndarray, linear: Bundle) -> None:
    np.save(tmp_path / "p.npy", pictures)
    codes = encode(tmp_path / "p.npy", linear, tmp_path / "codes")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ShardsError, match="is not empty"):
        decode_from_shards(codes, linear, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_job_that_fails_leaves_no_folder_and_can_be_done_again(
    tmp_path: Path, pictures: np.ndarray, linear: Bundle
) -> None:
    np.save(tmp_path / "p.npy", pictures)
    codes = encode(tmp_path / "p.npy", linear, tmp_path / "codes")
    shard = codes / "part-00002.parquet"
    content = shard.read_bytes()
    shard.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    with pytest.raises(ShardsError, match="sha256"):
        decode_from_shards(codes, linear, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    shard.write_bytes(content)
    assert decode_from_shards(codes, linear, tmp_path / "out") == 23
