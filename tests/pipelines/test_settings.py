from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pipelines.studies
from items.spec import ItemSpec
from pipelines.project import Project, StageError
from pipelines.settings.params import Params, load_params, parse_params
from pipelines.studies.contract import StudySettings
from pipelines.units.storage import Storage
from tests.pipelines.sandbox import PARAMS, REPOSITORY

Tree = dict[str, Any]
DIGIT = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")


def deep(tree: Tree) -> Tree:
    found: Tree = tree["experiments"]["digits"]["deep"]
    return found


def with_study(tree: Tree, name: str = "planes", **settings: Any) -> None:
    tree["studies"] = {"digits": {name: settings}}


ERRORS: list[tuple[Callable[[Tree], Any], str]] = [
    (lambda t: deep(t)["model"]["bottleneck"].update(size=-3), "experiments.digits.deep.model.bottleneck.size: -3, must be at least 1"),
    (lambda t: deep(t)["model"]["bottleneck"].update(sise=3), "experiments.digits.deep.model.bottleneck.sise: unknown key; allowed here: kind, size"),
    (lambda t: deep(t)["model"]["bottleneck"].update(kind="x"), "model.bottleneck.kind: x, must be one of 'identity', 'vector_quantizer'"),
    (lambda t: deep(t)["model"]["bottleneck"].pop("kind"), "model.bottleneck.kind: is missing, must be one of 'identity'"),
    (lambda t: deep(t)["model"]["network"].update(hidden=[10, 0]), "model.network.hidden.1: 0, must be at least 1"),
    (lambda t: deep(t)["model"].update(penalties=[{"kind": "l1", "wieght": 1}]), "model.penalties.0.wieght: unknown key; allowed here: kind, weight"),
    (lambda t: deep(t)["model"].update(penalties=[{"kind": "l2"}]), "model.penalties.0.kind: l2, must be one of 'l1'"),
    (lambda t: deep(t)["model"].update(penalties={"kind": "l1", "weight": 1}), "model.penalties: {'kind': 'l1', 'weight': 1}, must be a list"),
    (lambda t: deep(t)["model"].update(penalties=[{"kind": "l1", "weight": {"uniform": [-1, 1]}}]), "model.penalties.0.weight: -1, must be more than 0"),
    (lambda t: deep(t)["model"].update(corruption={"kind": "masking", "share": 2}), "model.corruption.share: 2, must be at most 1"),
    (lambda t: deep(t)["model"]["training"].update(learning_rate={"log_uniform": [0, 1]}), "learning_rate.log_uniform: [0, 1], low must be above 0"),
    (lambda t: deep(t)["model"]["training"].update(learning_rate={"uniform": [2, 1]}), "learning_rate.uniform: [2, 1], low must be below high"),
    (lambda t: deep(t)["model"]["training"].update(learning_rate={"uniform": [-1, 1]}), "model.training.learning_rate: -1, must be more than 0"),
    (lambda t: deep(t)["model"]["training"].update(learning_rate={"choice": []}), "learning_rate.choice: [], must be a list of one or more"),
    (lambda t: deep(t)["model"].pop("network"), "experiments.digits.deep.model.network: is missing"),
    (lambda t: deep(t)["model"].update(kind="x"), "experiments.digits.deep.model.kind: x, must be one of 'pca', 'lsa', 'autoencoder'"),
    (lambda t: deep(t).update(x=1), "experiments.digits.deep.x: unknown key; allowed here: model, sweep, quick, paper"),
    (lambda t: deep(t).update(sweep={"gpus": -1}), "experiments.digits.deep.sweep.gpus: -1, must be at least 0"),
    (lambda t: deep(t).update(sweep={"objective": "psnr"}), "experiments.digits.deep.sweep.objective: psnr, must be one of 'error' or 'loss'"),
    (lambda t: deep(t).update(sweep=3), "experiments.digits.deep.sweep: 3, must be a mapping"),
    (lambda t: deep(t).update(quick={"epochs": "many"}), "experiments.digits.deep.quick.epochs: many, must be an integer"),
    (lambda t: deep(t).pop("quick"), "experiments.digits.deep: quick must be given"),
    (lambda t: deep(t)["quick"].update(epochs=0), "experiments.digits.deep.quick.epochs: 0, must be at least 1"),
    (lambda t: deep(t)["model"]["training"].update(learning_rate=0.1), "experiments.digits.deep: has more than one trial and searches no value"),
    (lambda t: t["experiments"]["digits"]["pca"].update(quick={"epochs": 2}), "experiments.digits.pca.quick: must be left out, because pca is fitted in closed form"),
    (lambda t: t["experiments"]["digits"].update({"Bad Name": deep(t)}), "experiments.digits.Bad Name: must be lower-case"),
    (lambda t: t["datasets"]["digits"].update(kind="x"), "datasets.digits.kind: x, must be one of 'mnist', 'fashion_mnist', 'digits', 'reuters', 'array', 'images', 'text'"),
    (lambda t: t["datasets"]["digits"].update(x=1), "datasets.digits.x: unknown key"),
    (lambda t: t.update(budget="fast"), "budget: fast, must be one of 'quick' or 'paper'"),
    (lambda t: t.update(seed=-1), "seed: -1, must be at least 0"),
    (lambda t: t.pop("datasets"), "datasets: is missing"),
    (lambda t: t.update(experiments=None), "experiments: None, must be a mapping"),
    (lambda t: t.update(experiments={}), "experiments: {}, must have at least 1"),
    (lambda t: t["experiments"].update(digits={}), "experiments.digits: {}, must have at least 1"),
    (lambda t: t["experiments"].update(digits=[1]), "experiments.digits: [1], must be a mapping"),
    (lambda t: t["experiments"].update(digit=t["experiments"]["digits"]), "experiments.digit: unknown dataset, must be one of digits"),
    (lambda t: t["datasets"].update(studies={"kind": "digits"}), "datasets.studies: must have another name"),
    (lambda t: t["datasets"].update({"../evil": {"kind": "digits"}}), "datasets.../evil: must be lower-case"),
    (lambda t: (t["datasets"].update({"digits-a": {"kind": "digits"}}), t["experiments"].update({"digits-a": {"b": deep(t)}}), t["experiments"]["digits"].update({"a-b": deep(t)})), "would both be registered as digits-a-b"),
    (lambda t: t.update(storage="ftp://server/folder"), "storage: ftp://server/folder, must be a folder, or the URL of one: "),
    (lambda t: t.update(storage="s3://"), "storage: s3://, must be a folder, or the URL of one: "),
    (lambda t: t.update(storage=""), "storage: , must be a folder"),
    (lambda t: t.update(stroage="here"), "stroage: unknown key; allowed here: seed, budget, storage, datasets"),
    (lambda t: t.update(studies={"digit": {"planes": {}}}), "studies.digit: unknown dataset, must be one of digits"),
    (lambda t: (t["datasets"].update(others={"kind": "digits"}), t.update(studies={"others": {"planes": {}}})), "studies.others: has no experiments; add one below experiments.others"),
    (lambda t: t.update(studies={"digits": {}}), "studies.digits: {}, must have at least 1"),
    (lambda t: t.update(studies={"digits": {"planes": 3}}), "studies.digits.planes: 3, must be a mapping"),
    (lambda t: with_study(t, pca="pca"), "studies.digits.planes.deep: is missing"),
    (lambda t: with_study(t, pca="pca", deep="digits-deep"), "studies.digits.planes.deep: digits-deep, must be one of the experiments of digits: pca, deep, vqvae"),
    (lambda t: with_study(t, pca="pca", deep="deep", size=1), "studies.digits.planes.size: unknown key; allowed here: kind, pca, deep"),
    (lambda t: with_study(t, "plane", pca="pca", deep="deep"), "studies.digits.plane.kind: plane, must be one of bounds, denoising, documents, generation"),
    (lambda t: with_study(t, "two", kind="plain", pca="pca", deep="deep"), "studies.digits.two.kind: plain, must be one of bounds"),
    (lambda t: with_study(t, "two", kind=["planes"]), "studies.digits.two.kind: ['planes'], must be one of bounds"),
    (lambda t: with_study(t, "denoising", basic="deep", denoising="deep", noises=[{"kind": "masking", "share": 2}]), "studies.digits.denoising.noises.0.share: 2, must be at most 1"),
    (lambda t: with_study(t, "denoising", basic="deep", denoising="deep", noises=[]), "studies.digits.denoising.noises: [], must have at least 1"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), ERRORS, ids=[expected for _, expected in ERRORS])
