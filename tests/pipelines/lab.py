"""A project whose stages before `compare` are pretended: small files that meet the contracts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from ruamel.yaml import YAML

from components.data.schema import DatasetSchema, Split, Splits, content_digest
from items.code import CodeSpec
from items.spec import ItemSpec
from pipelines.compare import stage as compare
from pipelines.compare.experiments import ExperimentResult, read_experiments
from pipelines.evaluate.results import VALUES, write_values
from pipelines.metrics.significance import interval
from pipelines.project import Project, model_name
from pipelines.studies.contract import STUDY, Picture, Study, Table
from pipelines.sweep.record import RECORD, EpochRecord, RunRecord, TrialRecord, sealed
from serving.manifest import MANIFEST, BatchCheck, Certificate, Graph, Manifest, TensorSpec, read_manifest

PNG = bytes.fromhex("89504e470d0a1a0a0000000d494844520000030c0000029408020000")  # the start of one: 780 by 660 pixels
ITEMS = 40  # of the test split
SPREAD = np.linspace(-1, 1, ITEMS)
PER_ITEM = {  # the mean, and by how much the first and last item differ from it
    "squared_error": (4.0, 0.1),
    "mse": (0.0625, 0.001),
    "psnr": (12.0, 0.1),
    "ssim": (0.8, 0.01),
    "knn_accuracy": (0.95, 0.01),
    "probe_accuracy": (0.9, 0.01),
}
VQVAE: dict[str, Any] = {
    "kind": "autoencoder",
    "network": {"kind": "conv", "downsample": 2},
    "bottleneck": {"kind": "vector_quantizer", "codebook_size": 32, "size": 4},
}
MLP: dict[str, Any] = {
    "kind": "autoencoder",
    "network": {"kind": "mlp", "hidden": [16]},
    "bottleneck": {"kind": "identity", "size": 4},
}
PCA: dict[str, Any] = {"kind": "pca", "size": 4}
WORST = ("codebook_usage_worst", "codebook_perplexity_worst")
DISCRETE = ("binary", "categorical", "finite_scalar", "residual_quantizer", "vector_quantizer")


def _graph() -> bytes:
    items = helper.make_tensor_value_info("items", TensorProto.UINT8, ["batch", 8, 8, 1])
    codes = helper.make_tensor_value_info("codes", TensorProto.UINT8, ["batch", 8, 8, 1])
    node = helper.make_node("Identity", ["items"], ["codes"])
    graph = helper.make_graph([node], "encoder", [items], [codes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


GRAPH = _graph()
ENCODER = Graph(
    file="encoder.onnx",
    sha256=hashlib.sha256(GRAPH).hexdigest(),
    inputs=(TensorSpec(name="items", dtype="uint8", shape=(None, 8, 8, 1)),),
    outputs=(TensorSpec(name="codes", dtype="uint8", shape=(None, 8, 8, 1)),),
)


class Lab:
    """A project whose stages before `compare` are pretended: small files that meet the contracts."""

    def __init__(self, root: Path) -> None:
        self.project = Project(root, root)
        self.params: dict[str, Any] = {"datasets": {}, "experiments": {}}
        self.schemas: dict[str, DatasetSchema] = {}

    def dataset(self, name: str, *, classes: tuple[str, ...] | None = ("a", "b"), source: str = "made up") -> None:
        item = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")
        arrays = {"items": ("items", [ITEMS, 8, 8, 1])} | ({"labels": ("labels", [ITEMS])} if classes else {})
        split = Split.model_validate({
            "count": ITEMS,
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
        pictures: bool | bytes = True,
        shape: tuple[int, ...] = (16,),
        collapsed: tuple[str, ...] = (),
        key: str = "",
        passed: bool = True,
        **given: tuple[float, float] | np.ndarray | None,
    ) -> None:
        """Add an experiment.

        `given` holds metrics of single items: values (ITEMS,), or their mean and by how much the first and last item
        differ from it, or None where the metric does not apply. `pictures` may be their bytes. Another `key` is
        another sweep.
        """
        swept = {"learning_rate": {"log_uniform": [0.001, 0.01]}}
        budget = {"epochs": 2, "trials": 2}
        asked = model if model["kind"] == "pca" else {**model, "training": swept}
        experiment = {"model": asked} | ({} if model["kind"] == "pca" else {"quick": budget, "paper": budget})
        self.params["experiments"].setdefault(dataset, {})[name] = experiment
        record = self.record(name, dataset, model, experiment, key)
        manifest = self.manifest(name, record, bits, shape, passed)
        values = {metric: spread(value) for metric, value in (PER_ITEM | given).items() if value is not None}
        document: dict[str, Any] = {metric: float(value.mean()) for metric, value in values.items()}
        document["bits_per_item"] = bits
        if manifest.code.levels:
            document |= {"codebook_usage": 0.75, "codebook_perplexity": 20.5} | dict.fromkeys(WORST, 0.5)
            document |= {"distinct_codes": 5, "distinct_code_share": 5 / 6}
            document |= {"entropy_per_position": 2.0, "entropy_per_item": 32.0}
        document["collapsed"] = collapsed
        document["encode_items_per_second"] = 1234.5
        document["intervals"] = {metric: interval(value) for metric, value in values.items()}
        document["evidence"] = [{"bundle": manifest.digest, "items": ITEMS, "codes_sha256": "0" * 64}]
        write(self.project.metrics(dataset, name), json.dumps(document))
        evaluation = self.project.evaluation(dataset, name)
        evaluation.mkdir(parents=True, exist_ok=True)
        write_values(evaluation / VALUES, values)
        if pictures:
            content = PNG if pictures is True else pictures
            for path in (self.project.run(dataset, name) / "history.png", evaluation / "codes.png"):
                write(path, content)
        self.write_params()

    def study(self, name: str, pca: str, linear: str, dataset: str = "digits", **given: Any) -> Study:
        """Add a study of two experiments; `given` replaces fields of its page."""
        studies = self.params.setdefault("studies", {}).setdefault(dataset, {})
        studies[name] = {"kind": "subspaces", "pca": pca, "linear": linear}
        digests = {e: read_manifest(self.project.bundle(dataset, e)).digest for e in (pca, linear)}
        document: dict[str, Any] = {
            "kind": "subspaces", "name": name, "dataset": dataset, "title": "One subspace", "question": "Is it?",
            "summary": "Nearly.", "tables": (Table(caption="Angles", columns=("", "°"), rows=(("1", "3"),)),),
            "pictures": (Picture(file="angles.png", caption="The angles."),), "metrics": {"largest_angle": 3.5},
            "made_from": digests | {"scratch": "e" * 64},
        }  # fmt: skip
        study = Study(**document | given)
        for picture in study.pictures:
            write(self.project.study(dataset, name) / picture.file, PNG)
        write(self.project.study(dataset, name) / STUDY, study.model_dump_json())
        self.write_params()
        return study

    def write_params(self) -> None:
        with self.project.params.open("w") as file:
            YAML().dump(self.params, file)

    def record(self, name: str, dataset: str, model: dict[str, Any], settings: dict[str, Any], key: str) -> RunRecord:
        epoch = EpochRecord(epoch=1, timestamp=3500, seconds=2.5, metrics={"validation_squared_error": 4.25})
        path = "model.training.learning_rate"
        searched = {} if model["kind"] == "pca" else {path: "0.001 … 0.01 (log)"}
        chosen: dict[str, float | int | str | bool] = dict.fromkeys(searched, 0.002)
        record = RunRecord(
            experiment=name,
            dataset=dataset,
            data_digest=self.schemas[dataset].digest,
            key=hashlib.sha256(f"{dataset} {name} {key}".encode()).hexdigest(),
            seed=0,
            budget="quick",
            epochs=2,
            objective="validation_squared_error",
            settings=settings,
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
        write(self.project.run(dataset, name) / "weights.safetensors", name)
        write(self.project.run(dataset, name) / RECORD, sealed(record))
        return record

    def manifest(self, name: str, record: RunRecord, bits: float, shape: tuple[int, ...], passed: bool) -> Manifest:
        discrete = record.model.get("bottleneck", {}).get("kind") in DISCRETE
        check = BatchCheck(
            batch=7, items=70, encoder_difference=3e-7, codes_compared=1120, codes_different=0,
            codes_different_beyond_ties=0, decoder_difference=5e-7,
        )  # fmt: skip
        draft = Manifest(
            name=model_name(record.dataset, name),
            item=ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8"),
            code=CodeSpec(shape=shape, levels=32 if discrete else None, bits_per_item=bits),
            encoder=ENCODER,
            decoder=None,
            certificate=Certificate(
                passed=passed,
                failures=() if passed else ("codes differ",),
                batches=(check,),
                tolerance=2e-5,
                tie_bound=3e-5,
                different_bound=1e-3,
                random_operators=(),
            ),
            versions={"onnxruntime": "1.32.0"},
            data_digest=record.data_digest,
            settings_digest="2" * 64,
            weights_digest=record.weights_sha256,
            digest="",
        )
        manifest = draft.model_copy(update={"digest": draft.computed_digest()})
        folder = self.project.bundle(record.dataset, name)
        write(folder / ENCODER.file, GRAPH)
        write(folder / MANIFEST, manifest.model_dump_json())
        return manifest

    def compare(self, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(self.project.root)
        monkeypatch.delenv("DVC_ROOT", raising=False)
        compare.main()
        return self.project.reports


def spread(given: tuple[float, float] | np.ndarray) -> np.ndarray:
    """Return values (ITEMS,) of a mean and of what the first and last differ from it."""
    return given if isinstance(given, np.ndarray) else given[0] + given[1] * SPREAD


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def read(lab: Lab) -> list[ExperimentResult]:
    """Return the lab's experiments as `compare` reads them."""
    return read_experiments(lab.project, lab.params["experiments"])
