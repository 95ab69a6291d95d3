"""Studies in the report: each has a page, none is stale."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from lab import MLP, PNG, Lab, read, write

from pipelines.compare import stage as compare
from pipelines.project import StageError
from pipelines.studies.contract import STUDY, Picture

STYLE = re.compile(r"<style>.*</style>", re.DOTALL)


@pytest.fixture
def studied(lab: Lab) -> Lab:
    lab.experiment("pca", pictures=False)
    lab.experiment("linear", model=MLP, pictures=False)
    lab.study("same", "pca", "linear", title="<b>One</b> subspace")
    return lab


def hrefs(html: str) -> list[str]:
    return re.findall(r'href="([^"]+)"', html)


def test_a_study_has_a_page_and_a_place_in_the_overview(studied: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = studied.compare(monkeypatch)
    index, page = (reports / "index.html").read_text(), (reports / "studies" / "digits-same.html").read_text()
    assert hrefs(index).count("studies/digits-same.html") == 2  # the title, and the picture
    assert "&lt;b&gt;One&lt;/b&gt; subspace" in index
    assert "&lt;b&gt;One&lt;/b&gt; subspace" in page
    assert "Nearly." in index
    assert "Is it?" not in index
    command = "python -m pipelines.studies digits --only same"
    for shown in ("Is it?", "Nearly.", "The angles.", "Angles", "3.5", command, "eeeeeeeeeeee…"):
        assert shown in page
    assert page.count('src="data:image/png;base64,') == 1
    assert {link for link in hrefs(page) if not link.startswith("#")} == {
        "../index.html", "../index.html#studies", "../index.html#experiment-digits-pca",
        "../index.html#experiment-digits-linear",
    }  # fmt: skip
    ids = {f"../index.html#{name}" for name in re.findall(r' id="([^"]+)"', index)}
    assert {link for link in hrefs(page) if link.startswith("../index.html#")} <= ids
    assert {link[1:] for link in hrefs(page) if link.startswith("#")} <= set(re.findall(r' id="([^"]+)"', page))


def test_both_pages_have_one_look(studied: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = studied.compare(monkeypatch)
    styles = {style for path in reports.rglob("*.html") for style in STYLE.findall(path.read_text())}
    assert len(list(reports.rglob("*.html"))) == 2
    assert len(styles) == 1


def test_without_studies_the_report_does_not_mention_them(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.experiment("pca")
    reports = lab.compare(monkeypatch)
    assert 'href="#studies"' not in (reports / "index.html").read_text()
    assert not (reports / "studies").exists()


def test_a_page_without_pictures_is_a_page(studied: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    studied.study("bare", "pca", "linear", pictures=(), tables=(), made_from={})
    page = (studied.compare(monkeypatch) / "studies" / "digits-bare.html").read_text()
    assert "<img" not in page
    assert "Nearly." in page


def test_pages_of_studies_that_are_gone_go_too(studied: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = studied.compare(monkeypatch)
    del studied.params["studies"]
    studied.write_params()
    assert not (studied.compare(monkeypatch) / "studies").exists()
    assert (reports / "index.html").exists()


def changed(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_missing_or_damaged_study_is_named_with_the_command_that_makes_it(
    studied: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (studied.compare(monkeypatch) / "index.html").read_bytes()
    folder = studied.project.study("digits", "same")
    whole = (folder / STUDY).read_text()
    damage = {
        "studies/digits/same/study.json: No such file": lambda: (folder / STUDY).unlink(),
        "study.json: the file: Invalid JSON": lambda: (folder / STUDY).write_text("{"),
        "study.json: title: Field required": lambda: (folder / STUDY).write_text(whole.replace('"title"', '"tilte"')),
        "holds the study digits.other, must be digits.same": lambda: changed(folder / STUDY, name="other"),
        "angles.png: the study names this picture, and it is not there": lambda: (folder / "angles.png").unlink(),
    }
    for message, spoil in damage.items():
        spoil()
        with pytest.raises(StageError) as caught:
            compare.main()
        assert message in str(caught.value)
        assert str(caught.value).endswith("run `python -m pipelines.studies digits --only same`")
        write(folder / STUDY, whole)
    write(folder / "angles.png", PNG)
    compare.main()
    assert (studied.project.reports / "index.html").read_bytes() == before


def test_a_study_of_another_bundle_is_refused(studied: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    studied.compare(monkeypatch)
    studied.experiment("linear", model=MLP, pictures=False, bits=129)  # trained anew, the study not run again
    with pytest.raises(StageError) as caught:
        compare.main()
    assert str(caught.value).startswith("studies.digits.same: was made from linear as ")
    assert str(caught.value).endswith("run `python -m pipelines.studies digits --only same`")


def test_a_study_may_be_made_from_weights(studied: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = {result.name: result.manifest.weights_digest for result in read(studied)}
    studied.study("weights", "pca", "linear", made_from=weights, pictures=(Picture(file="a.png", caption="A."),))
    assert (studied.compare(monkeypatch) / "studies" / "digits-weights.html").is_file()
