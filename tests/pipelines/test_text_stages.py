"""Texts through every stage: from a CSV by params.yaml alone to codes of strings, metrics and the report."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data import PreparedDataset, SplitName, open_dataset
from components.data.raw import Outline
from items.sparse import SparseRows
from items.spec import ItemSpec
from items.text import excerpt
from pipelines.compare import stage as compare
from pipelines.evaluate import stage as evaluate
from pipelines.metrics.topics import rank
from pipelines.studies import stage as studies
from pipelines.studies.contract import read_study
from pipelines.studies.documents import DocumentsSettings, peer_of, rank_bm25, topics_of
from serving import cli
from serving.bundle import Bundle
from serving.encoding import encode_to_shards
from serving.inputs import InputError, open_input
from serving.search import excerpts, query_items, search
from tests.items.texts import TEXTS, TOPICS
from tests.pipelines.sandbox import Sandbox


def model(bottleneck: dict[str, object]) -> dict[str, object]:
    return {
        "model": {
            "kind": "autoencoder",
            "network": {"kind": "mlp", "hidden": [32]},
            "bottleneck": bottleneck,
            "likelihood": {"kind": "multinomial"},
            "training": {"batch_size": 16, "learning_rate": 0.01},
        },
        "quick": {"epochs": 6, "trials": 1},
        "paper": {"epochs": 6, "trials": 1},
    }


EXPERIMENTS = {
    "lsa": {"model": {"kind": "lsa", "size": 6}},
    "deep": model({"kind": "identity", "size": 6}),
    "hash": model({"kind": "binary", "size": 24}),
}


def write_notes(sandbox: Sandbox, experiments: dict[str, object], studies: dict[str, object]) -> None:
    """Write a CSV of notes, and settings of experiments and studies of them."""
    with (sandbox.root / "inputs" / "notes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "module"), *zip(TEXTS, TOPICS, strict=True)])
    notes = {"kind": "text", "source": "inputs/notes.csv", "labels": "module", "vocabulary": {"size": 300}}
    sandbox.write_params(
        {"datasets": {"notes": notes}, "experiments": {"notes": experiments}, "studies": {"notes": studies}}
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A project of notes whose experiments were trained, exported, evaluated and compared."""
    sandbox = Sandbox(tmp_path_factory.mktemp("project"))
    write_notes(sandbox, EXPERIMENTS, {"documents": {"models": list(EXPERIMENTS)}})
    sandbox.train()
    with contextlib.chdir(sandbox.root):
        for name in EXPERIMENTS:
            evaluate.main("notes", [name])
        studies.main("notes")
        compare.main()
    return sandbox


def test_a_model_large_enough_for_threads_of_its_own_is_checked_and_swept(tmp_path: Path) -> None:
    """A sweep that is forked after such a model was built would wait for threads that only its parent has."""
    sandbox = Sandbox(tmp_path)
    write_notes(sandbox, {"lsa": {"model": {"kind": "lsa", "size": 150}}}, {"documents": {"models": ["lsa"]}})
    sandbox.prepare()
    assert open_dataset(sandbox.root / "data" / "notes").schema.item.values * 150 > 2**15
    swept = sandbox.stage("sweep", "notes", OMP_NUM_THREADS="2")
    assert "lsa: best of 1" in swept.stdout


def test_metrics_are_of_what_each_model_rebuilds(project: Sandbox) -> None:
    metrics = {n: json.loads((project.root / "metrics" / "notes" / f"{n}.json").read_text()) for n in EXPERIMENTS}
    assert {"squared_error", "knn_accuracy"} <= metrics["lsa"].keys()
    assert "word_perplexity" not in metrics["lsa"]
    for name in ("deep", "hash"):
        assert {"surprisal", "word_perplexity", "knn_accuracy"} <= metrics[name].keys()
        assert "squared_error" not in metrics[name]
        assert 1 < metrics[name]["word_perplexity"] < 300
    assert metrics["hash"]["bits_per_item"] == 24
    counts = open_dataset(project.root / "data" / "notes").items("test")
    bundle = Bundle.load(project.root / "bundles" / "notes" / "deep")
    chances = bundle.decode(bundle.encode(counts))
    assert chances.sum(1) == pytest.approx(1.0, abs=1e-5)
    nats = -(counts[:] * np.log(chances)).sum(1)
    assert metrics["deep"]["surprisal"] == pytest.approx(nats.mean(), rel=1e-5)
    assert metrics["deep"]["word_perplexity"] == pytest.approx(np.exp(nats.sum() / counts[:].sum()), rel=1e-5)


