"""Sweeps as their user runs them: whole line-ups, shares that no node has, two at once, damaged records."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from components.data import open_dataset
from pipelines.project import StageError
from pipelines.sweep.record import RECORD, WEIGHTS, read_record, sealed
from pipelines.sweep.trained import read_model, read_weights
from tests.pipelines.sandbox import PARAMS, Sandbox
from tests.pipelines.sweeps import RATE, long_sweep, only, record_of, run_names, work


@pytest.fixture(scope="module")
def swept(make_sandbox: Callable[[], Sandbox]) -> tuple[Sandbox, str]:
    """A project whose whole line-up was swept, and what that printed."""
    sandbox = make_sandbox()
    sandbox.prepare()
    return sandbox, sandbox.stage("sweep", "digits").stdout


def test_a_whole_line_up_is_swept_in_one_session(swept: tuple[Sandbox, str]) -> None:
    sandbox, printed = swept
    assert "7 trials on 1 node" in printed
    assert printed.count(" trials on ") == 1
    assert not any(work(sandbox).glob("*/")), "a finished sweep leaves no journals"
    names = ["digits-deep", *(f"digits-deep trial {n}" for n in (1, 2, 3)), "digits-pca", "digits-pca trial 1"]
    assert run_names(sandbox.root) == [*names, "digits-vqvae", *(f"digits-vqvae trial {n}" for n in (1, 2, 3))]
    pca = record_of(sandbox, "pca")
    assert [(trial.status, len(trial.history)) for trial in pca.trials] == [("finished", 1)]


@pytest.mark.parametrize(("name", "rung", "epochs"), [("deep", 1, 4), ("vqvae", 2, 8)])
def test_the_best_of_three_at_the_rung_goes_on_alone(
    swept: tuple[Sandbox, str], name: str, rung: int, epochs: int
) -> None:
    record = record_of(swept[0], name)
    at_rung = {t.number: min(e.metrics[record.objective] for e in t.history[:rung]) for t in record.trials}
    winner = min(at_rung, key=lambda number: at_rung[number])
    ends = {trial.number: (trial.status, len(trial.history)) for trial in record.trials}
    assert ends == {n: ("finished", epochs) if n == winner else ("stopped", rung) for n in (1, 2, 3)}
    assert record.best_trial == winner
    assert len({trial.parameters[RATE] for trial in record.trials}) == 3
    folder = swept[0].root / "runs" / "digits" / name
    weights = read_weights(folder)
    item = open_dataset(swept[0].root / "data" / "digits").schema.item
    assert weights.keys() == read_model(folder, record, item).state_dict().keys()


def test_what_changes_no_outcome_trains_nothing_and_what_does_trains_its_own(
    swept: tuple[Sandbox, str], tmp_path: Path
) -> None:
    sandbox, _ = swept
    before = {name: record_of(sandbox, name).digest for name in ("pca", "deep", "vqvae")}
    for file in (
        "components/training.py",
        "serving/bundle.py",
        "pipelines/studies/planes.py",
        "pipelines/sweep/halving.py",
    ):
        path = sandbox.root / file
        path.write_text('"""Another docstring."""\n' + path.read_text().partition('"""\n')[2] + "\n# and a comment\n")
    params = copy.deepcopy(PARAMS)
    params["experiments"]["digits"]["deep"]["sweep"] = {"cpus": 0.5}  # a share decides nothing
    sandbox.write_params(params)
    assert "to epoch" not in sandbox.stage("sweep", "digits").stdout
    assert {name: record_of(sandbox, name).digest for name in before} == before

    params["experiments"]["digits"]["pca"]["model"]["size"] = 9
    del params["experiments"]["digits"]["vqvae"]
    sandbox.write_params(params)
    printed = sandbox.stage("sweep", "digits").stdout
    assert "digits-pca  trial 1/1" in printed
    assert "digits-deep  trial" not in printed
    assert record_of(sandbox, "pca").digest != before["pca"]
    assert record_of(sandbox, "deep").digest == before["deep"]
    assert not (sandbox.root / "runs" / "digits" / "vqvae").exists()


def test_an_unreachable_mlflow_costs_a_warning_and_no_sweep(sandbox: Sandbox) -> None:
    sandbox.write_params(long_sweep(2, trials=1))
    sandbox.prepare()
    done = sandbox.stage(
        "sweep", "digits", MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"
    )
    assert done.stderr.count("warning: not logging live. MLflow at http://127.0.0.1:9") == 1
    assert len(record_of(sandbox, "deep").trials) == 1


@pytest.mark.parametrize(
    ("share", "environment", "expected"),
    [
        ({"gpus": 99}, {}, "experiments.digits.deep.sweep: 1 CPUs and 99 GPUs, must fit on a node; the nodes have"),
        ({}, {"RAY_ADDRESS": "127.0.0.1:9"}, "RAY_ADDRESS is 127.0.0.1:9, and nothing listens there"),
        ({}, {"RAY_ADDRESS": "local"}, "RAY_ADDRESS is local, must be host:port of a cluster's head, or auto"),
    ],
)
def test_what_ray_would_wait_for_without_end_is_an_error(
    sandbox: Sandbox, share: dict[str, int], environment: dict[str, str], expected: str
) -> None:
    sandbox.write_params(only("deep", sweep=share))
    sandbox.prepare()
    failed = sandbox.stage("sweep", "digits", fails=True, **environment)
    assert expected in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_damaged_run_record_is_named(sandbox: Sandbox) -> None:
    sandbox.prepare()
    sandbox.stage("sweep", "digits", "--only", "pca")
    folder = sandbox.root / "runs" / "digits" / "pca"
    whole, text = read_record(folder), (folder / RECORD).read_bytes()
    assert set(read_weights(folder)) == {"mean", "components", "variances"}
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(StageError, match=r"weights.safetensors: sha256 is"):
        read_record(folder)
    (folder / WEIGHTS).write_bytes(weights)
    assert read_record(folder) == whole
    item = open_dataset(sandbox.root / "data" / "digits").schema.item
    for size in (4, 1000):
        (folder / RECORD).write_bytes(sealed(whole.model_copy(update={"model": {"kind": "pca", "size": size}})))
        remedy = "run `python -m pipelines.sweep digits --only pca`"
        expected = f"{folder}: {WEIGHTS} does not fit the model of record.json: .*; {remedy}$"
        with pytest.raises(StageError, match=expected) as refusal:
            read_model(folder, read_record(folder), item)
        assert "\n" not in str(refusal.value)
    for field, value, said in (
        ("best_trial", 7, "best_trial is 7, and no trial has that number"),
        ("best_epoch", 7, "best_epoch is 7, and trial 1 has none of that number"),
        ("objective", "x", "objective is x, and an epoch has no metric of that name"),
    ):
        (folder / RECORD).write_bytes(sealed(whole.model_copy(update={field: value})))
        with pytest.raises(StageError, match=said):
            read_record(folder)
    (folder / RECORD).write_bytes(text.replace(b'"best_trial"', b'"best_trail"'))
    with pytest.raises(StageError, match=r"record.json: best_trial: Field required"):
        read_record(folder)
    (folder / RECORD).write_bytes(text[:-40])
    with pytest.raises(StageError, match=r"record.json: the file: Invalid JSON"):
        read_record(folder)
    (folder / RECORD).unlink()
    with pytest.raises(StageError, match=r"run `python -m pipelines.sweep digits"):
        read_record(folder)
    sandbox.stage("sweep", "digits", "--only", "pca")  # a damaged result is made again
    assert read_record(folder).weights_sha256 == whole.weights_sha256
