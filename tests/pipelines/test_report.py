"""The report as a page: whole in itself, and true to what it shows."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from lab import MEASURED, MLP, PCA, VQVAE, Lab, read

from pipelines.compare.experiments import Entry
from pipelines.compare.report import costs, leaderboard, render_report
from pipelines.settings.spaces import Distribution
from pipelines.sweep.plots import draw_space
from pipelines.sweep.record import write_record


class Outside(HTMLParser):
    """Collects every address that a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [str(value) for key, value in attrs if key in ("src", "href", "srcset", "action", "data")]


def test_the_report_needs_nothing_but_itself(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.experiment("one")
    lab.experiment("two", model=MLP, squared_error=(5.0, 4.9, 5.1))
    html = (lab.compare(monkeypatch) / "index.html").read_text()
    page = Outside()
    page.feed(html)
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.found)
    assert sum(address.startswith("data:") for address in page.found) == 1 + 2 * 2
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"url\(|@import", html)
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert {address[1:] for address in page.found if address.startswith("#")} <= set(ids)
    assert html.count('width="520"') == 4  # 780 pixels of 150 an inch, at the page's 100
    assert html.count("<img ") == len(re.findall(r'<img [^>]*alt="[^"]+"', html))


def test_an_experiment_without_pictures_still_has_its_section(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    unmeasured: dict[str, Any] = dict.fromkeys(MEASURED)
    lab.experiment("bare", pictures=False, **unmeasured)
    html = (lab.compare(monkeypatch) / "index.html").read_text()
    assert "<img" not in html
    assert "hourglass encode data/digits/test-items.npy --model bundles/bare --out codes/bare" in html
    assert "no memory" in html  # why the other trial failed


def test_the_leaderboard_marks_the_best_only_where_it_is_apart(lab: Lab) -> None:
    lab.experiment("a", bits=64, squared_error=(3.0, 2.9, 3.1), knn_accuracy=(0.90, 0.88, 0.92))
    lab.experiment("b", bits=32, squared_error=(4.0, 3.9, 4.1), knn_accuracy=(0.91, 0.89, 0.93))
    columns, lines = leaderboard(read(lab))
    marks = {
        entry.name: dict(zip((c.key for c in columns), (c.mark for c in cells), strict=True)) for entry, cells in lines
    }
    assert (marks["a"]["squared_error"], marks["b"]["squared_error"]) == ("best", "")
    assert (marks["a"]["bits_per_item"], marks["b"]["bits_per_item"]) == ("", "best")
    assert (marks["a"]["knn_accuracy"], marks["b"]["knn_accuracy"]) == ("near", "near")
    _, families = costs(read(lab))
    assert {cell.mark for lines in families.values() for _, cells, _ in lines for cell in cells} == {""}  # timings too
    assert "codebook_usage" not in marks["a"]


def test_a_single_point_is_not_called_a_search(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.experiment("drawn", model=MLP)
    reports = lab.compare(monkeypatch)
    assert "Searched: learning rate in 0.001 … 0.01 (log), best 0.002." in (reports / "index.html").read_text()
    record = read(lab)[0].record
    alone = record.model_copy(update={"trials": record.trials[:1]})
    write_record(lab.project.run("drawn"), alone)
    lab.compare(monkeypatch)
    text = (reports / "index.html").read_text()
    assert "Searched" not in text
    assert "Nothing was searched, a single point was drawn: learning rate 0.002 from 0.001 … 0.01 (log)." in text
    space = {path: Distribution("log_uniform", (0.001, 0.01)) for path in record.space}
    drawn = {}
    for name, one in (("alone", alone), ("searched", record)):
        (folder := lab.project.root / name).mkdir()
        draw_space(one, space, folder)
        drawn[name] = [path.name for path in folder.iterdir()]
    assert drawn == {"alone": [], "searched": ["space.png"]}


def test_names_and_sources_cannot_inject_html(lab: Lab) -> None:
    lab.dataset("digits", classes=("<i>a", "b"), source="<script>alert(1)</script>")
    lab.experiment("plain")
    (entry,) = read(lab)
    evil = Entry(**{**vars(entry), "name": '"><script>evil()</script>'})
    html = render_report([evil, entry], {})
    assert "<script" not in html
    assert "<i>a" not in html
    assert "&lt;script&gt;evil()" in html
    assert "&lt;script&gt;alert(1)" in html


def test_shares_of_active_units_have_a_column_only_where_they_were_measured(lab: Lab) -> None:
    lab.experiment("dense")
    assert "active_fraction" not in [column.key for column in leaderboard(read(lab))[0]]
    lab.experiment("sparse", active_fraction=(0.125, 0.12, 0.13))
    columns, lines = leaderboard(read(lab))
    place = [column.key for column in columns].index("active_fraction")
    assert (columns[place].title, columns[place].unit, columns[place].better) == ("Active", "% of units", "")
    assert {entry.name: (cells[place].text, cells[place].mark) for entry, cells in lines} == {
        "dense": ("–", ""),
        "sparse": ("12.5", ""),
    }


def test_costs_go_by_the_sort_of_code_and_then_by_size(lab: Lab) -> None:
    gaussian = MLP | {"bottleneck": {"kind": "gaussian", "size": 4}}
    lab.experiment("vq", model=VQVAE, bits=80)
    lab.experiment("pca", model=PCA, bits=128)
    lab.experiment("linear", model=MLP | {"network": {"kind": "linear"}}, bits=64)
    lab.experiment("deep", model=MLP)
    lab.experiment("denoising", model=MLP | {"corruption": {"kind": "masking"}})
    lab.experiment("sparse", model=MLP | {"penalties": [{"kind": "l1", "weight": 0.1}]}, bits=16)
    lab.experiment("top", model=MLP | {"bottleneck": {"kind": "top_k", "size": 4, "active": 2}}, bits=32)
    lab.experiment("vae", model=gaussian | {"corruption": {"kind": "masking"}})
    columns, families = costs(read(lab))
    assert {family: [entry.name for entry, *_ in lines] for family, lines in families.items()} == {
        "linear": ["linear", "pca"],
        "plain": ["deep"],
        "regularised": ["sparse", "top", "denoising"],
        "variational": ["vae"],
        "discrete": ["vq"],
    }
    assert list(families) == ["linear", "plain", "regularised", "variational", "discrete"]
    assert [c.key for c in columns] == ["bits_per_item", "parameters", "trial_seconds", "encode_items_per_second"]
    board, _ = leaderboard(read(lab))
    assert {c.key for c in board} & {c.key for c in columns} == {"bits_per_item"}  # nothing is told twice but the price
    (_, cells, _), _ = families["linear"]
    assert [cell.text for cell in cells] == ["64", "321", "2.5", "1,234"]
