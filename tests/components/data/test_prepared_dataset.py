from __future__ import annotations

import hashlib
import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from components.data import SPLITS, DataError, DatasetSchema, checks, open_dataset, write_dataset
from items.spec import ItemSpec

VECTOR = ItemSpec(kind="vector", shape=(3,), dtype="float32")


def vectors(count: int, start: float = 0) -> dict[str, np.ndarray]:
    items = np.arange(count * 3, dtype=np.float32).reshape(count, 3) + np.float32(start)
    return {"items": items, "labels": np.arange(count, dtype=np.uint8) % 2}


def write(folder: Path, **changes: Any) -> DatasetSchema:
    arguments: dict[str, Any] = {
        "name": "mine",
        "item": VECTOR,
        "splits": {"train": vectors(8), "validation": vectors(3, 100), "test": vectors(4, 200)},
        "classes": ["even", "odd"],
        "source": "made here",
        "licence": "none",
    }
    return write_dataset(folder, **(arguments | changes))


def splits_with(split: str, **arrays: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    splits = {name: vectors(3) for name in SPLITS}
    splits[split] = splits[split] | arrays
    return splits


item_arrays = st.one_of(
    npst.arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(2), st.just(3), st.just(1))),
    npst.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.just(4)),
        elements=st.floats(allow_nan=False, allow_infinity=False, width=32),
    ),
)


@given(items=item_arrays, other=st.integers(1, 4), data=st.data())
def test_what_is_written_comes_back_bit_for_bit(items: np.ndarray, other: int, data: st.DataObject) -> None:
    kind = "image" if items.dtype == np.uint8 else "vector"
    item = ItemSpec(kind=kind, shape=items.shape[1:], dtype=items.dtype.name)  # type: ignore[arg-type]
    label_type = data.draw(st.sampled_from([np.uint8, np.int8, np.int64, np.uint32]))
    rest = np.repeat(items[:1], other, axis=0)
    splits = {
        name: {"items": rows, "labels": data.draw(npst.arrays(label_type, len(rows), elements=st.integers(0, 2)))}
        for name, rows in (("train", items), ("validation", rest), ("test", items[::-1]))
    }
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "d"), item=item, splits=splits, classes=["a", "b", "c"])
        dataset = open_dataset(Path(folder, "d"), verify=True)
        for split in SPLITS:
            array = dataset.array(split)
            assert array.dtype == items.dtype
            assert array.tobytes() == np.ascontiguousarray(splits[split]["items"]).tobytes()
            assert np.array_equal(dataset.labels(split), splits[split]["labels"])  # type: ignore[arg-type]
            assert dataset.count(split) == len(splits[split]["items"])


def test_arrays_are_read_only_memory_maps_and_survive_a_process_boundary(tmp_path: Path) -> None:
    write(tmp_path / "d")
    dataset = open_dataset(tmp_path / "d")
    array = dataset.array("train")
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        assert np.array_equal(other.submit(dataset.array, "test").result(), vectors(4, 200)["items"])


def test_digest_follows_the_content_and_nothing_else(tmp_path: Path) -> None:
    first = write(tmp_path / "a")
    assert write(tmp_path / "b", name="other", source="another way", licence="MIT").digest == first.digest
    assert write(tmp_path / "c", classes=["0", "1"]).digest != first.digest
    changed = splits_with("train")
    base = write(tmp_path / "d", splits=changed).digest
    changed["test"]["items"] = changed["test"]["items"].copy()
    changed["test"]["items"][2, 2] += 1
    assert write(tmp_path / "e", splits=changed).digest != base


def test_sha256_is_that_of_the_file(tmp_path: Path) -> None:
    described = write(tmp_path / "d").splits["test"].arrays["items"]
    assert hashlib.sha256((tmp_path / "d" / described.file).read_bytes()).hexdigest() == described.sha256


def test_a_dataset_without_classes_has_no_labels(tmp_path: Path) -> None:
    splits = {name: {"items": vectors(2)["items"]} for name in SPLITS}
    write(tmp_path / "d", splits=splits, classes=None)
    dataset = open_dataset(tmp_path / "d")
    assert dataset.labels("train") is None
    with pytest.raises(DataError, match="split train: no array labels, has items"):
        dataset.array("train", "labels")


