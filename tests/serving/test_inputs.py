from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_bundles import SHAPE

from items.spec import ItemSpec
from serving.batches import Chunk
from serving.images import ImageDecoder
from serving.inputs import Batch, InputError, batches, open_input

GREY = ItemSpec(kind="image", shape=SHAPE, dtype="uint8")
COLOUR = ItemSpec(kind="image", shape=(4, 4, 3), dtype="uint8")
VECTOR = ItemSpec(kind="vector", shape=(3,), dtype="float32")


def everything(path: Path, item: ItemSpec, size: int = 5, **options) -> tuple[list[str], np.ndarray, dict[str, str]]:
    found = list(batches(open_input(path, item, **options), size))
    reasons = {item.id: item.reason for batch in found for item in batch.skipped}
    return [name for batch in found for name in batch.ids], np.concatenate([batch.items for batch in found]), reasons


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(file, "PNG")
    return file.getvalue()


class Marked:
    """A source of numbers 0, 1, 2, …: those in `broken` cannot be read."""

    path, fingerprint = "marked", ""

    def __init__(self, total: int, broken: set[int], chunk: int) -> None:
        self.total, self.broken, self.chunk = total, broken, chunk

    def chunks(self, start, size):
        for first in range(start, self.total, self.chunk):
            numbers = range(first, min(first + self.chunk, self.total))
            whole = np.array([[number] for number in numbers if number not in self.broken]).reshape(-1, 1)
            lost = {place: "broken" for place, number in enumerate(numbers) if number in self.broken}
            yield Chunk([str(number) for number in numbers], whole, lost)


@given(st.integers(1, 60), st.sets(st.integers(0, 59)), st.integers(1, 20), st.integers(1, 9), st.data())
def test_batches_lose_nothing_and_can_go_on_after_any_of_them(total, broken, chunk, size, data) -> None:
    source = Marked(total, {entry for entry in broken if entry < total}, chunk)
    whole = [entry for entry in range(total) if entry not in broken]
    cut = list(batches(source, size))
    assert [int(item) for batch in cut for item in batch.items[:, 0]] == whole
    assert [name for batch in cut for name in batch.ids] == [str(entry) for entry in whole]
    assert [int(item.id) for batch in cut for item in batch.skipped] == sorted(source.broken)
    assert all(len(batch.ids) == size for batch in cut[:-1])
    assert cut[-1].stop == total

    after = data.draw(st.integers(0, len(cut) - 1))
    rest = list(batches(source, size, cut[after].stop))
    assert [content(batch) for batch in rest] == [content(batch) for batch in cut[after + 1 :]]


def content(batch: Batch) -> tuple:
    return batch.ids, batch.items.tolist(), batch.skipped, batch.stop


def test_rows_without_the_channel_axis_are_taken(tmp_path: Path, pictures: np.ndarray) -> None:
    np.save(tmp_path / "rows.npy", pictures[..., 0])
    ids, items, _ = everything(tmp_path / "rows.npy", GREY)
    np.testing.assert_array_equal(items, pictures)
    assert ids == [str(row) for row in range(23)]


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.zeros((2, 9, 9, 1), np.uint8), r"items have shape \(9, 9, 1\), the bundle takes \(4, 4, 1\)"),
        (np.zeros((2, *SHAPE), np.int64), "items are int64, the bundle takes uint8"),
        (np.zeros((0, *SHAPE), np.uint8), "holds no items"),
        (np.array([{}], object), "without pickled objects"),
        (np.uint8(3), "not an array of items"),
    ],
)
def test_an_unfit_array_is_refused(tmp_path: Path, array: np.ndarray, complaint: str) -> None:
    np.save(tmp_path / "items.npy", array)
    with pytest.raises(InputError, match=complaint):
        open_input(tmp_path / "items.npy", GREY)


