"""dvc.yaml against the code: a stage that leaves out code that it runs would keep stale results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import grimp
import pytest
from ruamel.yaml import YAML

from components.data import DataError
from pipelines.prepare import stage as prepare
from pipelines.project import StageError, stage
from pipelines.units.key import INDIFFERENT
from serving.manifest import BundleError
from tests.pipelines.sandbox import REPOSITORY

DVC = (REPOSITORY / "dvc.yaml").read_text()
STAGES = YAML(typ="safe").load(DVC)["stages"]
STAGE = {name: one.get("do", one) for name, one in STAGES.items()}

ROOMS = ("components", "items", "pipelines", "serving")

# Code that changes no output of a stage. What params.yaml says is each stage's `params`, however it is read.
NEUTRAL = (*INDIFFERENT, "pipelines.settings.params")


def test_there_are_seven_stages_five_of_them_for_each_dataset() -> None:
    assert list(STAGES) == ["prepare", "sweep", "export", "evaluate", "study", "compare", "register"]
    assert {name: one.get("foreach") for name, one in STAGES.items()} == {
        "prepare": "${datasets}",
        "sweep": "${experiments}",
        "export": "${experiments}",
        "evaluate": "${experiments}",
        "study": "${studies}",
        "compare": None,
        "register": None,
    }


def test_it_is_a_table_of_contents() -> None:
    assert len(DVC.splitlines()) <= 110


def package(name: str) -> str:
    """Return the package that a stage runs, such as `pipelines.sweep`."""
    python, option, run, *words = STAGE[name]["cmd"].split()
    assert [python, option, *words] == ["python", "-m", *(["${key}"] if "foreach" in STAGES[name] else [])]
    return str(run)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*ROOMS, cache_dir=None, exclude_type_checking_imports=True)


def code_of(graph: grimp.ImportGraph, package: str) -> set[str]:
    """Return all modules of a package, and all that they import, directly or not, except by way of a neutral one."""
    seen, waiting = set(), [package, *graph.find_descendants(package)]
    while waiting:
        name = waiting.pop()
        if name in seen or any(f"{name}.".startswith(f"{neutral}.") for neutral in NEUTRAL):
            continue
        seen.add(name)
        waiting += graph.find_modules_directly_imported_by(name)
    return seen


@pytest.mark.parametrize("name", [name for name, one in STAGE.items() if not one.get("always_changed")])
def test_a_stage_depends_on_the_code_that_it_runs(name: str, graph: grimp.ImportGraph) -> None:
    listed = [dependency for dependency in STAGE[name]["deps"] if dependency.startswith(ROOMS)]
    needed = dict.fromkeys(listed, False)
    for module in code_of(graph, package(name)):
        path = module.replace(".", "/")
        path += "/__init__.py" if (REPOSITORY / path).is_dir() else ".py"
        covers = [dependency for dependency in listed if f"{path}/".startswith(f"{dependency}/")]
        assert covers, f"{name} runs {path}, which is not among its dependencies"
        needed |= dict.fromkeys(covers, True)
    assert all(needed.values()), f"{name} does not run all of {needed}"


def test_a_change_of_how_params_are_read_is_no_change_of_what_they_say(graph: grimp.ImportGraph) -> None:
    assert "pipelines.settings.params" not in code_of(graph, "pipelines.sweep")
    assert not any(name.startswith("pipelines.studies") for name in code_of(graph, "pipelines.sweep"))


# The key of DVC's run cache leaves out every setting named `size` or `nfiles`. What persists is not in that cache.
@pytest.mark.parametrize("name", [name for name, one in STAGE.items() if not one.get("always_changed")])
def test_a_stage_keeps_out_of_the_run_cache(name: str) -> None:
    outs = [*STAGE[name]["outs"], *STAGE[name].get("metrics", ())]
    assert all(options.get("persist") for out in outs for options in out.values())


def without_words() -> None: ...
def with_dataset(dataset: str) -> None: ...
def with_names(dataset: str, only: Sequence[str] = ()) -> None: ...


@pytest.mark.parametrize(
    ("main", "words", "expected"),
    [
        (with_dataset, [], "the following arguments are required: DATASET"),
        (with_dataset, ["digits", "more"], "unrecognized arguments: more"),
        (with_dataset, ["digits", "--only", "pca"], "unrecognized arguments: --only pca"),
        (with_names, ["digits", "--only"], "argument --only: expected one argument"),
        (without_words, ["digits"], "unrecognized arguments: digits"),
    ],
)
def test_a_stage_that_is_called_wrong_shows_how_it_is_called(
    main: Callable[..., None],
    words: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(main, "__module__", prepare.__name__)
    monkeypatch.setattr(sys, "argv", ["", *words])
    with pytest.raises(SystemExit) as raised:
        stage(main)
    assert raised.value.code == 2
    usage, *_, error = capsys.readouterr().err.splitlines()
    assert usage.startswith("usage: python -m pipelines.prepare [-h]")
    assert error == f"python -m pipelines.prepare: error: {expected}"


def test_a_stage_is_given_the_words_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, Sequence[str]]] = []

    def main(dataset: str, only: Sequence[str] = ()) -> None:
        given.append((dataset, only))

    for words in (["digits"], ["digits", "--only", "pca", "--only", "deep"]):
        monkeypatch.setattr(sys, "argv", ["", *words])
        stage(main)
    assert given == [("digits", []), ("digits", ["pca", "deep"])]


@pytest.mark.parametrize("kind", [StageError, DataError, BundleError, OSError])
def test_an_error_that_its_user_can_act_on_is_one_line(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None:
        raise kind("no such thing")

    monkeypatch.setattr(sys, "argv", [""])
    with pytest.raises(SystemExit) as raised:
        stage(main)
    assert raised.value.code == "error: no such thing"