def broken_at(index: int, value: float) -> np.ndarray:
    items = vectors(3)["items"]
    items[index, 1] = value
    return items


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (splits_with("test", items=broken_at(2, np.nan)), "dataset mine, split test, item 2: holds NaN"),
        (splits_with("train", items=broken_at(1, np.inf)), "split train, item 1: holds NaN or infinity"),
        (splits_with("validation", items=np.zeros((0, 3), np.float32)), "split validation: has no items"),
        (splits_with("train", items=np.zeros((3, 4), np.float32)), r"shape \(3, 4\), must be .*\(count, 3\)"),
        (splits_with("train", items=np.zeros((3, 3))), "items are float64"),
        (splits_with("train", labels=np.array([0, 2, 1])), "split train, item 1: label 2, must be from 0 to 1"),
        (splits_with("train", labels=np.array([0, 1, -1])), "item 2: label -1"),
        (splits_with("train", labels=np.array([0, 1])), r"must be integers of shape \(3,\)"),
        (splits_with("train", labels=np.array([0.0, 1, 1])), "labels are float64"),
        (splits_with("train", extra=np.zeros(3)), "has the arrays"),
        ({"train": vectors(2), "test": vectors(2)}, "must have"),
    ],
)  # fmt: skip
def test_data_that_breaks_the_contract_is_refused_and_nothing_is_left(
    tmp_path: Path, splits: dict[str, dict[str, np.ndarray]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path / "d", splits=splits)
    assert list(tmp_path.iterdir()) == []


def test_the_item_is_named_however_far_down_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_VALUES_AT_ONCE", 6)  # two items at once
    items = vectors(9)["items"]
    items[7, 0] = np.nan
    with pytest.raises(DataError, match="split test, item 7: holds NaN"):
        write(tmp_path / "d", splits=splits_with("test", items=items, labels=np.zeros(9, int)))


def test_a_dataset_is_replaced_whole_and_a_failed_write_keeps_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write(tmp_path / "d")
    (tmp_path / "d" / "stale.txt").write_text("left from before")
    new = write(tmp_path / "d", classes=["a", "b"])
    assert not (tmp_path / "d" / "stale.txt").exists()
    assert open_dataset(tmp_path / "d").schema == new != old

    def no_space(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(np, "save", no_space)
    with pytest.raises(OSError, match="no space"):
        write(tmp_path / "d")
    assert open_dataset(tmp_path / "d", verify=True).schema == new
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_rename_that_fails_puts_the_old_dataset_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = write(tmp_path / "d")
    rename = Path.rename

    def fail_for_new(path: Path, target: Path) -> Path:
        if path.name == ".d.partial":
            raise OSError("renaming failed")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_for_new)
    with pytest.raises(OSError, match="renaming failed"):
        write(tmp_path / "d", classes=["a", "b"])
    assert open_dataset(tmp_path / "d", verify=True).schema == old


def write_and_die(folder: Path) -> None:
    checks.np.save = lambda *_, **__: os._exit(9)
    write(folder)


def test_what_a_killed_write_left_is_gone_after_the_next(tmp_path: Path) -> None:
    old = write(tmp_path / "d")
    killed = get_context("spawn").Process(target=write_and_die, args=(tmp_path / "d",))
    killed.start()
    killed.join()
    assert killed.exitcode == 9
    assert open_dataset(tmp_path / "d", verify=True).schema == old
    write(tmp_path / "d")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_folder_of_something_else_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="not overwritten"):
        write(tmp_path / "d")
    assert (tmp_path / "d" / "thesis.tex").read_text() == "years of work"
    with pytest.raises(DataError, match="not overwritten"):
        write(tmp_path / "d" / "thesis.tex")


def truncate(folder: Path) -> None:
    path = folder / "train-items.npy"
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(folder: Path) -> None:
    with (folder / "test-items.npy").open("ab") as file:
        file.write(b"x")


def cut_into_header(folder: Path) -> None:
    path = folder / "train-items.npy"
    path.write_bytes(path.read_bytes()[:40])