def test_a_truncated_array_is_refused(tmp_path: Path, pictures: np.ndarray) -> None:
    np.save(tmp_path / "items.npy", pictures)
    whole = (tmp_path / "items.npy").read_bytes()
    for length in (0, 30, len(whole) - 9):
        (tmp_path / "items.npy").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"not a whole \.npy array"):
            open_input(tmp_path / "items.npy", GREY)


def test_rows_that_are_not_finite_are_reported(tmp_path: Path) -> None:
    array = np.arange(21, dtype=np.float32).reshape(7, 3)
    array[2, 1], array[5, 0] = np.nan, np.inf
    np.save(tmp_path / "items.npy", array)
    ids, items, reasons = everything(tmp_path / "items.npy", VECTOR, size=2)
    assert ids == ["0", "1", "3", "4", "6"]
    np.testing.assert_array_equal(items, array[[0, 1, 3, 4, 6]])
    assert reasons == dict.fromkeys(["2", "5"], "it holds NaN or infinity")


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path: Path, pictures: np.ndarray) -> None:
    names = ["a.png", "a/x.bmp", "a/y/z.tif", "a0.gif", "B.PNG", "ü.webp", "notes.txt"]
    for name, picture in zip(names[:-1], pictures, strict=False):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[..., 0]).save(path, **({"lossless": True} if path.suffix == ".webp" else {}))
    (tmp_path / "in" / names[-1]).write_text("not an image")
    (tmp_path / "in" / "circle").symlink_to(tmp_path / "in")
    ids, items, reasons = everything(tmp_path / "in", GREY)
    assert ids == sorted(names[:-1])
    np.testing.assert_array_equal(items, pictures[[names.index(name) for name in ids]])
    assert reasons == {}


def test_images_are_decoded_only_a_little_ahead(pictures: np.ndarray) -> None:
    given = 0

    def many():
        nonlocal given
        for given in range(5000):
            yield str(given), png(pictures[0])

    chunks = ImageDecoder(GREY, resize=False).ahead(many(), size=100)
    taken = sum(len(next(chunks).ids) for _ in range(50))
    chunks.close()
    assert given - taken <= 3 * 100


def test_images_get_the_items_channels(tmp_path: Path) -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    (tmp_path / "red.png").write_bytes(png(red))
    Image.fromarray(red).quantize().save(tmp_path / "palette.gif")
    _, colour, _ = everything(tmp_path, COLOUR)
    _, grey, _ = everything(tmp_path, GREY)
    assert (colour == red).all()
    assert (grey == round(0.299 * 255)).all()


def test_every_broken_image_is_reported_by_name_and_reason(tmp_path: Path, pictures: np.ndarray) -> None:
    good = png(pictures[0])
    noise = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    files = {
        "a-good.png": good,
        "b-empty.png": b"",
        "c-truncated.png": good[:50],
        "d-text.jpg": b"hello",
        "e-large.png": png(np.zeros((9, 7, 1), np.uint8)),
        "f-good.png": png(noise),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "g-deep.tif")
    (tmp_path / "h-gone.png").symlink_to(tmp_path / "nowhere.png")
    ids, items, reasons = everything(tmp_path, GREY)
    assert ids == ["a-good.png", "f-good.png"]
    assert len(items) == 2
    assert list(reasons) == [*list(files)[1:5], "g-deep.tif", "h-gone.png"]
    assert reasons["b-empty.png"] == "it is empty"
    assert reasons["c-truncated.png"].startswith("it cannot be read: ")
    assert reasons["d-text.jpg"].startswith("it is not a whole image")
    assert reasons["e-large.png"] == "it is 7×9 pixels, must be 4×4; with `--resize` it is scaled and cropped"
    assert "floating-point" in reasons["g-deep.tif"]
    assert "a link to nothing" in reasons["h-gone.png"]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_other_sizes_are_resized_on_request_and_bombs_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    (tmp_path / "even.png").write_bytes(png(np.full((9, 7, 1), 77, np.uint8)))
    (tmp_path / "large.png").write_bytes(png(np.zeros((11, 11, 1), np.uint8)))
    (tmp_path / "vast.png").write_bytes(png(np.zeros((99, 99, 1), np.uint8)))
    ids, items, reasons = everything(tmp_path, GREY, resize=True)
    assert ids == ["even.png"]
    assert (items == 77).all()
    assert reasons["large.png"] == "it has 121 pixels, at most 100 are read"
    assert "decompression bomb" in reasons["vast.png"]