def test_pictures_and_the_report_show_words(project: Sandbox) -> None:
    for name in EXPERIMENTS:
        for picture in ("reconstructions", "units", "neighbours"):
            assert (project.root / "evaluations" / "notes" / name / f"{picture}.png").stat().st_size > 5000
    report = (project.root / "reports" / "index.html").read_text()
    assert "Duplicates, dropped" in report
    assert "Surprisal" in report


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_strings_have_the_codes_of_their_prepared_counts(project: Sandbox, name: str, tmp_path: Path) -> None:
    bundle = Bundle.load(project.root / "bundles" / "notes" / name)
    path = tmp_path / "again.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("id", "body"), *((f"text {n}", text) for n, text in enumerate([*TEXTS, "", "zzz"]))]
        )
    source = open_input(path, bundle.manifest.item, column="body")
    manifest = encode_to_shards(source, bundle, tmp_path / "codes", batch_size=64)
    assert manifest.items == len(TEXTS) + 2
    table = pq.read_table(sorted((tmp_path / "codes").glob("part-*.parquet")))
    assert table["id"].to_pylist()[0] == "text 0"
    codes = np.array(table["code"].to_pylist(), bundle.manifest.code.dtype)
    vocabulary = bundle.manifest.item.vocabulary
    assert vocabulary is not None
    np.testing.assert_array_equal(codes, bundle.encode(vocabulary.count([*TEXTS, "", "zzz"]), batch_size=64))
    assert np.isfinite(codes).all()
    np.testing.assert_array_equal(codes[-1], codes[-2])  # no known word is no word at all
    assert np.flatnonzero(table["blank"].to_numpy()).tolist() == [len(TEXTS), len(TEXTS) + 1]
    prepared = open_dataset(project.root / "data" / "notes").items("test")
    known = {row.tobytes(): number for number, row in enumerate(vocabulary.count(TEXTS)[:])}
    places = [known[row.tobytes()] for row in prepared[:]]
    expected, found = bundle.embed(prepared), bundle.embed(vocabulary.count(TEXTS))[places]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_inputs_that_are_no_texts_are_named(project: Sandbox, tmp_path: Path) -> None:
    item = Bundle.load(project.root / "bundles" / "notes" / "lsa").manifest.item
    (tmp_path / "t.csv").write_text("body\na\n")
    with pytest.raises(InputError, match=r"t\.csv: line 2: has no column text, its columns are body$"):
        open_input(tmp_path / "t.csv", item)
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n{"text": 7}\n')
    source = open_input(tmp_path / "t.jsonl", item)
    (chunk,) = source.chunks(0, 10)
    assert chunk.broken == {1: "line 2: text is 7, must be text"}
    assert (chunk.ids, len(chunk.items)) == (["0", "1"], 1)
    (tmp_path / "t.jsonl").write_text('{"text": "b"}\n')
    with pytest.raises(InputError, match="changed while it was encoded"):
        source.check_unchanged()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="holds no items"):
        open_input(tmp_path / "folder", item)


def test_a_study_sets_codes_beside_searches_by_all_words(project: Sandbox) -> None:
    study = read_study(project.root / "studies" / "notes" / "documents")
    assert [row[0] for row in study.tables[0].rows] == ["lsa", "deep", "hash", "tf-idf", "BM25"]
    assert [row[1] for row in study.tables[0].rows] == ["6 numbers", "6 numbers", "24 bits", "all words", "all words"]
    assert [row[3].rpartition(" ")[2] for row in study.tables[0].rows] == ["–", "lsa", "lsa", "lsa", "lsa"]
    dataset = open_dataset(project.root / "data" / "notes")
    train, test = topics_of(dataset)
    assert test[:].sum(1).tolist() == [1] * dataset.count("test")
    item = dataset.schema.item
    ranked = rank(item.scaled(dataset.items("train")[:]), train, item.scaled(dataset.items("test")[:]), test)
    assert study.metrics["tf_idf_precision_at_10"] == pytest.approx(ranked.precisions[10].mean(), abs=0.01)
    assert study.metrics["tf_idf_mean_average_precision"] == pytest.approx(ranked.average_precisions.mean(), abs=0.01)
    for name in ("tf_idf", "bm25"):  # chance finds about a third
        assert study.metrics[f"{name}_precision_at_1"] > 0.6


def test_a_search_is_compared_with_one_by_a_code_that_takes_as_much() -> None:
    costs = {"lsa": "10 numbers", "lsa-2d": "2 numbers", "deep-2d": "2 numbers", "hash": "128 bits"}
    peers = {name: peer_of(name, costs) for name in [*costs, "BM25"]}
    assert peers == {"lsa": "lsa", "lsa-2d": "lsa", "deep-2d": "lsa-2d", "hash": "lsa", "BM25": "lsa"}


def test_bm25_ranks_a_text_first_that_is_the_query(project: Sandbox) -> None:
    dataset = open_dataset(project.root / "data" / "notes")
    rows = dataset.items("train")
    eye = SparseRows.of(np.eye(len(rows), dtype=np.int32))
    with_itself = rank_bm25(Same(dataset.schema, dataset.folder), eye, eye)
    assert with_itself.precisions[1].mean() > 0.9


class Same(PreparedDataset):
    """A dataset whose test split is its training split."""

    def items(self, split: SplitName) -> np.ndarray | SparseRows:
        return super().items("train")


