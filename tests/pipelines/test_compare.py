from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from ruamel.yaml import YAML

from components.data.schema import DatasetSchema, Split, Splits, content_digest
from components.items import ItemSpec
from pipelines import compare, rate_distortion
from pipelines.entries import Entry, read_entries
from pipelines.findings import apart, findings, standing
from pipelines.project import Project, StageError
from pipelines.record import EpochRecord, RunRecord, TrialRecord, write_record
from pipelines.report import leaderboard, render_report
from pipelines.settings import load_params
from serving.manifest import MANIFEST, BatchCheck, Certificate, CodeContract, Graph, ItemContract, Manifest

REPOSITORY = Path(__file__).parents[2]
PNG = bytes.fromhex("89504e470d0a1a0a0000000d494844520000030c0000029408020000")  # the start of one: 780 by 660 pixels
MEASURED = {
    "squared_error": (4.0, 3.9, 4.1),
    "mse": (0.0625, 0.061, 0.064),
    "psnr": (12.0, 11.9, 12.1),
    "ssim": (0.8, 0.79, 0.81),
    "knn_accuracy": (0.95, 0.94, 0.96),
    "probe_accuracy": (0.9, 0.89, 0.91),
}
VQVAE: dict[str, Any] = {
    "kind": "autoencoder",
    "network": {"kind": "conv", "downsample": 2},
    "bottleneck": {"kind": "vector_quantizer", "entries": 32, "size": 4},
}
MLP: dict[str, Any] = {
    "kind": "autoencoder",
    "network": {"kind": "mlp", "hidden": [16]},
    "bottleneck": {"kind": "identity", "size": 4},
}
PCA: dict[str, Any] = {"kind": "pca", "size": 4}