@pytest.mark.parametrize("huggingface", [True, False])
def test_a_table_of_images_gives_their_pixels(tmp_path: Path, pictures: np.ndarray, huggingface: bool) -> None:
    encoded = [png(picture) for picture in pictures]
    encoded[7] = None
    images = [{"bytes": content, "path": "x"} for content in encoded] if huggingface else encoded
    pq.write_table(pa.table({"label": [0] * 23, "image": images}), tmp_path / "t.parquet", row_group_size=4)
    ids, items, reasons = everything(tmp_path / "t.parquet", GREY)
    assert ids == [str(row) for row in range(23) if row != 7]
    np.testing.assert_array_equal(items, np.delete(pictures, 7, axis=0))
    assert reasons == {"7": "it is empty"}
    source = open_input(tmp_path / "t.parquet", GREY)
    assert [name for batch in batches(source, 5, start=9) for name in batch.ids] == ids[8:]


def test_a_table_of_several_images_needs_the_columns_name(tmp_path: Path, pictures: np.ndarray) -> None:
    encoded = [png(picture) for picture in pictures]
    columns = {"id": [f"n{row}" for row in range(23)], "front": encoded, "back": encoded[::-1]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"one column of encoded images; it has \['front', 'back'\]"):
        open_input(tmp_path / "t.parquet", GREY)
    with pytest.raises(InputError, match="the column of encoded images 'side'; it has"):
        open_input(tmp_path / "t.parquet", GREY, column="side")
    ids, items, _ = everything(tmp_path / "t.parquet", GREY, column="back")
    assert ids == columns["id"]
    np.testing.assert_array_equal(items, pictures[::-1])


def test_three_kinds_of_input_give_the_same_items(
    tmp_path: Path, pictures: np.ndarray, folder_of: Callable[[np.ndarray], Path]
) -> None:
    np.save(tmp_path / "p.npy", pictures)
    pq.write_table(pa.table({"image": [png(picture) for picture in pictures]}), tmp_path / "p.parquet")
    for path in (tmp_path / "p.npy", tmp_path / "p.parquet", folder_of(pictures)):
        np.testing.assert_array_equal(everything(path, GREY)[1], pictures)


def test_what_cannot_be_an_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "items.csv").write_text("1,2")
    (tmp_path / "items.parquet").write_text("PAR1")
    (tmp_path / "items.npy").write_bytes(b"")
    for name, complaint in {
        "nowhere": "no such file or folder",
        "empty": "holds no items",
        "items.csv": r"items\.csv: must be a folder of images, an \.npy file or a \.parquet file",
        "items.parquet": "not a whole Parquet file",
    }.items():
        with pytest.raises(InputError, match=complaint):
            open_input(tmp_path / name, GREY)
    with pytest.raises(InputError, match="the bundle takes vector items"):
        open_input(tmp_path / "empty", VECTOR)


def test_a_fingerprint_changes_with_the_input_and_how_it_is_read(tmp_path: Path, pictures: np.ndarray) -> None:
    (tmp_path / "a.png").write_bytes(png(pictures[0]))
    seen = [open_input(tmp_path, GREY).fingerprint, open_input(tmp_path, GREY, resize=True).fingerprint]
    assert open_input(tmp_path, GREY).fingerprint == seen[0]
    (tmp_path / "b.png").write_bytes(png(pictures[1]))
    seen.append(open_input(tmp_path, GREY).fingerprint)
    (tmp_path / "b.png").write_bytes(png(pictures[1]) + b"\0")
    seen.append(open_input(tmp_path, GREY).fingerprint)
    assert len(set(seen)) == 4
