"""The report as a page: whole in itself, and true to what it shows."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from lab import MLP, PER_ITEM, Lab, read, write

from pipelines.compare import leaderboard as boards
from pipelines.compare.report import render_report
from pipelines.metrics.table import METRICS, Metric
from pipelines.sweep.record import RECORD, sealed


class Page(HTMLParser):
    """Collects every address that a page refers to, its tags, and its tables as rows of text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [str(value) for key, value in attrs if key in ("src", "href", "srcset", "action", "data")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            row = self.tables[-1][-1]
            row[-1] = " ".join(f"{row[-1]} {data}".split())


def test_the_report_needs_nothing_but_itself(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.experiment("one")
    lab.experiment("two", model=MLP, squared_error=(5.0, 0.1))
    html = (lab.compare(monkeypatch) / "index.html").read_text()
    page = Page(html)
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.found)
    assert sum(address.startswith("data:") for address in page.found) == 1 + 2 * 2
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"url\(|@import", html)
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert {address[1:] for address in page.found if address.startswith("#")} <= set(ids)
    assert html.count('width="520"') == 4  # 780 pixels of 150 an inch, at the page's 100
    assert html.count("<img ") == len(re.findall(r'<img [^>]*alt="[^"]+"', html))


def test_the_first_table_names_the_best_with_its_interval_and_its_bits(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: dict[str, Any] = dict.fromkeys(("mse", "psnr", "ssim", "probe_accuracy"))
    lab.experiment("a", bits=64, squared_error=(3.0, 0.0), knn_accuracy=(0.5, 0.0), **others)
    lab.experiment("b", bits=64, squared_error=(3.5, 0.0), knn_accuracy=(0.5, 0.0), **others)
    table, *_ = Page((lab.compare(monkeypatch) / "index.html").read_text()).tables
    assert table[1:] == [
        ["Bits ↓ per item", "a", "64", "64", "b"],
        ["Squared error ↓ per item", "a", "3.000 3.000–3.000", "64", "–"],
        ["k-NN ↑ % right", "a", "50.00% 50.00–50.00", "64", "b"],
    ]


def test_an_experiment_without_pictures_still_has_its_section(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    none: dict[str, Any] = dict.fromkeys(PER_ITEM)
    lab.experiment("bare", pictures=False, **none)
    html = (lab.compare(monkeypatch) / "index.html").read_text()
    assert "<img" not in html
    assert "hourglass encode data/digits/test-items.npy --model bundles/digits/bare --out codes/digits-bare" in html
    assert "no memory" in html  # why the other trial failed


def test_trials_are_shown_with_the_ranges_that_they_were_drawn_from(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.experiment("drawn", model=MLP)
    reports = lab.compare(monkeypatch)
    (table,) = [t for t in Page((reports / "index.html").read_text()).tables if t[0][:1] == ["Trial"]]
    assert table[0][1] == "learning rate 0.001 … 0.01 (log)"
    assert table[1] == ["1", "0.002", "1", "finished", "4.25"]
    record = read(lab)[0].record
    alone = record.model_copy(update={"trials": record.trials[:1]})
    write(lab.project.run("digits", "drawn") / RECORD, sealed(alone))
    lab.compare(monkeypatch)
    assert "earched" not in (reports / "index.html").read_text()  # a single trial is no search


def test_names_and_sources_cannot_inject_html(lab: Lab) -> None:
    lab.dataset("digits", classes=("<i>a", "b"), source="<script>alert(1)</script>")
    lab.experiment("plain")
    (result,) = read(lab)
    html = render_report([replace(result, name='"><script>evil()</script>'), result], {})
    assert "<script" not in html
    assert "<i>a" not in html
    assert "&lt;script&gt;evil()" in html
    assert "&lt;script&gt;alert(1)" in html


def test_a_collapsed_code_is_listed_in_red_with_the_reasons(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = ("1 code for 393 different items", "squared error 9, and 8 if every item is replaced by the mean item")
    lab.experiment("empty", bits=16, collapsed=reasons)
    lab.experiment("sound", model=MLP)
    html = (lab.compare(monkeypatch) / "index.html").read_text()
    (table,) = [t for t in Page(html).tables if t[0] == ["Experiment", "Reason"]]
    assert table[1:] == [["digits-empty", "; ".join(reasons)]]
    assert html.count('class="alarm"') == 5  # that table, the leaderboard, the costs, its section twice


def test_where_all_have_collapsed_there_is_still_a_report(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.experiment("one", collapsed=("1 code for 6 different items",))
    lab.experiment("two", collapsed=("1 code for 6 different items",))
    tables = Page((lab.compare(monkeypatch) / "index.html").read_text()).tables
    assert [row[0] for row in tables[1][1:]] == ["digits-one", "digits-two"]


def test_two_datasets_may_have_experiments_of_the_same_name(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.dataset("other")
    lab.experiment("deep", model=MLP)
    lab.experiment("deep", "other", model=MLP)
    html = (lab.compare(monkeypatch) / "index.html").read_text()
    ids = re.findall(r' id="([^"]+)"', html)
    assert {"experiment-digits-deep", "experiment-other-deep"} <= set(ids)
    assert len(ids) == len(set(ids))


@pytest.fixture
def new_metric(monkeypatch: pytest.MonkeyPatch) -> Metric:
    """A row that is added to the table of metrics, and nothing else."""
    metric = Metric("sharpness", "Sharpness", "edges", "higher", "How sharp what is rebuilt is.", ".1f", per_item=True)
    monkeypatch.setattr(boards, "METRICS", (*METRICS, metric))
    return metric


def test_a_metric_that_is_added_to_the_table_is_in_the_leaderboard_and_the_report(
    lab: Lab, new_metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.experiment("blurred", sharpness=(2.0, 0.0))
    lab.experiment("sharp", sharpness=(3.0, 0.0))
    reports = lab.compare(monkeypatch)
    html = (reports / "index.html").read_text()
    best, board, *_ = Page(html).tables
    assert best[-1] == ["Sharpness ↑ edges", "sharp", "3.0 3.0–3.0", "128", "–"]
    assert board[0][-1] == "Sharpness ↑ edges"
    assert f"<dd>{new_metric.meaning} Higher is better.</dd>" in html
    assert '"sharpness": 3.0' in (reports / "leaderboard.json").read_text()
    assert ",sharpness,sharpness_low,sharpness_high," in (reports / "leaderboard.csv").read_text()