class Lab:
    """A project whose stages before `compare` are pretended: small files that meet the contracts."""

    def __init__(self, root: Path) -> None:
        self.project = Project(root, root)
        self.params: dict[str, Any] = {"datasets": {}, "experiments": {}}
        self.schemas: dict[str, DatasetSchema] = {}

    def dataset(self, name: str, *, classes: tuple[str, ...] | None = ("a", "b"), source: str = "made up") -> None:
        item = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")
        arrays = {"items": ("items", [6, 8, 8, 1])} | ({"labels": ("labels", [6])} if classes else {})
        split = Split.model_validate({
            "count": 6,
            "arrays": {
                key: {"file": f"test-{file}.npy", "shape": shape, "dtype": "uint8", "sha256": "0" * 64}
                for key, (file, shape) in arrays.items()
            },
        })  # fmt: skip
        splits = Splits(train=split, validation=split, test=split)
        digest = content_digest(item, "dense", splits, classes)
        schema = DatasetSchema(
            name=name, item=item, splits=splits, classes=classes, source=source, licence="CC0", digest=digest
        )
        self.schemas[name] = schema
        self.params["datasets"][name] = {"kind": "digits"}
        write(self.project.data(name) / "schema.json", schema.model_dump_json())

    def experiment(
        self,
        name: str,
        dataset: str = "digits",
        model: dict[str, Any] = PCA,
        bits: float = 128,
        pictures: bool = True,
        **measured: Any,
    ) -> None:
        """Add an experiment; `measured` gives a figure and its interval, or None where it was not measured."""
        swept = {"learning_rate": {"log_uniform": [0.001, 0.01]}}
        asked = model if model["kind"] == "pca" else {**model, "training": swept}
        self.params["experiments"][name] = {"dataset": dataset, "model": asked} | (
            {} if model["kind"] == "pca" else {"quick": {"epochs": 2, "trials": 2}, "paper": {"epochs": 2, "trials": 2}}
        )
        record = self.record(name, dataset, model)
        manifest = self.manifest(name, record, bits)
        figures = {key: value for key, value in (MEASURED | measured).items() if value is not None}
        document: dict[str, Any] = {key: value[0] for key, value in figures.items()} | {"bits_per_item": bits}
        if manifest.code.levels:
            document |= {"codebook_usage": 0.75, "codebook_perplexity": 20.5}
        document["encode_items_per_second"] = 1234.5
        document["intervals"] = {key: value[1:] for key, value in figures.items()}
        document["evidence"] = [{"bundle": manifest.digest, "items": 6, "codes_sha256": "0" * 64}]
        write(self.project.metrics(name), json.dumps(document))
        if pictures:
            for path in (self.project.run(name) / "history.png", self.project.plots(name) / "codes.png"):
                write(path, PNG)
        with self.project.params.open("w") as file:
            YAML().dump(self.params, file)

    def record(self, name: str, dataset: str, model: dict[str, Any]) -> RunRecord:
        epoch = EpochRecord(epoch=1, timestamp=3500, seconds=2.5, metrics={"validation_squared_error": 4.25})
        key = "model.training.learning_rate"
        searched = {} if model["kind"] == "pca" else {key: "0.001 … 0.01 (log)"}
        chosen: dict[str, float | int | str | bool] = dict.fromkeys(searched, 0.002)
        record = RunRecord(
            experiment=name,
            dataset=dataset,
            data_digest=self.schemas[dataset].digest,
            key="1" * 64,
            seed=0,
            budget="quick",
            epochs=2,
            objective="validation_squared_error",
            settings={},
            space=searched,
            trials=(
                TrialRecord(number=1, parameters=chosen, status="finished", started=1000, history=(epoch,)),
                TrialRecord(number=2, parameters=chosen, status="failed", reason="no memory", started=1000, history=()),
            ),
            best_trial=1,
            best_epoch=1,
            model=model,
            weights_sha256=hashlib.sha256(name.encode()).hexdigest(),
            parameters=321,
            git_commit="none",
            versions={},
        )
        write(self.project.run(name) / "weights.safetensors", name)
        write_record(self.project.run(name), record)
        return record

    def manifest(self, name: str, record: RunRecord, bits: float) -> Manifest:
        graph = Graph(file="encoder.onnx", sha256=hashlib.sha256(b"graph").hexdigest(), inputs=(), outputs=())
        check = BatchCheck(
            batch=7, items=70, encoder_difference=3e-7, codes_different=0, codes_different_beyond_ties=0,
            decoder_difference=5e-7,
        )  # fmt: skip
        draft = Manifest(
            name=name,
            item=ItemContract(kind="image", shape=(8, 8, 1), dtype="uint8"),
            code=CodeContract(
                shape=(16,), dtype="uint16", levels=32 if "vector" in str(record.model) else None, bits_per_item=bits
            ),
            encoder=graph,
            decoder=None,
            certificate=Certificate(
                passed=True, failures=(), batches=(check,), tolerance=2e-5, tie_bound=1e-5, random_operators=()
            ),
            versions={},
            data_digest=record.data_digest,
            settings_digest="2" * 64,
            weights_digest=record.weights_sha256,
            digest="",
        )
        manifest = draft.model_copy(update={"digest": draft.computed_digest()})
        write(self.project.bundle(name) / "encoder.onnx", "graph")
        write(self.project.bundle(name) / MANIFEST, manifest.model_dump_json())
        return manifest

    def compare(self, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(self.project.root)
        monkeypatch.delenv("DVC_ROOT", raising=False)
        compare.main()
        return self.project.reports


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.dataset("digits")
    return made


def read(lab: Lab) -> list[Entry]:
    return read_entries(lab.project, load_params(lab.project))


def said(lab: Lab) -> str:
    """Return what the report finds, as a reader sees it."""
    return re.sub(r"<[^>]+>", "", " ".join(findings(read(lab))))


def test_a_row_holds_what_each_stage_measured(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.experiment("vq", model=VQVAE, bits=80)
    reports = lab.compare(monkeypatch)
    (row,) = json.loads((reports / "leaderboard.json").read_text())
    assert row == {
        "experiment": "vq",
        "dataset": "digits",
        "model": "autoencoder",
        "network": "conv",
        "bottleneck": "vector_quantizer",
        "bits_per_item": 80,
        "squared_error": 4.0,
        "squared_error_low": 3.9,
        "squared_error_high": 4.1,
        "mse": 0.0625,
        "psnr": 12.0,
        "ssim": 0.8,
        "knn_accuracy": 0.95,
        "probe_accuracy": 0.9,
        "codebook_usage": 0.75,
        "codebook_perplexity": 20.5,
        "encode_items_per_second": 1234.5,
        "parameters": 321,
        "trials": 2,
        "trial_seconds": 2.5,
    }
    assert (reports / "rate_distortion.csv").read_text() == (
        "experiment,dataset,bits_per_item,squared_error\nvq,digits,80.0,4.0\n"
    )


def test_what_was_not_measured_is_null_and_empty(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    unmeasured: dict[str, Any] = dict.fromkeys(MEASURED)
    lab.experiment("blind", **unmeasured)
    reports = lab.compare(monkeypatch)
    (row,) = json.loads((reports / "leaderboard.json").read_text())
    absent = {*MEASURED, "squared_error_low", "squared_error_high", "codebook_usage", "codebook_perplexity"}
    assert {key for key, value in row.items() if value is None} == absent | {"network", "bottleneck"}
    (line,) = csv.DictReader((reports / "leaderboard.csv").read_text().splitlines())
    assert {key for key, value in line.items() if value == ""} == absent | {"network", "bottleneck"}
    assert (reports / "rate_distortion.csv").read_text().count("\n") == 1
    assert not (reports / "rate_distortion.png").exists()


def test_rows_go_by_dataset_and_then_by_error_with_the_unmeasured_last(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.dataset("another", classes=None)
    lab.experiment("worse", squared_error=(5.0, 4.9, 5.1))
    lab.experiment("blind", squared_error=None)
    lab.experiment("better", squared_error=(3.0, 2.9, 3.1))
    lab.experiment("elsewhere", "another", squared_error=(9.0, 8.9, 9.1))
    rows = json.loads((lab.compare(monkeypatch) / "leaderboard.json").read_text())
    assert [row["experiment"] for row in rows] == ["elsewhere", "better", "worse", "blind"]


class Outside(HTMLParser):
    """Collects every address that a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [str(value) for key, value in attrs if key in ("src", "href", "srcset", "action", "data")]


def test_the_report_needs_nothing_but_itself(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.experiment("one")
    lab.experiment("two", model=MLP, squared_error=(5.0, 4.9, 5.1))
    html = (lab.compare(monkeypatch) / "index.html").read_text()
    page = Outside()
    page.feed(html)
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.found)
    assert sum(address.startswith("data:") for address in page.found) == 1 + 2 * 2
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"url\(|@import", html)
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert {address[1:] for address in page.found if address.startswith("#")} <= set(ids)
    assert html.count('width="520"') == 4  # 780 pixels of 150 an inch, at the page's 100
    assert html.count("<img ") == len(re.findall(r'<img [^>]*alt="[^"]+"', html))


def test_an_experiment_without_pictures_still_has_its_section(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.experiment("bare", pictures=False, squared_error=None)
    html = (lab.compare(monkeypatch) / "index.html").read_text()
    assert "<img" not in html
    assert "hourglass encode data/digits/test-items.npy --model bundles/bare --out codes/bare" in html
    assert "no memory" in html  # why the other trial failed


def test_a_lead_is_called_apart_where_intervals_do_not_overlap(lab: Lab) -> None:
    lab.experiment("good", bits=64, squared_error=(3.0, 2.9, 3.1), knn_accuracy=(0.9, 0.89, 0.91))
    lab.experiment("bad", bits=32, squared_error=(6.0, 5.9, 6.1), knn_accuracy=(0.8, 0.79, 0.81))
    text = said(lab)
    assert (
        "good rebuilds items with the lowest squared error, 3.000 (2.900–3.100), for 64 bits an item, 8 times smaller"
        in text
    )
    assert "apart from every other; the next is bad with 6.000 (5.900–6.100)" in text
    assert "bad has the smallest code, 32 bits an item, 16 times smaller than the raw item" in text
    assert "2 times that of good" in text
    assert "The codes of good tell most about an item’s class by their nearest neighbours: 90.00% (89.00–91.00)" in text


def test_a_lead_is_not_called_apart_where_any_interval_overlaps(lab: Lab) -> None:
    lab.experiment("first", bits=64, squared_error=(3.0, 2.8, 3.2))
    lab.experiment("second", bits=64, squared_error=(3.3, 3.25, 3.35))
    lab.experiment("third", bits=32, squared_error=(3.4, 3.1, 3.7))
    lead = said(lab).split("The codes of")[0]
    assert "That is not apart from third with 3.400 (3.100–3.700)" in lead
    assert "apart from every other" not in lead
    assert "third has the smallest code, 32 bits an item" in lead
    assert "times that of" not in lead


def test_a_figure_without_an_interval_is_never_called_apart(lab: Lab) -> None:
    lab.experiment("one", squared_error=(3.0, 2.9, 3.1))
    lab.experiment("two", squared_error=(6.0, 5.9, 6.1))
    path = lab.project.metrics("two")
    document = json.loads(path.read_text())
    del document["intervals"]["squared_error"]
    path.write_text(json.dumps(document))
    one, two = read(lab)
    assert not apart(one, two, "squared_error")
    assert "That is not apart from two with 6.000" in said(lab)


def test_a_long_tie_names_three_and_counts_the_rest(lab: Lab) -> None:
    for name in "abcdef":
        lab.experiment(name)
    assert re.search(
        r"not apart from b with [^,]+, c with [^,]+, d with \S+ \S+ and 2 more: the intervals overlap", said(lab)
    )


def test_only_one_experiment_makes_no_comparison(lab: Lab) -> None:
    lab.experiment("alone")
    assert "No other experiment has this figure" in said(lab)
    assert "apart" not in said(lab)


def test_the_leaderboard_marks_the_best_only_where_it_is_apart(lab: Lab) -> None:
    lab.experiment("a", bits=64, squared_error=(3.0, 2.9, 3.1), knn_accuracy=(0.90, 0.88, 0.92))
    lab.experiment("b", bits=32, squared_error=(4.0, 3.9, 4.1), knn_accuracy=(0.91, 0.89, 0.93))
    columns, lines = leaderboard(read(lab))
    marks = {
        entry.name: dict(zip((c.key for c in columns), (c.mark for c in cells), strict=True)) for entry, cells in lines
    }
    assert (marks["a"]["squared_error"], marks["b"]["squared_error"]) == ("best", "")
    assert (marks["a"]["bits_per_item"], marks["b"]["bits_per_item"]) == ("", "best")
    assert (marks["a"]["knn_accuracy"], marks["b"]["knn_accuracy"]) == ("near", "near")
    assert (marks["a"]["encode_items_per_second"], marks["b"]["encode_items_per_second"]) == ("", "")
    assert "codebook_usage" not in marks["a"]


def test_higher_accuracy_leads_and_lower_error_leads(lab: Lab) -> None:
    lab.experiment("accurate", squared_error=(5.0, 4.9, 5.1), knn_accuracy=(0.99, 0.98, 1.0))
    lab.experiment("faithful", squared_error=(2.0, 1.9, 2.1), knn_accuracy=(0.5, 0.4, 0.6))
    found = read(lab)
    leaders = {key: standing(found, key) for key in ("squared_error", "knn_accuracy")}
    assert {key: leader.best.name for key, leader in leaders.items() if leader} == {
        "squared_error": "faithful",
        "knn_accuracy": "accurate",
    }


def test_names_and_sources_cannot_inject_html(lab: Lab) -> None:
    lab.dataset("digits", classes=("<i>a", "b"), source="<script>alert(1)</script>")
    lab.experiment("plain")
    (entry,) = read(lab)
    evil = Entry(**{**vars(entry), "name": '"><script>evil()</script>'})
    html = render_report([evil, entry], None)
    assert "<script" not in html
    assert "<i>a" not in html
    assert "&lt;script&gt;evil()" in html
    assert "&lt;script&gt;alert(1)" in html


def test_the_same_inputs_give_the_same_bytes(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lab.experiment("one")
    lab.experiment("two", model=VQVAE, bits=80)
    first = {path.name: path.read_bytes() for path in lab.compare(monkeypatch).iterdir()}
    elsewhere = Path(shutil.copytree(tmp_path, tmp_path.with_name("elsewhere")))
    shutil.rmtree(elsewhere / "reports")
    monkeypatch.chdir(elsewhere)
    compare.main()
    assert {path.name: path.read_bytes() for path in (elsewhere / "reports").iterdir()} == first
    assert set(first) == {
        "index.html", "leaderboard.csv", "leaderboard.json", "rate_distortion.csv", "rate_distortion.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("{", "Invalid JSON"),
        ('{"bits_per_item": 8, "evidence": []}', "intervals: Field required"),
        ('{"bits_per_item": 8, "intervals": {}, "evidence": [], "mse": NaN}', "mse: Input should be a finite number"),
    ],
)
def test_a_bad_metrics_file_is_named_and_leaves_the_old_report(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, content: str | None, reason: str
) -> None:
    lab.experiment("one")
    before = (lab.compare(monkeypatch) / "index.html").read_bytes()
    path = lab.project.metrics("one")
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(StageError) as caught:
        compare.main()
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert "run `python -m pipelines.evaluate one`" in str(caught.value)
    assert (lab.project.reports / "index.html").read_bytes() == before


def test_figures_of_another_bundle_are_refused(lab: Lab) -> None:
    lab.experiment("one")
    path = lab.project.metrics("one")
    document = json.loads(path.read_text())
    document["evidence"][0]["bundle"] = "f" * 64
    path.write_text(json.dumps(document))
    with pytest.raises(
        StageError, match=r"one: evaluate worked from ffffffffffff.*run `python -m pipelines.evaluate one`"
    ):
        read(lab)


def test_the_front_holds_what_nothing_beats() -> None:
    points = [(8.0, 5.0), (4.0, 9.0), (8.0, 6.0), (16.0, 5.0), (32.0, 1.0), (64.0, 2.0)]
    assert rate_distortion.pareto_front(points) == [(4.0, 9.0), (8.0, 5.0), (32.0, 1.0)]


def test_names_of_fifteen_crowded_points_do_not_collide() -> None:
    figure = Figure(figsize=(7.6, 4.9), dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = {f"experiment-{i}": (960.0 + i % 3, 5.0 + 0.05 * i) for i in range(10)}
    points |= {f"smaller-{i}": (50.0 * (i + 1), 12.0 - i) for i in range(5)}
    rate_distortion.scale(axes.xaxis, axes.set_xscale, axes.set_xlim, [bits for bits, _ in points.values()])
    rate_distortion.scale(axes.yaxis, axes.set_yscale, axes.set_ylim, [error for _, error in points.values()])
    rate_distortion.place_names(axes, points)
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(note) for note in axes.texts]  # an annotation's own extent takes in its line
    assert len(boxes) == 15
    overlaps = [
        (i, j) for i in range(15) for j in range(i) if rate_distortion.intersection_area(boxes[i], boxes[j]) > 1
    ]
    assert not overlaps


def test_compare_needs_neither_mlflow_nor_ray() -> None:
    code = "import sys, pipelines.compare; print(sorted({'mlflow', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
