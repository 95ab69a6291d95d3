"""A collapsed code: found, shown in red, and given no alias."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import numpy as np
import pytest
import torch
import trained
from drafts import DIGITS, ITEM

from components.models import AutoencoderSettings, TrainingRun
from items.code import CodeSpec
from pipelines.compare import stage as compare
from pipelines.evaluate import stage as evaluate
from pipelines.export import stage as export
from pipelines.metrics.collapse import reasons
from pipelines.metrics.item_metrics import squared_error_of_the_mean, squared_errors
from pipelines.project import Project
from pipelines.register import stage as register
from pipelines.tracking.store import Store

BITS64 = CodeSpec(shape=(64,), dtype="uint8", levels=2, bits_per_item=64, alphabets=64)
REAL = CodeSpec(shape=(4,), dtype="float32", levels=None, bits_per_item=128)
RANDOM = np.random.default_rng(0)
ITEMS = RANDOM.random((393, 8, 8), dtype=np.float32)
DIFFERENT = RANDOM.integers(0, 2, (393, 64), dtype=np.uint8)


def some(different: int, count: int = 393) -> np.ndarray:
    """Return codes of 64 bits of which so many are different."""
    return DIFFERENT[np.arange(count) % different]


def test_a_code_that_is_the_same_for_all_items_is_collapsed() -> None:
    assert reasons(ITEMS, some(1), BITS64, None) == ["1 code for 393 different items"]
    assert reasons(ITEMS, some(393), BITS64, None) == []


def test_codes_are_few_at_one_in_a_hundred_of_those_there_could_be() -> None:
    assert reasons(ITEMS, some(3), BITS64, None) == ["3 codes for 393 different items"]
    assert reasons(ITEMS, some(4), BITS64, None) == []
    same = ITEMS[np.arange(393) % 3]  # three codes are all that three items can have
    assert reasons(same, some(3), BITS64, None) == []
    one_bit = CodeSpec(shape=(1,), dtype="uint8", levels=2, bits_per_item=1, alphabets=1)
    assert reasons(ITEMS, DIFFERENT[:, :1], one_bit, None) == []


def test_real_units_that_vary_by_rounding_alone_are_constant() -> None:
    constant = np.full((393, 4), 1000, np.float32)
    noise = RANDOM.normal(size=(393, 4)).astype(np.float32)
    assert reasons(ITEMS, constant + 1e-3 * noise, REAL, None) == ["1 code for 393 different items"]
    assert reasons(ITEMS, constant + noise, REAL, None) == []
    assert reasons(ITEMS, 1e-6 * noise, REAL, None) == []  # small is not the same
    assert reasons(ITEMS, np.zeros((393, 4), np.float32), REAL, None) == ["1 code for 393 different items"]


def test_what_is_rebuilt_no_better_than_by_the_mean_item_is_collapsed() -> None:
    mean = ITEMS.mean(0, keepdims=True)
    for share, collapsed in ((0.0, True), (0.004, True), (0.006, False), (1.0, False)):  # errors (1 - share)² as large
        rebuilt = mean + share * (ITEMS - mean)
        found = reasons(ITEMS, some(393), BITS64, (squared_errors(ITEMS, rebuilt), squared_error_of_the_mean(ITEMS)))
        assert bool(found) is collapsed
    (reason,) = reasons(ITEMS, some(393), BITS64, (np.full(393, 9.0), squared_error_of_the_mean(ITEMS)))
    assert re.fullmatch(r"error 9, and 5\.3\d* if every item is replaced by the mean item", reason)
    assert reasons(ITEMS[:1], some(1, 1), BITS64, (np.zeros(1), 0.0)) == []


def test_a_posterior_that_has_collapsed_is_found_by_what_is_rebuilt() -> None:
    settings: dict[str, Any] = {
        "network": {"kind": "mlp", "hidden": [16]},
        "bottleneck": {"kind": "gaussian", "size": 4},
        "training": {"learning_rate": 0.01, "batch_size": 16},
    }
    for beta, collapsed in ((0.01, False), (1e6, True)):
        settings["bottleneck"]["beta"] = beta
        model = AutoencoderSettings.model_validate(settings).build(ITEM)
        for _ in model.fit(TrainingRun(DIGITS[:1000], DIGITS[1000:1200], epochs=3, seed=0)):
            pass
        with torch.no_grad():
            codes = model.eval().encode(torch.from_numpy(DIGITS[1200:]))
            rebuilt = model.decode(codes).numpy()
        scaled = ITEM.scaled(DIGITS[1200:])
        found = reasons(
            scaled, codes.numpy(), REAL, (squared_errors(scaled, rebuilt), squared_error_of_the_mean(scaled))
        )
        assert ["mean item" in reason for reason in found] == [True] * collapsed


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with one experiment, whose logits are never negative: every bit of every item is 1."""
    root = tmp_path_factory.mktemp("project")
    project, digits = Project(root, root), {"kind": "digits", "test": 200}
    network = {"kind": "mlp", "hidden": [8], "code_activation": "sigmoid"}
    model = {"kind": "autoencoder", "network": network, "bottleneck": {"kind": "binary", "size": 64}}
    trained.write_params(project, {"digits": digits}, {"digits": {"bits": model}})
    trained.train(project, trained.prepare(project, "digits", digits), "bits", model, epochs=2)
    with contextlib.chdir(root), pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for stage in (export, evaluate):
            stage.main("digits")
        compare.main()
        register.main()
    return project


def test_the_metrics_of_a_collapsed_model(finished: Project) -> None:
    bits = json.loads(finished.metrics("digits", "bits").read_bytes())
    assert (bits["codebook_usage"], bits["codebook_perplexity"]) == (0.5, 1)  # of each bit; together it is all in use
    assert (bits["codebook_usage_worst"], bits["codebook_perplexity_worst"]) == (0.5, 1)
    assert (bits["distinct_codes"], bits["entropy_per_item"], bits["entropy_per_position"]) == (1, 0, 0)
    assert bits["distinct_code_share"] == 1 / 200
    assert bits["collapsed"][0].startswith("1 code for ")


def test_a_collapsed_model_is_red_in_the_report(finished: Project) -> None:
    html = (finished.reports / "index.html").read_text()
    assert 'class="alarm" href="#experiment-digits-bits">digits-bits</a></th><td class="text">1 code for ' in html


def test_a_collapsed_model_gets_no_alias_and_loses_the_one_it_has(
    finished: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = Store.of(finished.root).client
    assert client.get_registered_model("digits-bits").aliases == {}
    assert "1 code for" in client.get_model_version("digits-bits", "1").tags["collapsed"]
    for alias in ("champion", "set-by-a-user"):
        client.set_registered_model_alias("digits-bits", alias, "1")
    monkeypatch.chdir(finished.root)
    register.main()
    assert list(client.get_registered_model("digits-bits").aliases) == ["set-by-a-user"]
