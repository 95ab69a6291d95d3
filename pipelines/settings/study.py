"""A study's settings, read by their kind, which is by default the study's name."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from pipelines.studies import kinds
from pipelines.studies.contract import StudySettings


def with_kinds(studies: Any) -> Any:
    """Return the tree of studies by dataset and name with the kind of each filled in."""
    if not isinstance(studies, dict):
        return studies
    return {dataset: _with_kinds(named) for dataset, named in studies.items()}


def _with_kinds(named: Any) -> Any:
    if not isinstance(named, dict):
        return named
    return {name: {"kind": name} | study if isinstance(study, dict) else study for name, study in named.items()}


def read_study(raw: Any) -> Any:
    """Return the settings of a study, whose tree names its kind; what is no tree is left to others to refuse.

    Raises:
        ValueError: there is no such kind, or pydantic's ValidationError: the settings do not fit it.
    """
    if not isinstance(raw, dict):
        return raw
    known = kinds()
    if (kind := raw.get("kind")) not in list(known):
        raise ValueError(f"kind must be one of {', '.join(known)}; it is {kind}")
    return known[str(kind)].model_validate(raw)


AnyStudy = Annotated[SerializeAsAny[StudySettings], BeforeValidator(read_study)]
