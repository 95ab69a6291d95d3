"""The training benchmark: one line of JSON, and peers that may be absent but are never left out in silence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from benchmarks import training
from benchmarks.loops import Pass
from components.data import write_dataset
from items.spec import ItemSpec

ITEM = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    items = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)[..., None]
    splits = {"train": items[:600], "validation": items[600:700], "test": items[700:800]}
    write_dataset(
        tmp_path / "digits",
        name="digits",
        item=ITEM,
        splits={name: {"items": array} for name, array in splits.items()},
        classes=None,
        source="scikit-learn",
        licence="CC BY 4.0",
    )
    return tmp_path / "digits"


def test_it_prints_one_line_of_ratios_and_leaves_the_threads_as_they_were(
    digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_num_threads()
    options = ["--data", str(digits), "--items", "600", "--rounds", "2", "--threads", "1", "--hidden", "32"]
    training.main([*options, "--without", "pythae", "autoencoders"])
    (line,) = capsys.readouterr().out.splitlines()
    printed = json.loads(line)
    (result,) = printed["results"]
    assert printed["network"] == "64-32-16-32-64, SiLU"
    assert result["items_per_second"].keys() == {"ours", "bare"}
    assert result["ratios"]["bare"]["target"] == 0.95
    # Both loops start from the same weights, so after as many steps they must have come as far.
    assert result["squared_error"]["ours"] == pytest.approx(result["squared_error"]["bare"], rel=0.03)
    assert torch.get_num_threads() == before


def test_ratios_are_of_pairs_in_a_round_and_above_one_where_ours_is_faster() -> None:
    seconds = {"ours": [9.0, 1.0, 2.0, 4.0], "bare": [9.0, 2.0, 2.0, 2.0]}
    laps = {name: iter([Pass(each, each, 0.0) for each in times]) for name, times in seconds.items()}
    loops = {name: (lambda work, laps=made: next(laps)) for name, made in laps.items()}
    floats = torch.zeros(10, 4)
    work = training.Work(ITEM, np.zeros((10, 8, 8, 1), np.uint8), floats, hidden=2, code=1, batch_size=5)
    result = training.timed(loops, work, threads=torch.get_num_threads(), rounds=3)
    assert result["ratios"]["bare"] == {"median": 1.0, "min": 0.5, "max": 2.0, "target": 0.95, "met": True}
    assert result["items_per_second"]["ours"] == {"median": 5.0, "min": 2.0, "max": 10.0}


def test_a_peer_that_is_not_installed_is_an_error_that_says_what_to_do(
    digits: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "installed", lambda peer: peer != "pythae")
    with pytest.raises(SystemExit):
        training.main(["--data", str(digits)])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "pythae is not installed: `make bench` installs it" in printed.err
    assert "--without pythae" in printed.err


def test_data_that_is_not_prepared_is_an_error_that_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        training.main(["--data", str(tmp_path / "none"), "--without", "pythae", "autoencoders"])
    assert "dvc repro prepare@mnist" in capsys.readouterr().err
