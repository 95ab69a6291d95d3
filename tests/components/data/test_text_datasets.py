"""The user's own texts as a dataset: read, without duplicates, counted by the training split's words, with topics."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data import DataError, TextSettings, load, open_dataset, write_dataset
from components.data.contract import PreparedDataset
from components.data.near_duplicates import near_duplicates
from components.settings import SettingError
from items.sparse import SparseRows
from tests.items.texts import TEXTS, TOPICS


def prepared(folder: Path, **settings: Any) -> PreparedDataset:
    chosen = TextSettings.model_validate({"vocabulary": {"size": 200}} | settings)
    raw = load(chosen, "notes", seed=0, downloads=folder / "downloads", root=folder)
    parts = (raw.item, raw.splits, raw.classes, raw.source, raw.licence, raw.remarks)
    write_dataset(folder / "data", "notes", *parts)
    return open_dataset(folder / "data", verify=True)


def write_csv(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "body", "module"])
        writer.writerows([n, *row] for n, row in enumerate(zip(TEXTS, TOPICS, strict=True)))


def write_tsv(path: Path) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([("body", "module"), *zip(TEXTS, TOPICS, strict=True)])


def write_json_lines(path: Path) -> None:
    rows = [{"body": text, "module": topic} for text, topic in zip(TEXTS, TOPICS, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_parquet(path: Path) -> None:
    pq.write_table(pa.table({"body": TEXTS, "module": TOPICS}), path)


WRITERS = {"t.csv": write_csv, "t.tsv": write_tsv, "t.jsonl": write_json_lines, "t.parquet": write_parquet}


def test_every_format_gives_the_same_dataset(tmp_path: Path) -> None:
    digests = set()
    for name, write in WRITERS.items():
        write(tmp_path / name)
        dataset = prepared(tmp_path, source=name, text="body", labels="module")
        digests.add(dataset.schema.digest)
    assert len(digests) == 1
    assert dataset.schema.classes == tuple(sorted(set(TOPICS)))
    assert dataset.schema.layout == "csr"
    vocabulary = dataset.schema.item.vocabulary
    assert vocabulary is not None
    assert vocabulary.documents == dataset.count("train") < len(TEXTS)
    labels, rows = dataset.labels("test"), dataset.items("test")
    assert labels is not None
    assert dataset.topics("test") is None
    known = {tuple(row): topic for row, topic in zip(vocabulary.count(TEXTS)[:].tolist(), TOPICS, strict=True)}
    for row, label in zip(rows[:].tolist(), labels, strict=True):
        assert tuple(row) in known
        assert dataset.schema.classes[label] in TOPICS


def test_a_folder_of_text_files_has_its_folders_as_classes(tmp_path: Path) -> None:
    for number, (text, topic) in enumerate(zip(TEXTS, TOPICS, strict=True)):
        path = tmp_path / "texts" / topic / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "texts" / "string" / "empty.txt").touch()
    dataset = prepared(tmp_path, source="texts", labels="folder")
    assert dataset.schema.classes == tuple(sorted(set(TOPICS)))
    assert dataset.schema.remarks["documents without a known word"] >= 1
    assert sum(dataset.count(split) for split in ("train", "validation", "test")) == len(TEXTS) + 1


def test_duplicates_are_dropped_before_splitting_and_counted(tmp_path: Path) -> None:
    rows = [{"text": text} for text in [*TEXTS, *(f"  {text}\n" for text in TEXTS[:7])]]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = prepared(tmp_path, source="t.jsonl")
    assert dataset.schema.remarks["duplicates, dropped"] == 7
    assert sum(dataset.count(split) for split in ("train", "validation", "test")) == len(TEXTS)
    assert dataset.schema.classes is None
    assert dataset.labels("train") is None is dataset.topics("train")


def test_several_topics_an_item_and_missing_ones(tmp_path: Path) -> None:
    topics = [["a", "b"], ["b"], None, []]
    rows = [{"text": text, "topics": topics[n % 4]} for n, text in enumerate(TEXTS)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = prepared(tmp_path, source="t.jsonl", labels="topics")
    assert dataset.schema.classes == ("a", "b")
    assert dataset.labels("train") is None
    found = dataset.topics("train")
    assert found is not None
    assert found.shape == (dataset.count("train"), 2)
    assert {tuple(row) for row in found[:].tolist()} == {(1, 1), (0, 1), (0, 0)}


def lines(*rows: str | bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(b"\n".join(r if isinstance(r, bytes) else r.encode() for r in rows) + b"\n")


@pytest.mark.parametrize(
    ("name", "write", "settings", "said"),
    [
        ("t.csv", lines("a,b", "1,2"), {}, r"t\.csv: line 2: has no column text, its columns are a, b$"),
        ("t.csv", lines("text,b", "1,2"), {"labels": "c"}, r"line 2: has no column c, its columns are text, b$"),
        ("t.csv", lines("text,b", "1,2", "1,2,3"), {}, r"line 3: has 3 fields, the header has 2$"),
        ("t.csv", lines("text,text", "1,2"), {}, r"line 1: the columns text, text must differ"),
        ("t.csv", lines("text", b"caf\xe9"), {}, r"line 2: is no UTF-8: .* at byte 3$"),
        ("t.csv", lines("text", '"open'), {}, r"line \d: unexpected end of data$"),
        ("t.jsonl", lines('{"text": "a"}', "{"), {}, r"line 2: is no JSON: "),
        ("t.jsonl", lines("[1]"), {}, r"line 1: is \[1\], must be an object$"),
        ("t.jsonl", lines('{"text": 7}'), {}, r"line 1: text is 7, must be text$"),
        ("t.parquet", lines("nonsense"), {}, r"t\.parquet: not a whole Parquet file: "),
        ("t.docx", lines("nonsense"), {}, r"t\.docx: it must be a folder of \.txt files, or a file that ends in \.csv"),
        ("t.csv", lines("text", "a b c", "d e f"), {}, r"dataset notes: 2 items are too few"),
        ("t.jsonl", lines(*(f'{{"text": "w{n} x{n}"}}' for n in range(40))), {}, r"no word is in 2 or more of the 32"),
        (
            "t.jsonl",
            lines(*(f'{{"text": "word {n} word", "n": {n}}}' for n in range(1001))),
            {"labels": "n"},
            r"its labels have 1001 different values, such as '0' and '1'; at most 1000 are classes",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_named_with_its_row(
    tmp_path: Path, name: str, write: Callable[[Path], None], settings: dict[str, str], said: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError, match=said):
        prepared(tmp_path, source=name, **settings)


def test_what_is_not_there_and_splits_without_a_rest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset notes: .*none\.csv is not there"):
        prepared(tmp_path, source="none.csv")
    write_csv(tmp_path / "t.csv")
    with pytest.raises(SettingError, match="validation"):
        prepared(tmp_path, source="t.csv", text="body", validation=0.6, test=0.6)
    outline = TextSettings(source=Path("t.csv"), text="body").outline("notes", tmp_path)
    assert outline.item.shape == (2000,)
    with pytest.raises(DataError, match="has no column text, its columns are id, body, module"):
        TextSettings(source=Path("t.csv")).outline("notes", tmp_path)


def test_nul_bytes_and_a_mark_of_byte_order_are_read(tmp_path: Path) -> None:
    rows = ["\ufefftext", *(f'"{text.replace(chr(34), "")}"' for text in TEXTS), '"nul \x00 the"']
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    dataset = prepared(tmp_path, source="t.csv")
    assert dataset.schema.remarks["documents without a known word"] == 0


def test_near_duplicates_across_splits_are_counted(tmp_path: Path) -> None:
    """A text with a word more is one; the count is that of all pairs."""
    rows = [*TEXTS, *(f"{text} unmistakably" for text in TEXTS)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    dataset = prepared(tmp_path, source="t.jsonl")
    train = dataset.items("train")[:] > 0
    others = np.concatenate([dataset.items("validation")[:], dataset.items("test")[:]]) > 0
    shared = sum(any(5 * (row & one).sum() >= 4 * (row | one).sum() for one in train) for row in others if row.any())
    same = sum(any((row == one).all() for one in train) for row in others if row.any())
    said = f"documents of other splits, of {len(others):,} compared, that share 80% of their words with one of train"
    assert dataset.schema.remarks[said] == shared > same


def test_near_duplicates_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    known = (draw.random((400, 12)) < draw.random((400, 1))).astype(np.int32) * 3
    others = (draw.random((300, 12)) < draw.random((300, 1))).astype(np.int32)
    both = (others > 0) @ (known > 0).T.astype(int)
    either = (others > 0).sum(1)[:, None] + (known > 0).sum(1) - both
    expected = ((5 * both >= 4 * either) & (both > 0)).any(1).sum()
    assert near_duplicates(SparseRows.of(known), SparseRows.of(others)) == (expected, 300)
    assert 30 < expected < 270
    monkeypatch.setattr("components.data.near_duplicates.COMPARED", 400 * 100)
    found, compared = near_duplicates(SparseRows.of(known), SparseRows.of(others))
    assert compared == 100
    assert found == ((5 * both >= 4 * either) & (both > 0)).any(1)[::3].sum()