def test_an_error_is_named_by_path_value_and_what_is_allowed(change: Callable[[Tree], Any], expected: str) -> None:
    tree = copy.deepcopy(PARAMS)
    change(tree)
    with pytest.raises(StageError) as raised:
        parse_params(tree)
    assert any(line.strip().startswith(expected) or expected in line for line in str(raised.value).splitlines())


def test_all_errors_are_named_at_once() -> None:
    tree = copy.deepcopy(PARAMS)
    deep(tree)["model"]["bottleneck"]["size"] = 0
    tree["experiments"]["digits"]["vqvae"]["model"]["bottleneck"]["size"] = 0
    tree["budget"] = "fast"
    with_study(tree, pca="pca", deep="nobody")
    with pytest.raises(StageError) as raised:
        parse_params(tree)
    assert len(str(raised.value).splitlines()) == 1 + 4


OLD: Tree = {
    "datasets": {"digits": {"kind": "digits"}},
    "experiments": {
        "digits-pca": {"dataset": "digits", "model": {"kind": "pca", "size": 8}},
        "digits-2d": {"dataset": "digits", "model": {"kind": "pca", "size": 2}},
    },
}


def test_the_old_form_is_refused_with_the_new_form_of_that_experiment() -> None:
    with pytest.raises(StageError) as raised:
        parse_params(OLD)
    assert str(raised.value).splitlines() == [
        "params.yaml:",
        "  experiments.digits-pca: is in the old form (and 1 more); nest it below its dataset: "
        "experiments: {digits: {pca: {model: {…}}}}",
    ]