def test_a_study_of_texts_is_of_texts_with_topics() -> None:
    settings = DocumentsSettings(models=("lsa",))
    for item, classes, said in (
        (
            ItemSpec(kind="vector", shape=(3,), dtype="float32"),
            2,
            "needs counts of words; the items are of kind vector",
        ),
        (ItemSpec(kind="text", shape=(3,), dtype="int32"), None, "needs topics, and the items have none"),
    ):
        (error,) = settings.errors(Outline(item, classes, 10))
        assert said in str(error)
    assert list(settings.errors(Outline(ItemSpec(kind="text", shape=(3,), dtype="int32"), 2, 10))) == []


def test_a_sentence_finds_texts_and_shows_their_first_words(
    project: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.root)
    bundle = Bundle.load(project.root / "bundles" / "notes" / "lsa")
    encode_to_shards(open_input("inputs/notes.csv", bundle.manifest.item), bundle, "codes", batch_size=32)
    monkeypatch.setattr("sys.argv", ["hourglass", "search", "codes", TEXTS[5], "-m", "bundles/notes/lsa", "-n", "2"])
    with contextlib.suppress(SystemExit):
        cli.main()
    place, distance, identity, words = capsys.readouterr().out.splitlines()[0].split("\t")
    assert (place, identity, words) == ("1", "5", excerpt(TEXTS[5]))
    assert float(distance) == pytest.approx(0, abs=1e-5)
    codes = bundle.encode(bundle.manifest.item.vocabulary.count(TEXTS))
    unit = codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12)
    for row in (0, 7):
        found = search("codes", bundle, query_items(TEXTS[row], bundle.manifest.item), 5)
        best = np.sort(1 - unit @ unit[row])[:5]
        assert [one.distance for one in found] == pytest.approx(best.tolist(), abs=1e-5)
    with pytest.raises(InputError, match="none of its words is in the model's vocabulary"):
        query_items("zzz qqq", bundle.manifest.item)


def test_a_text_that_cannot_be_read_is_one_item(project: Sandbox, tmp_path: Path) -> None:
    item = Bundle.load(project.root / "bundles" / "notes" / "lsa").manifest.item
    (tmp_path / "texts").mkdir()
    for name, content in (("a.txt", b"copy files"), ("b.TXT", b"caf\xe9"), ("c.txt", b"")):
        (tmp_path / "texts" / name).write_bytes(content)
    source = open_input(tmp_path / "texts", item)
    (chunk,) = source.chunks(0, 9)
    assert (chunk.ids, len(chunk.items)) == (["a.txt", "b.TXT", "c.txt"], 2)
    assert list(chunk.broken) == [1]
    assert chunk.broken[1].startswith("b.TXT: is no UTF-8")
    assert open_input(tmp_path / "texts", item).fingerprint == source.fingerprint
    (tmp_path / "texts" / "b.TXT").write_bytes(b"another text")
    assert open_input(tmp_path / "texts", item).fingerprint != source.fingerprint
    with pytest.raises(InputError, match="changed while it was encoded"):
        source.check_unchanged()


def test_half_a_character_and_an_odd_column_are_no_error(project: Sandbox, tmp_path: Path) -> None:
    bundle = Bundle.load(project.root / "bundles" / "notes" / "lsa")
    (tmp_path / "t.jsonl").write_text('{"id": "\\ud83d", "text": "copy \\ud83d files", "tags": ["\\ud83d"]}\n')
    manifest = encode_to_shards(open_input(tmp_path / "t.jsonl", bundle.manifest.item), bundle, tmp_path / "codes")
    assert manifest.items == 1
    odd = pa.array([2**62], pa.timestamp("us"))  # no date of Python's
    pq.write_table(pa.table({"text": ["copy files"], "when": odd}), tmp_path / "t.parquet")
    (chunk,) = open_input(tmp_path / "t.parquet", bundle.manifest.item).chunks(0, 9)
    assert (chunk.ids, chunk.broken) == (["0"], {})
    with pytest.raises(InputError, match="row 0: has no column body, its columns are text, when"):
        open_input(tmp_path / "t.parquet", bundle.manifest.item, column="body")


def test_texts_without_a_known_word_and_words_of_another_input_are_not_found(project: Sandbox, tmp_path: Path) -> None:
    bundle = Bundle.load(project.root / "bundles" / "notes" / "hash")
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in ["zzz", TEXTS[0], "", TEXTS[1]]))
    manifest = encode_to_shards(open_input(path, bundle.manifest.item), bundle, tmp_path / "codes")
    found = search(tmp_path / "codes", bundle, query_items(TEXTS[0], bundle.manifest.item))
    assert sorted(one.id for one in found) == ["1", "3"]
    assert excerpts(manifest, bundle, ["1"], None) == {"1": excerpt(TEXTS[0])}
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in [TEXTS[2], TEXTS[3]]))
    assert excerpts(manifest, bundle, ["1"], None) == {}
