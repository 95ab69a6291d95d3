"""Keys of exports and evaluations: what a change to which file costs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
STAGES = ("pipelines.export.work", "pipelines.evaluate.work", "pipelines.evaluate.throughput")
DOCSTRING = "docstring"
# A file, what is added at its end or that its docstring changes, and the stages that this costs.
CHANGES = {
    "nothing": ("serving/bundle.py", "", ""),
    "a docstring in serving": ("serving/bundle.py", DOCSTRING, ""),
    "a comment in components": ("components/models/pca.py", "# by singular values\n", ""),
    "a study": ("pipelines/studies/denoising.py", "SIGMA = 1\n", ""),
    "the report": ("pipelines/compare/report.py", "SIGMA = 1\n", ""),
    "the source of a dataset": ("components/data/fetch.py", "SIGMA = 1\n", ""),
    "the settings": ("pipelines/settings/params.py", "SIGMA = 1\n", ""),
    "the stage itself": ("pipelines/evaluate/stage.py", "SIGMA = 1\n", ""),
    "a metric": ("pipelines/metrics/classes.py", "SIGMA = 1\n", "evaluate"),
    "the table of metrics": ("pipelines/metrics/table.py", "SIGMA = 1\n", "evaluate"),
    "a picture": ("pipelines/plots/pictures.py", "SIGMA = 1\n", "evaluate"),
    "a graph": ("pipelines/export/graphs.py", "SIGMA = 1\n", "export"),
    "how the encoder is timed": ("pipelines/evaluate/throughput.py", "SIGMA = 1\n", "throughput"),
    "how a bundle runs": ("serving/sessions.py", "SIGMA = 1\n", "export evaluate throughput"),
}
QUOTES = '"' * 3
PROGRAM = f"""
import json, pathlib, sys
from pipelines.units import key
for place, text in json.load(sys.stdin):
    path = pathlib.Path(place)
    whole = path.read_text()
    path.write_text(whole.replace('{QUOTES}', '{QUOTES}Other. ', 1) if text == {DOCSTRING!r} else whole + text)
    for cached in (key._source, key._tree, key._imports, key._meaning):
        cached.cache_clear()
    print(json.dumps([key.code_digest(stage) for stage in {STAGES!r}]))
    path.write_text(whole)
"""


@pytest.fixture(scope="module")
def digests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return the stages' digests after each change."""
    root = tmp_path_factory.mktemp("code")
    for package in ("components", "items", "pipelines", "serving"):
        shutil.copytree(REPOSITORY / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    changes = json.dumps([(place, text) for place, text, _ in CHANGES.values()])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=changes, cwd=root, capture_output=True, text=True, check=True
    )
    return dict(zip(CHANGES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_costs_the_stages_whose_results_it_decides(digests: dict[str, list[str]], change: str) -> None:
    names = ("export", "evaluate", "throughput")
    changed = {name for name, old, new in zip(names, digests["nothing"], digests[change], strict=True) if old != new}
    assert changed == set(CHANGES[change][2].split())
