"""The settings of `.ci/interpreters --quick` are ones that the pipeline takes."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from pipelines.settings.params import parse_params

REPOSITORY = Path(__file__).parents[1]


def test_the_quick_settings_have_no_error_and_the_studies_that_dvc_reads() -> None:
    quick = YAML(typ="safe").load((REPOSITORY / ".ci" / "quick.yaml").read_text())
    assert parse_params(quick).experiments.keys() == {"mnist", "digits"}
    assert quick["studies"] == {}
