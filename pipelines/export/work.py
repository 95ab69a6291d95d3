"""An experiment's export: a unit's work. The best trial's model becomes a bundle with a passing certificate."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from components.data.contract import PreparedDataset, open_dataset
from components.models import Model
from pipelines.export.certificate import UNPROVEN, certify
from pipelines.export.graphs import export_decoder, export_encoder
from pipelines.project import StageError
from pipelines.sweep.record import RunRecord, read_record
from pipelines.sweep.trained import read_model
from pipelines.units.key import digest_of
from serving.bundle import Bundle
from serving.manifest import MANIFEST, Manifest


def export(out: Path, *, run: Path, data: Path, name: str, threads: int = 1) -> None:
    """Write a bundle.

    Args:
        out: an empty folder.
        run: the folder of a run record.
        data: the folder of its prepared dataset.
        name: the registered model's.
        threads: of ONNX Runtime, which the graphs are compared by.

    Raises:
        StageError: the graphs do not compute what the model computes, or the run record is damaged or of other data.
    """
    record, dataset = read_record(run), open_dataset(data)
    if record.data_digest != dataset.schema.digest:
        raise StageError(
            f"{record.name} was trained on data {record.data_digest[:12]}, prepared is {dataset.schema.digest[:12]}; "
            f"run `python -m pipelines.sweep {record.dataset} --only {record.experiment}`"
        )
    model = read_model(run, record, dataset.schema.item)
    write_bundle(out, model, record, dataset, name, threads)


def write_bundle(
    folder: Path, model: Model, record: RunRecord, dataset: PreparedDataset, name: str, threads: int
) -> None:
    """Write the graphs of a model and their manifest; see :func:`export`."""
    draft = Manifest(
        name=name,
        item=model.item,
        code=model.code,
        encoder=export_encoder(model, folder),
        decoder=export_decoder(model, folder),
        rebuilds=model.rebuilds,
        certificate=UNPROVEN,
        versions={package: importlib.metadata.version(package) for package in ("torch", "onnx", "onnxruntime")},
        data_digest=dataset.schema.digest,
        settings_digest=digest_of(record.model),
        weights_digest=record.weights_sha256,
        digest="",
    )
    certificate = certify(model, Bundle(folder, draft, threads), dataset.items("test"))
    if not certificate.passed:
        raise StageError("no certificate: " + "; ".join(certificate.failures))
    write_manifest(folder, draft.model_copy(update={"certificate": certificate}))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write bundle.json with its digest."""
    sealed = manifest.model_copy(update={"digest": manifest.computed_digest()})
    (folder / MANIFEST).write_text(sealed.model_dump_json(indent=1))
