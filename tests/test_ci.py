"""The line-up of `.ci/interpreters --quick` is one that the pipeline takes."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from pipelines.settings.params import parse_params
from pipelines.studies.settings import StudiesSettings

REPOSITORY = Path(__file__).parents[1]


def test_the_quick_line_up_has_every_kind_of_study_and_no_mistake() -> None:
    quick = YAML(typ="safe").load((REPOSITORY / ".ci" / "quick.yaml").read_text())
    parse_params(quick)
    assert quick["studies"].keys() == StudiesSettings.model_fields.keys()
