"""A project whose stages before `compare` are pretended: small files that meet the contracts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from components.data.schema import DatasetSchema, Split, Splits, content_digest
from items.code import CodeSpec
from items.spec import ItemSpec
from pipelines.compare import stage as compare
from pipelines.compare.experiments import Entry, read_entries
from pipelines.project import Project
from pipelines.settings.params import load_params
from pipelines.studies.contract import STUDY, Picture, Study, Table
from pipelines.sweep.record import EpochRecord, RunRecord, TrialRecord, write_record
from serving.manifest import (
    MANIFEST,
    BatchCheck,
    Certificate,
    Graph,
    Manifest,
    read_manifest,
)

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
WORST = ("codebook_usage_worst", "codebook_perplexity_worst")
DISCRETE = ("binary", "categorical", "finite_scalar", "residual_quantizer", "vector_quantizer")


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
        shape: tuple[int, ...] = (16,),
        collapsed: tuple[str, ...] = (),
        **measured: Any,
    ) -> None:
        """Add an experiment; `measured` gives a figure and its interval, or None where it was not measured."""
        swept = {"learning_rate": {"log_uniform": [0.001, 0.01]}}
        asked = model if model["kind"] == "pca" else {**model, "training": swept}
        self.params["experiments"][name] = {"dataset": dataset, "model": asked} | (
            {} if model["kind"] == "pca" else {"quick": {"epochs": 2, "trials": 2}, "paper": {"epochs": 2, "trials": 2}}
        )
        record = self.record(name, dataset, model)
        manifest = self.manifest(name, record, bits, shape)
        figures = {key: value for key, value in (MEASURED | measured).items() if value is not None}
        document: dict[str, Any] = {key: value[0] for key, value in figures.items()} | {"bits_per_item": bits}
        if manifest.code.levels:
            document |= {"codebook_usage": 0.75, "codebook_perplexity": 20.5} | dict.fromkeys(WORST, 0.5)
            document |= {"distinct_codes": 5, "distinct_code_share": 5 / 6}
            document |= {"entropy_per_position": 2.0, "entropy_per_item": 32.0}
        document["collapsed"] = collapsed
        document["encode_items_per_second"] = 1234.5
        document["intervals"] = {key: value[1:] for key, value in figures.items()}
        document["evidence"] = [{"bundle": manifest.digest, "items": 6, "codes_sha256": "0" * 64}]
        write(self.project.metrics(name), json.dumps(document))
        if pictures:
            for path in (self.project.run(name) / "history.png", self.project.plots(name) / "codes.png"):
                write(path, PNG)
        self.write_params()

    def study(self, name: str, pca: str, linear: str, **said: Any) -> Study:
        """Add a study of two experiments; `said` replaces what its page says."""
        self.params.setdefault("studies", {}).setdefault("subspaces", {})[name] = {"pca": pca, "linear": linear}
        digests = {e: read_manifest(self.project.bundle(e)).digest for e in (pca, linear)}
        document: dict[str, Any] = {
            "kind": "subspaces", "name": name, "dataset": "digits", "title": "One subspace", "question": "Is it?",
            "findings": ("Nearly.", "Or not."),
            "tables": (Table(caption="Angles", columns=("", "°"), rows=(("1", "3"),)),),
            "pictures": (Picture(file="angles.png", caption="The angles."),), "figures": {"largest_angle": 3.5},
            "made_from": digests | {"scratch": "e" * 64},
        }  # fmt: skip
        study = Study(**document | said)
        for picture in study.pictures:
            write(self.project.study("subspaces", name) / picture.file, PNG)
        write(self.project.study("subspaces", name) / STUDY, study.model_dump_json())
        self.write_params()
        return study

    def write_params(self) -> None:
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

    def manifest(self, name: str, record: RunRecord, bits: float, shape: tuple[int, ...]) -> Manifest:
        bottleneck = record.model.model_dump().get("bottleneck", {}).get("kind")
        graph = Graph(file="encoder.onnx", sha256=hashlib.sha256(b"graph").hexdigest(), inputs=(), outputs=())
        check = BatchCheck(
            batch=7, items=70, encoder_difference=3e-7, codes_compared=1120, codes_different=0,
            codes_different_beyond_ties=0, decoder_difference=5e-7,
        )  # fmt: skip
        draft = Manifest(
            name=name,
            item=ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8"),
            code=CodeSpec(shape=shape, levels=32 if bottleneck in DISCRETE else None, bits_per_item=bits),
            encoder=graph,
            decoder=None,
            certificate=Certificate(
                passed=True,
                failures=(),
                batches=(check,),
                tolerance=2e-5,
                tie_bound=3e-5,
                different_bound=1e-3,
                random_operators=(),
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


def read(lab: Lab) -> list[Entry]:
    """Return the lab's experiments as `compare` reads them."""
    return read_entries(lab.project, load_params(lab.project))
