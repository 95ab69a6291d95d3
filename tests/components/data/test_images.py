from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.data import DataError, ImagesSettings, RawDataset, load, open_dataset, write_dataset
from components.settings import SettingError
from items.pixels import Fit
from items.spec import ItemSpec


def save(path: Path, image: Image.Image | np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(path, **options)
    return path


def grey(value: int, height: int = 4, width: int = 4) -> np.ndarray:
    return np.full((height, width), value, np.uint8)


def load_images(root: Path, seed: int = 0, **given: Any) -> RawDataset:
    settings = ImagesSettings.model_validate({"source": "pictures", "size": 4} | given)
    return load(settings, "mine", seed=seed, downloads=root / "cache", root=root)


def together(raw: RawDataset, name: str = "items") -> np.ndarray:
    return np.concatenate([raw.splits[split][name] for split in ("train", "validation", "test")])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twenty grey images, the n-th all of brightness n, in two levels of folders."""
    for number in range(20):
        save(tmp_path / "pictures" / f"class{number % 3}" / f"{number // 10}" / f"{number:02}.png", grey(number))
    return tmp_path / "pictures"


def test_each_image_is_in_one_split_with_its_first_folder_as_class(pictures: Path, tmp_path: Path) -> None:
    raw = load_images(tmp_path, validation=0.2, test=0.1)
    assert {split: len(arrays["items"]) for split, arrays in raw.splits.items()} == {
        "train": 14,
        "validation": 4,
        "test": 2,
    }
    assert raw.item == ItemSpec(kind="image", shape=(4, 4, 1), dtype="uint8", fit=Fit())
    assert raw.classes == ("class0", "class1", "class2")
    items, labels = together(raw), together(raw, "labels")
    assert sorted(items[:, 0, 0, 0].tolist()) == list(range(20))
    assert (items == items[:, :1, :1]).all()
    assert labels.tolist() == (items[:, 0, 0, 0] % 3).tolist()


def test_the_seed_alone_decides_the_splits(pictures: Path, tmp_path: Path) -> None:
    first, again, other = (together(load_images(tmp_path, seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_is_loaded_can_be_written_and_opened(pictures: Path, tmp_path: Path) -> None:
    raw = load_images(tmp_path)
    write_dataset(tmp_path / "data", "mine", raw.item, raw.splits, raw.classes, raw.source, raw.licence)
    opened = open_dataset(tmp_path / "data", verify=True)
    assert np.array_equal(opened.array("train"), raw.splits["train"]["items"])
    assert raw.source == "images in pictures"


def test_an_image_outside_of_the_class_folders_means_no_classes(pictures: Path, tmp_path: Path) -> None:
    save(pictures / "stray.png", grey(99))
    assert load_images(tmp_path).classes is None


def test_one_folder_for_all_is_no_class(tmp_path: Path) -> None:
    for number in range(10):
        save(tmp_path / "pictures" / "all" / f"{number}.png", grey(number))
    raw = load_images(tmp_path)
    assert raw.classes is None
    assert set(raw.splits["train"]) == {"items"}


def test_items_are_mapped_and_nothing_is_left_in_the_cache(pictures: Path, tmp_path: Path) -> None:
    raw = load_images(tmp_path)
    assert isinstance(raw.splits["train"]["items"], np.memmap)
    assert list((tmp_path / "cache").iterdir()) == []


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    save(tmp_path / "pictures" / "0.png", grey(7, 200, 200))
    for number in range(1, 300):
        os.link(tmp_path / "pictures" / "0.png", tmp_path / "pictures" / f"{number}.png")
    tracemalloc.start()
    try:
        raw = load_images(tmp_path, size=200)
        write_dataset(tmp_path / "data", "mine", raw.item, raw.splits, raw.classes, raw.source, raw.licence)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.3 * 300 * 200 * 200


def test_a_colour_image_among_grey_ones_makes_all_three_channels(pictures: Path, tmp_path: Path) -> None:
    save(pictures / "class0" / "red.png", Image.new("RGB", (4, 4), (200, 10, 20)))
    raw = load_images(tmp_path)
    assert raw.item.shape == (4, 4, 3)
    assert [200, 10, 20] in together(raw)[:, 0, 0].tolist()
    assert load_images(tmp_path, channels=1).item.shape == (4, 4, 1)


def broken_files(folder: Path) -> dict[str, str]:
    (folder / "a-empty.png").write_bytes(b"")
    (folder / "b-text.jpg").write_text("not an image")
    whole = save(folder / "c-cut.png", np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).read_bytes()
    (folder / "c-cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "d-link.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "e-pipe.png")
    (folder / "f-svg.png").write_text("<svg/>")
    return {
        "a-empty.png": "it is empty",
        "b-text.jpg": "it is not a whole image in a format that is read",
        "c-cut.png": "truncated",
        "d-link.png": "a link to nothing",
        "e-pipe.png": "it is a named pipe, only regular files are read",
    }


def test_broken_files_stop_with_the_first_few_reasons_and_the_count(pictures: Path, tmp_path: Path) -> None:
    expected = broken_files(pictures)
    with pytest.raises(DataError) as caught:
        load_images(tmp_path)
    first, *lines = str(caught.value).splitlines()
    assert first == f"dataset mine: 6 of 26 images in {pictures} cannot be read:"
    for line, (name, reason) in zip(lines, expected.items(), strict=False):
        assert line.startswith(f"  {name}: ")
        assert reason in line
    assert lines[5:] == ["  and 1 more", "With `datasets.mine.on_error: skip` they are left out."]


def test_skipped_files_are_each_named_and_the_rest_goes_on(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken_files(pictures)
    (pictures / "class3").mkdir()
    for path in list(pictures.glob("*.*")):
        path.rename(pictures / "class3" / path.name)
    raw = load_images(tmp_path, on_error="skip", validation=0.25)
    assert len(caplog.messages) == 6
    assert caplog.messages[0] == "dataset mine: skipped class3/a-empty.png: it is empty"
    assert raw.source.endswith("without 6 that cannot be read")
    assert sorted(together(raw)[:, 0, 0, 0].tolist()) == list(range(20))
    assert len(raw.splits["validation"]["items"]) == 5
    assert raw.classes == ("class0", "class1", "class2")
    assert together(raw, "labels").tolist() == (together(raw)[:, 0, 0, 0] % 3).tolist()


def test_all_broken_is_an_error_with_skip_too(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(10):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(b"")
    with pytest.raises(DataError, match="10 of 10 images") as caught:
        load_images(tmp_path, on_error="skip")
    assert "on_error" not in str(caught.value)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (0, "holds no image .* among 1 files"),
        (1, "holds one image"),
        (2, "2 images"),
        (4, "split validation would be empty .* 6 are enough"),
    ],
)
def test_too_few_images_are_an_error(tmp_path: Path, count: int, message: str) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "notes.txt").write_text("")
    for number in range(count):
        save(tmp_path / "pictures" / f"{number}.png", grey(number))
    with pytest.raises(DataError, match=message):
        load_images(tmp_path)


def test_a_size_is_one_side_or_height_and_width(pictures: Path, tmp_path: Path) -> None:
    assert load_images(tmp_path, size=6).item.shape == (6, 6, 1)
    raw = load_images(tmp_path, size=[2, 6])
    assert raw.item.shape == raw.splits["test"]["items"].shape[1:] == (2, 6, 1)


def test_a_folder_that_is_not_there_and_fractions_that_cannot_be_are_named(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent is not there"):
        load_images(tmp_path, source="absent")
    with pytest.raises(SettingError, match=r"validation: 0\.5, with test: 0\.5"):
        load_images(tmp_path, validation=0.5, test=0.5)


def test_names_that_are_no_text_are_written_out(tmp_path: Path) -> None:
    for number in range(10):
        folder = os.fsencode(tmp_path / "pictures") + (b"/caf\xe9" if number % 2 else b"/tea")
        Path(os.fsdecode(folder)).mkdir(parents=True, exist_ok=True)
        save(Path(os.fsdecode(folder)) / f"{number}.png", grey(number))
    raw = load_images(tmp_path)
    assert raw.classes == ("caf\\xe9", "tea")
    write_dataset(tmp_path / "data", "mine", raw.item, raw.splits, raw.classes, raw.source, raw.licence)


def test_links_out_of_the_folder_are_refused_and_links_inside_followed(pictures: Path, tmp_path: Path) -> None:
    save(tmp_path / "outside.png", Image.new("RGB", (4, 4), (200, 10, 20)))
    (pictures / "class0" / "outside.png").symlink_to(tmp_path / "outside.png")
    (pictures / "class0" / "zero.png").symlink_to("/dev/zero")
    (pictures / "class0" / "inside.png").symlink_to("../class1/0/01.png")
    with pytest.raises(DataError, match=r"2 of 23 .*\n  class0/outside\.png: it is a link that leaves the folder"):
        load_images(tmp_path)
    raw = load_images(tmp_path, on_error="skip")
    assert raw.item.shape == (4, 4, 1)  # what is outside has no say in the channels
    assert len(together(raw)) == 21


def test_a_folder_that_cannot_be_listed_is_not_passed_over(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "class1":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"class1/: it is a folder that cannot be listed"):
        load_images(tmp_path)