@pytest.mark.parametrize(
    ("studies", "expected"),
    [
        (
            {"planes": {"digits": {"pca": "digits-pca", "deep": "digits-2d"}}, "bounds": {}},
            "studies.planes.digits: is in the old form; nest it below its dataset: "
            "studies: {digits: {planes: {pca: pca, deep: 2d}}}",
        ),
        (
            {"subspaces": {"itself": {"pca": "digits-pca", "linear": "digits-pca"}, "again": {}}},
            "studies.subspaces.itself: is in the old form (and 1 more); nest it below its dataset: "
            "studies: {digits: {itself: {kind: subspaces, pca: pca, linear: pca}}}",
        ),
        (
            {"sparse_table": {"small": {"dataset": "digits", "simple": {"kind": "autoencoder"}}}},
            "studies.sparse_table.small: is in the old form; nest it below its dataset: "
            "studies: {digits: {small: {kind: sparse_table, simple: {…}}}}",
        ),
    ],
)
def test_the_old_form_of_a_study_is_refused_with_the_new_one(studies: Tree, expected: str) -> None:
    for experiments in (OLD["experiments"], PARAMS["experiments"]):
        with pytest.raises(StageError) as raised:
            parse_params(PARAMS | {"experiments": experiments, "studies": studies})
        assert str(raised.value).splitlines()[-1].strip() == expected


def test_an_experiment_may_be_called_as_a_key_of_an_experiment_is() -> None:
    tree = copy.deepcopy(PARAMS)
    tree["experiments"]["digits"] |= {name: deep(tree) for name in ("model", "dataset", "quick")}
    assert set(parse_params(tree).experiments["digits"]) == {"pca", "deep", "vqvae", "model", "dataset", "quick"}


def test_a_study_is_of_the_kind_that_it_names_or_is_named_after() -> None:
    tree = copy.deepcopy(PARAMS)
    settings = {"pca": "pca", "deep": "deep"}
    tree["studies"] = {"digits": {"planes": settings, "again": {"kind": "planes", **settings}}}
    studies = parse_params(tree).studies_of("digits")
    assert [study.model_dump() for study in studies.values()] == [{"kind": "planes", **settings}] * 2
    assert list(parse_params(tree).studies_of("digits", ["again"])) == ["again"]
    assert parse_params(PARAMS).studies_of("digits") == {}


def test_what_params_say_survives_being_written_out() -> None:
    params = load_params(Project(REPOSITORY, REPOSITORY))
    assert parse_params(params.model_dump(mode="json", exclude_unset=True)) == params


def test_a_kind_of_study_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counting.py").write_text(COUNTING)
    monkeypatch.setattr(pipelines.studies, "__path__", [*pipelines.studies.__path__, str(tmp_path)])
    try:
        kind = pipelines.studies.kinds()["counting"]
        assert kind.__name__ == "CountingSettings"
        study = parse_params(PARAMS | {"studies": {"digits": {"counting": {"of": "deep"}}}}).studies_of("digits")
        assert study == {"counting": kind.model_validate({"of": "deep"})}
        assert issubclass(kind, StudySettings)
        assert study["counting"].experiments() == {"of": "deep"}
    finally:
        sys.modules.pop("pipelines.studies.counting", None)


COUNTING = '''
from typing import Literal

from pipelines.studies.contract import ExperimentName, StudySettings


class CountingSettings(StudySettings):
    """A study that is only read here."""

    kind: Literal["counting"] = "counting"
    of: ExperimentName

    def units(self, plan):
        raise NotImplementedError
'''


