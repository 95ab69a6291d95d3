"""The search in codes: the nearest by every distance, whatever the shards; and what is shown of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving import cli
from serving.bundle import Bundle
from serving.encoding import encode_to_shards
from serving.inputs import InputError, open_input
from serving.search import Found, distance_of, manifest_for, query_items, search
from serving.shards import ShardsError

Folder = Callable[[np.ndarray], Path]


def encoded(folder: Path, bundle: Bundle, out: Path, shard_size: int = 7) -> Path:
    encode_to_shards(
        open_input(folder, bundle.manifest.item), bundle, out, batch_size=shard_size, shard_size=shard_size
    )
    return out


@pytest.mark.parametrize("name", ["linear", "quantized"])
def test_the_nearest_are_those_of_all_distances(
    name: str, request: pytest.FixtureRequest, pictures: np.ndarray, folder_of: Folder, tmp_path: Path
) -> None:
    bundle: Bundle = request.getfixturevalue(name)
    folder = folder_of(pictures)
    codes = encoded(folder, bundle, tmp_path / "codes")
    all_codes = bundle.encode(pictures).reshape(len(pictures), -1)
    ids = [f"{'ab'[row >= 10]}/{row:03d}.png" for row in range(len(pictures))]
    for row in (0, 9, 22):
        found = search(codes, bundle, pictures[row : row + 1], count=5)
        if bundle.discrete:
            distances = (all_codes != all_codes[row]).sum(1).astype(float)
        else:
            distances = np.linalg.norm(all_codes - all_codes[row], axis=1).astype(float)
        order = np.argsort(distances, kind="stable")[:5]
        assert [one.id for one in found] == [ids[place] for place in order]
        assert [one.distance for one in found] == pytest.approx(distances[order].tolist(), abs=1e-5)
        assert found[0] == Found(ids[row], 0.0)
    assert distance_of(bundle) == ("Hamming" if bundle.discrete else "Euclidean")
    assert len(search(codes, bundle, pictures[:1], count=100)) == len(pictures)


def test_codes_of_another_bundle_are_not_searched(
    linear: Bundle, quantized: Bundle, pictures: np.ndarray, folder_of: Folder, tmp_path: Path
) -> None:
    codes = encoded(folder_of(pictures), linear, tmp_path / "codes")
    with pytest.raises(ShardsError, match="made by bundle"):
        search(codes, quantized, pictures[:1])
    with pytest.raises(ShardsError, match="holds no finished codes"):
        manifest_for(tmp_path, linear)


def test_a_query_is_an_image_or_an_array(
    linear: Bundle, pictures: np.ndarray, folder_of: Folder, tmp_path: Path
) -> None:
    folder, item = folder_of(pictures), linear.manifest.item
    np.testing.assert_array_equal(query_items(str(folder / "a" / "003.png"), item), pictures[3:4])
    np.save(tmp_path / "one.npy", pictures[5:6])
    np.testing.assert_array_equal(query_items(str(tmp_path / "one.npy"), item), pictures[5:6])
    np.save(tmp_path / "two.npy", pictures[5:7])
    with pytest.raises(InputError, match=r"two\.npy: holds 2 items, a query is one"):
        query_items(str(tmp_path / "two.npy"), item)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"broken\.png: "):
        query_items(str(tmp_path / "broken.png"), item)
    with pytest.raises(InputError, match=r"a sentence: no such file; the bundle takes image items"):
        query_items("a sentence", item)


def test_the_command_prints_the_nearest_and_draws_them(
    linear: Bundle,
    pictures: np.ndarray,
    folder_of: Folder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = folder_of(pictures)
    codes = encoded(folder, linear, tmp_path / "codes")
    query = str(folder / "b" / "012.png")

    def run(*more: str) -> int:
        words = ["hourglass", "search", str(codes), query, "--model", str(linear.folder), "--count", "3", *more]
        monkeypatch.setattr("sys.argv", words)
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    assert run("--sheet", str(tmp_path / "sheet.png")) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["1", "2", "3"]
    assert lines[0][1:] == ["0", "b/012.png"]
    assert Image.open(tmp_path / "sheet.png").size == (4 * 100 - 4, 96)
    assert run("--sheet", str(tmp_path / "sheet.nothing")) == 1
    assert "sheet.nothing: unknown file extension" in capsys.readouterr().err
    folder.rename(tmp_path / "moved")
    query = str(tmp_path / "moved" / "b" / "012.png")
    assert run("--sheet", str(tmp_path / "again.png")) == 1
    assert "a contact sheet shows images of a folder that is as it was when it was encoded" in capsys.readouterr().err