def other_shape(folder: Path) -> None:
    np.save(folder / "train-items.npy", np.zeros((8, 4), np.float32))


def other_dtype(folder: Path) -> None:
    np.save(folder / "train-items.npy", np.zeros((8, 3), np.int32))


def objects(folder: Path) -> None:
    np.save(folder / "train-items.npy", np.full((8, 3), None), allow_pickle=True)


def fortran(folder: Path) -> None:
    np.save(folder / "train-items.npy", np.asfortranarray(vectors(8)["items"]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "train-items.npy is truncated"),
        (lengthen, "test-items.npy is .*: it has .* bytes, its header says"),
        (cut_into_header, "train-items.npy is truncated or is no .npy file"),
        (other_shape, r"float32 of shape \(8, 4\), but the schema says float32 of shape \(8, 3\)"),
        (other_dtype, "holds int32"),
        (objects, "train-items.npy is truncated or is no .npy file"),
        (fortran, "Fortran order"),
        (lambda folder: (folder / "train-labels.npy").unlink(), "train-labels.npy is not there"),
        (lambda folder: (folder / "schema.json").unlink(), "schema.json: is not there"),
        (lambda folder: (folder / "schema.json").write_text('{"format": '), "cannot be read as JSON"),
        (lambda folder: (folder / "schema.json").write_bytes(b"\xff\xfe"), "cannot be read as JSON"),
        (lambda folder: (folder / "schema.json").write_text("[" * 100_000), "cannot be read as JSON"),
        (lambda folder: (folder / "schema.json").write_text("[]"), "is not a prepared dataset"),
    ],
)  # fmt: skip
def test_damage_is_found_on_opening(tmp_path: Path, damage: Any, message: str) -> None:
    write(tmp_path / "d")
    damage(tmp_path / "d")
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "d")


def test_a_flipped_byte_is_found_when_the_array_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "d")
    path = tmp_path / "d" / "validation-items.npy"
    dataset = open_dataset(tmp_path / "d")
    dataset.array("validation")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()  # what is mapped stays what it was
    path.write_bytes(content)
    dataset.array("train")
    with pytest.raises(DataError, match=r"validation-items\.npy is damaged, .*; `python -m pipelines.prepare mine`"):
        dataset.array("validation")
    with pytest.raises(DataError, match=r"validation-items\.npy is damaged"):
        open_dataset(tmp_path / "d", verify=True)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["version"], 2, "version 2 is unknown, must be 1"),
        (["format"], "hourglass/bundle", "its format must be hourglass/prepared-dataset"),
        (["surprise"], 1, "surprise: Extra inputs"),
        (["classes"], ["a", "b"], "digest is"),
        (["splits", "train", "arrays", "items", "file"], "../../etc/passwd.npy", "splits.train.arrays.items.file"),
        (["splits", "train", "count"], 7, "items of split train"),
        (["splits", "train", "arrays", "labels", "shape"], [7], "labels of split train"),
        (["splits", "test"], None, "splits.test"),
        (["item", "shape"], [4], "items of split train"),
        (["splits", "train", "arrays", "labels"], ..., "split train has the arrays: items"),
        (["splits", "validation"], ..., "splits.validation: Field required"),
    ],
)
def test_an_edited_schema_is_found_on_opening(tmp_path: Path, path: list[str], value: Any, message: str) -> None:
    write(tmp_path / "d")
    file = tmp_path / "d" / "schema.json"
    schema = json.loads(file.read_text())
    place = schema
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    file.write_text(json.dumps(schema))
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "d")


@pytest.mark.parametrize("key", ["x" * 10_000, "a\nb"])
def test_a_refusal_is_one_short_line_whatever_the_schema_holds(tmp_path: Path, key: str) -> None:
    write(tmp_path / "d")
    file = tmp_path / "d" / "schema.json"
    for document in (json.loads(file.read_text()) | {key: 1}, {"format": "hourglass/prepared-dataset", "version": key}):
        file.write_text(json.dumps(document))
        with pytest.raises(DataError, match=r"schema\.json: ") as refused:
            open_dataset(tmp_path / "d")
        assert len(str(refused.value).splitlines()) == 1
        assert len(str(refused.value)) < 1000
