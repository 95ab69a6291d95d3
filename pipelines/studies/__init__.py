"""Questions put to several experiments of a dataset at once, each a page of the report."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from pipelines.studies.contract import StudySettings

# Modules without settings of a study.
SHARED = {
    "bounds", "contest", "contract", "denoising", "generation", "generation_pictures", "generation_samples",
    "invariance", "measured", "needs", "planes", "pretraining", "remembered", "results", "retrieval", "sparse_table",
    "subspaces",
}  # fmt: skip


def kinds() -> dict[str, type[StudySettings]]:
    """Return the settings of each kind of study."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name not in SHARED]
    found = [one for name in names for one in _settings(importlib.import_module(f"{__name__}.{name}"))]
    return dict(sorted(found, key=lambda one: one[0]))


def _settings(module: ModuleType) -> list[tuple[str, type[StudySettings]]]:
    own = (value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__)
    models = [value for value in own if isinstance(value, type) and issubclass(value, StudySettings)]
    return [(model.model_fields["kind"].default, model) for model in models]
