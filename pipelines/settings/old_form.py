"""The old form of params.yaml, with experiments and studies beside their datasets: recognized, and shown in the new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.settings.tree import mapping_at


def old_form(tree: object, kinds: Mapping[str, object]) -> Iterator[str]:
    """Yield at most one line for the experiments and one for the studies that are not below a dataset.

    Args:
        tree: what params.yaml holds.
        kinds: the kinds of study.
    """
    experiments = mapping_at(tree, "experiments")
    old = {str(name): settings for name, settings in experiments.items() if _is_experiment(settings)}
    for name, settings in old.items():
        dataset = _dataset(tree, settings)
        kept = {key: value for key, value in settings.items() if key != "dataset"}
        yield _line(f"experiments.{name}", {"experiments": {dataset: {_short(name, dataset): kept}}}, len(old))
        break
    studies = [
        (str(kind), str(name), settings)
        for kind, named in mapping_at(tree, "studies").items()
        if kind in kinds and kind not in mapping_at(tree, "datasets")
        for name, settings in (named.items() if isinstance(named, dict) else ())
    ]
    for kind, name, settings in studies:
        dataset = _dataset(tree, settings) if mapping_at(tree, "datasets").get(name) is None else name
        kept = {} if isinstance(settings, dict) and name == dataset else {"kind": kind}
        if isinstance(settings, dict):
            kept |= {key: _short(value, dataset) for key, value in settings.items() if key != "dataset"}
        new = {"studies": {dataset: {kind if name == dataset else _short(name, dataset): kept}}}
        yield _line(f"studies.{kind}.{name}", new, len(studies))
        break


def _is_experiment(settings: object) -> bool:
    """Return whether these are the settings of one experiment, rather than a dataset's experiments by name."""
    if not isinstance(settings, dict):
        return False
    return isinstance(settings.get("dataset"), str) or "kind" in mapping_at(settings, "model")


def _dataset(tree: object, settings: object) -> str:
    """Return the dataset of an experiment or a study in the old form, the first one where it does not say."""
    datasets = mapping_at(tree, "datasets")
    if isinstance(settings, dict):
        experiments = mapping_at(tree, "experiments")
        named = [settings.get("dataset"), *(mapping_at(experiments, v).get("dataset") for v in _texts(settings))]
        for dataset in named:
            if isinstance(dataset, str):
                return dataset
    return str(next(iter(datasets), "mnist"))


def _texts(settings: Mapping[Any, Any]) -> list[str]:
    return [value for value in settings.values() if isinstance(value, str)]


def _short(name: Any, dataset: str) -> Any:
    """Return an experiment's name without the dataset's; anything else as it is."""
    return (name.removeprefix(f"{dataset}-") or name) if isinstance(name, str) else name


def _line(path: str, new: dict[str, Any], count: int) -> str:
    others = f" (and {count - 1} more)" if count > 1 else ""
    return f"{path}: is in the old form{others}; nest it below its dataset: {_flow(new, depth=3)[1:-1]}"


def _flow(value: Any, depth: int) -> str:
    """Return a tree in YAML's flow style, mappings and lists deeper than `depth` as `…`."""
    if isinstance(value, dict) and value:
        if depth < 0:
            return "{…}"
        return "{" + ", ".join(f"{key}: {_flow(child, depth - 1)}" for key, child in value.items()) + "}"
    if isinstance(value, list) and value:
        return "[…]"
    return "{}" if isinstance(value, dict) else "null" if value is None else str(value)