def test_params_are_read_without_heavy_libraries() -> None:
    code = (
        "import sys; from pathlib import Path; from pipelines.project import Project; "
        "from pipelines.settings.params import load_params; load_params(Project(Path.cwd(), Path.cwd())); "
        "print(sorted({'ray', 'mlflow', 'sklearn', 'matplotlib', 'scipy', 'faiss', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        (None, "/home/.hourglass/work"),
        ("journals", "/home/journals"),
        ("/mnt/shared", "/mnt/shared"),
        ("s3://bucket/folder", "s3://bucket/folder"),
        ("s3://bucket/folder?endpoint_override=localhost:5000", "s3://bucket/folder?endpoint_override=localhost:5000"),
    ],
)
def test_storage_is_a_folder_or_a_url(storage: str | None, expected: str) -> None:
    params = parse_params(PARAMS | ({} if storage is None else {"storage": storage}))
    assert params.storage_of(Project(Path("/root"), Path("/home"))) == Storage(expected)


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: 0\nseed: 1\n")
    with pytest.raises(StageError, match='duplicate key "seed"'):
        load_params(Project(tmp_path, tmp_path))


def test_the_budget_chooses_epochs_and_trials() -> None:
    quick, paper = (Params.model_validate({**PARAMS, "budget": budget}) for budget in ("quick", "paper"))
    assert quick.budget_of(quick.experiment("digits", "deep")).trials == 3
    assert paper.budget_of(paper.experiment("digits", "deep")).epochs == 8


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (
            lambda p: p.experiment("digits", "nope"),
            "experiments.digits.nope: not in params.yaml; it has pca, deep, vqvae",
        ),
        (
            lambda p: p.experiments_of("digits", ["pca", "nope"]),
            "experiments.digits.nope: not in params.yaml; it has pca",
        ),
        (lambda p: p.experiments_of("digit"), "datasets.digit: not in params.yaml; it has digits"),
        (lambda p: p.studies_of("digit"), "datasets.digit: not in params.yaml; it has digits"),
        (lambda p: p.studies_of("digits", ["nope"]), "studies.digits.nope: not in params.yaml; it has none"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(ask: Callable[[Params], Any], answer: str) -> None:
    with pytest.raises(StageError) as raised:
        ask(parse_params(PARAMS))
    assert str(raised.value).startswith(answer)


def test_experiments_are_chosen_by_name_in_the_order_of_params() -> None:
    params = parse_params(PARAMS)
    assert list(params.experiments_of("digits")) == ["pca", "deep", "vqvae"]
    assert list(params.experiments_of("digits", ["vqvae", "pca"])) == ["pca", "vqvae"]


def test_a_dvc_experiments_copy_keeps_its_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_of_it, real = tmp_path / "copy", tmp_path / "real"
    for folder in (copy_of_it, real):
        folder.mkdir()
        (folder / "params.yaml").write_text("")
    monkeypatch.chdir(copy_of_it)
    monkeypatch.setenv("DVC_ROOT", str(real))
    project = Project.here()
    assert project.data("digits") == copy_of_it / "data" / "digits"
    assert project.cache == real / ".hourglass"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "seed: 0\nbudget: quick # schön\n".encode("latin-1"),
            r"params.yaml: line 2, byte [0-9]+ is 0xf6: is not UTF-8",
        ),
        ("seed: 0\n".encode("utf-16"), r"line 1, byte 0 is 0xff: is not UTF-8; save the file as UTF-8"),
        (b"seed: 0\n\0\n", "unacceptable character #x0000"),
        (b"seed: !!int x\n", "invalid literal for int"),
        (b"seed: &a [*a]\n", "or itself, by its aliases"),
        (b"? [1, 2]\n: 3\n", "keys must be str"),
        (b"[" * 3000, "recursion"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(StageError, match=expected) as raised:
        load_params(Project(tmp_path, tmp_path))
    assert str(raised.value).count("\n") == 0


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    text = (REPOSITORY / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8-sig")
    assert load_params(Project(tmp_path, tmp_path)) == load_params(Project(REPOSITORY, REPOSITORY))


OUTSIDE = ("../../evil", "..", "", "/evil", "a/b", "A")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_studys_name_is_checked_as_an_experiments_is(name: str) -> None:
    tree = copy.deepcopy(PARAMS)
    with_study(tree, name, kind="planes", pca="pca", deep="deep")
    with pytest.raises(StageError, match=r"must be lower-case letters, digits, - and _") as raised:
        parse_params(tree)
    assert f"studies.digits.{name}: " in str(raised.value)


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_path_of_a_project_leads_out_of_it(tmp_path: Path, name: str) -> None:
    project = Project(tmp_path, tmp_path)
    with pytest.raises(StageError, match="must be lower-case"):
        project.data(name)
    for path in (
        project.run, project.bundle, project.metrics, project.evaluation, project.study, project.study_metrics,
    ):  # fmt: skip
        for place in ((name, "deep"), ("digits", name)):
            with pytest.raises(StageError, match="must be lower-case"):
                path(*place)
