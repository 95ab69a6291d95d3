"""export: the best trial's model as a bundle with a passing certificate.

python -m pipelines.export EXPERIMENT
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

from components.data import PreparedDataset, open_dataset
from components.models import Model
from items.atomic import written_whole
from pipelines.export.certificate import UNPROVEN, certify
from pipelines.export.graphs import export_decoder, export_encoder
from pipelines.project import Project, StageError
from pipelines.sweep.record import RunRecord, digest_of, read_model, read_record
from serving.bundle import Bundle
from serving.manifest import MANIFEST, Certificate, Manifest


def main(name: str) -> None:
    """Export one experiment's best model."""
    project = Project.here()
    record = read_record(project.run(name))
    dataset = open_dataset(project.data(record.dataset))
    model = read_model(project.run(name), record, dataset.schema.item)
    certificate = export(model, record, dataset, project.bundle(name))
    sys.stdout.write(f"{name}: certified; {certificate.summary}\n")


def export(model: Model, record: RunRecord, dataset: PreparedDataset, folder: Path) -> Certificate:
    """Write a bundle: whole, or not at all.

    Raises:
        StageError: the graphs do not compute what the model computes; nothing is written.
    """
    with written_whole(folder) as made:
        draft = Manifest(
            name=record.experiment,
            item=model.item,
            code=model.code,
            encoder=export_encoder(model, made),
            decoder=export_decoder(model, made),
            certificate=UNPROVEN,
            versions={package: importlib.metadata.version(package) for package in ("torch", "onnx", "onnxruntime")},
            data_digest=dataset.schema.digest,
            settings_digest=digest_of(record.model.model_dump(mode="json")),
            weights_digest=record.weights_sha256,
            digest="",
        )
        certificate = certify(model, Bundle(made, draft, threads=1), dataset.array("test"))
        if not certificate.passed:
            raise StageError(f"{record.experiment}: no certificate: " + "; ".join(certificate.failures))
        write_manifest(made, draft.model_copy(update={"certificate": certificate}))
    return certificate


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write bundle.json with its digest."""
    sealed = manifest.model_copy(update={"digest": manifest.computed_digest()})
    (folder / MANIFEST).write_text(sealed.model_dump_json(indent=1))
