"""Questions put to several experiments of a dataset at once, each a page of the report. A study is one module."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from pipelines.studies.contract import StudySettings

# Modules that studies share. All others are a kind of study each.
SHARED = {"__main__", "bundles", "contract", "needs", "plan", "results", "stage", "text"}


def kinds() -> dict[str, type[StudySettings]]:
    """Return the settings of each kind of study.

    Raises:
        TypeError: a module of this package is neither shared nor a study.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in SHARED)
    return {name: _settings(name, importlib.import_module(f"{__name__}.{name}")) for name in names}


def _settings(kind: str, module: ModuleType) -> type[StudySettings]:
    own = (value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__)
    for value in own:
        if isinstance(value, type) and issubclass(value, StudySettings) and value.model_fields["kind"].default == kind:
            return value
    raise TypeError(
        f"{module.__name__}: must define settings, a StudySettings with `kind: Literal[{kind!r}] = {kind!r}`"
    )
