"""Image files from training to serving: `encode` makes of a file what `prepare` made of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drafts import bundled
from PIL import Image

from components.data import SPLITS, ImagesSettings, load, open_dataset, write_dataset
from components.models import TrainingRun
from components.models.pca import PCASettings
from pipelines.export.work import write_manifest
from serving import cli
from serving.inputs import batches, open_input
from serving.shards import read_codes


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def palette() -> Image.Image:
    return Image.fromarray(noise(9, 14, 3)).quantize(16)


CASES: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
    "grey": (Image.fromarray(noise(13, 9)), "png", {}),
    "colour": (Image.fromarray(noise(13, 29, 3)), "jpg", {}),
    "alpha": (Image.fromarray(noise(16, 9, 4)), "png", {}),
    "grey and alpha": (Image.fromarray(noise(16, 9, 4)).convert("LA"), "png", {}),
    "palette": (palette(), "png", {}),
    "transparent palette": (palette(), "png", {"transparency": 3}),
    "two colours": (Image.fromarray(noise(9, 9)).convert("1"), "png", {}),
    "cmyk": (Image.fromarray(noise(9, 9, 3)).convert("CMYK"), "jpg", {}),
    "turned": (Image.fromarray(noise(9, 17, 3)), "png", {"exif": exif(6)}),
    "mirrored": (Image.fromarray(noise(9, 17, 3)), "jpg", {"exif": exif(2)}),
    "sixteen bits": (Image.fromarray(noise(9, 9).astype(np.uint16) * 257 + 100), "png", {}),
    "sixteen bits, turned": (Image.fromarray(noise(9, 17).astype(np.uint16) * 200), "tif", {"exif": exif(6)}),
    "animated": (palette(), "gif", {"save_all": True, "append_images": [palette().rotate(90)]}),
}


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_has_the_same_pixels_for_training_and_for_serving(tmp_path: Path, channels: int) -> None:
    for name, (image, suffix, options) in CASES.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        image.save(tmp_path / "in" / f"{name}.{suffix}", **options)
    settings = ImagesSettings.model_validate({"source": "in", "size": (8, 6), "channels": channels})
    raw = load(settings, "mine", seed=0, downloads=tmp_path, root=tmp_path)
    prepared = np.concatenate([arrays["items"] for arrays in raw.splits.values()])
    source = open_input(tmp_path / "in", PCASettings(size=1).build(raw.item).item)
    (batch,) = batches(source, 100)
    assert batch.skipped == []
    assert sorted(item.tobytes() for item in batch.items) == sorted(item.tobytes() for item in prepared)


def test_encode_takes_the_folder_that_the_model_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        Image.fromarray(noise(17, 16, 4, seed=number)).save(tmp_path / f"{number}.png")
    raw = load(
        ImagesSettings(source=tmp_path, size=(4, 6)), "mine", seed=0, downloads=tmp_path / "cache", root=tmp_path
    )
    write_dataset(tmp_path / "data", "mine", raw.item, raw.splits, raw.classes, raw.source, raw.licence)
    data = open_dataset(tmp_path / "data")
    prepared = np.concatenate([data.array(split) for split in SPLITS])
    model = PCASettings(size=3).build(data.schema.item)
    for _ in model.fit(TrainingRun(prepared, prepared, epochs=1, seed=0)):
        pass
    bundle = bundled(model, tmp_path / "bundle")
    write_manifest(tmp_path / "bundle", bundle.manifest)

    def encode(*options: str) -> int:
        arguments = [
            "hourglass",
            "encode",
            str(tmp_path),
            "--model",
            str(tmp_path / "bundle"),
            "--out",
            str(tmp_path / "codes"),
        ]
        monkeypatch.setattr(sys, "argv", [*arguments, *options])
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    assert encode() == 0
    ((_, codes),) = read_codes(tmp_path / "codes")
    np.testing.assert_allclose(np.sort(codes, axis=0), np.sort(bundle.encode(prepared), axis=0), atol=1e-5)

    capsys.readouterr()
    assert encode("--strict", "--overwrite") == 1
    assert "0.png: it is 16×17 pixels, must be 6×4; with `--resize`" in capsys.readouterr().err
