"""A collapsed code: found, said in red, praised for nothing, and given no alias."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from drafts import DIGITS, ITEM
from lab import MLP, VQVAE, Lab, read
from sandbox import Sandbox

from components.models import AutoencoderSettings, TrainingRun
from items.code import CodeSpec
from pipelines.compare import stage as compare
from pipelines.compare.report import costs, leaderboard, render_report
from pipelines.evaluate import stage as evaluate
from pipelines.export import stage as export
from pipelines.metrics.collapse import reasons
from pipelines.metrics.errors import squared_errors
from pipelines.prepare import stage as prepare
from pipelines.register import stage as register
from pipelines.sweep import stage as sweep
from pipelines.tracking.models import crown
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
        found = reasons(ITEMS, some(393), BITS64, squared_errors(ITEMS, rebuilt))
        assert bool(found) is collapsed
    (reason,) = reasons(ITEMS, some(393), BITS64, np.full(393, 9.0))
    assert re.fullmatch(r"squared error 9, and 5\.3\d* if every item is replaced by the mean item", reason)
    assert reasons(ITEMS[:1], some(1, 1), BITS64, np.zeros(1)) == []


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
        found = reasons(scaled, codes.numpy(), REAL, squared_errors(scaled, rebuilt))
        assert ["mean item" in reason for reason in found] == [True] * collapsed


@pytest.fixture(scope="module")
def finished(make_sandbox: Callable[[], Sandbox]) -> Sandbox:
    """A project with one experiment, whose logits are never negative: every bit of every item is 1."""
    sandbox = make_sandbox()
    network = {"kind": "mlp", "hidden": [8], "code_activation": "sigmoid"}
    model = {"kind": "autoencoder", "network": network, "bottleneck": {"kind": "binary", "size": 64}}
    epochs = {"quick": {"epochs": 2}, "paper": {"epochs": 2}}
    experiment = {"dataset": "digits", "model": model, **epochs}
    sandbox.write_params({"datasets": {"digits": {"kind": "digits"}}, "experiments": {"bits": experiment}})
    with contextlib.chdir(sandbox.root), pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        prepare.main("digits")
        for stage in (sweep, export, evaluate):
            stage.main("bits")
        compare.main()
        register.main()
    return sandbox


def test_a_collapsed_model_is_measured_as_such(finished: Sandbox) -> None:
    bits = json.loads((finished.root / "metrics" / "bits.json").read_text())
    assert (bits["codebook_usage"], bits["codebook_perplexity"]) == (0.5, 1)  # of each bit; together it is all in use
    assert (bits["codebook_usage_worst"], bits["codebook_perplexity_worst"]) == (0.5, 1)
    assert (bits["distinct_codes"], bits["entropy_per_item"], bits["entropy_per_position"]) == (1, 0, 0)
    items = bits["evidence"][0]["items"]
    assert bits["distinct_code_share"] == 1 / items
    assert bits["collapsed"][0].startswith("1 code for ")


def test_a_collapsed_model_is_a_red_finding_and_good_for_nothing(finished: Sandbox) -> None:
    html = (finished.root / "reports" / "index.html").read_text()
    assert '<li class="alarm"><strong>Collapsed:</strong> <a href="#experiment-bits">bits</a>, 1 code for ' in html
    assert "discrete codes: can be indexed" not in html


def test_a_collapsed_model_gets_no_alias_and_loses_the_one_it_has(
    finished: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = Store.of(finished.root).client
    assert client.get_registered_model("bits").aliases == {}
    assert "1 code for" in client.get_model_version("bits", "1").tags["collapsed"]
    for alias in ("champion", "made-by-hand"):
        client.set_registered_model_alias("bits", alias, "1")
    monkeypatch.chdir(finished.root)
    register.main()
    assert list(client.get_registered_model("bits").aliases) == ["made-by-hand"]


class Registry:
    """What `crown` asks of a store whose model has the aliases given."""

    def __init__(self, **aliases: str) -> None:
        self.client, self.aliases = self, aliases

    def get_registered_model(self, name: str) -> Registry:
        return self

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self.aliases[alias] = version

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        del self.aliases[alias]


@pytest.mark.parametrize(
    ("before", "collapsed", "after", "said"),
    [
        ({}, "", {"champion": "2"}, "champion"),
        ({}, "why", {}, None),
        ({"champion": "1"}, "", {"champion": "1", "challenger": "2"}, "challenger"),
        ({"champion": "1"}, "why", {"champion": "1"}, None),
        ({"champion": "2"}, "why", {}, "no longer champion, collapsed: why"),
        ({"champion": "1", "challenger": "2"}, "why", {"champion": "1"}, "no longer challenger, collapsed: why"),
    ],
)
def test_aliases_go_to_sound_versions(
    before: dict[str, str], collapsed: str, after: dict[str, str], said: str | None
) -> None:
    registry = Registry(**before)
    assert crown(registry, "model", "2", collapsed) == said  # type: ignore[arg-type]
    assert registry.aliases == after
    assert crown(registry, "model", "2", collapsed) is None  # type: ignore[arg-type]


def test_a_collapsed_model_leads_in_nothing_but_is_shown(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    why = ("1 code for 393 different items", "squared error 9, and 8 if every item is replaced by the mean item")
    others: dict[str, Any] = dict.fromkeys(("ssim", "knn_accuracy", "probe_accuracy"))
    lab.experiment("empty", model=VQVAE, bits=16, squared_error=(3.0, 2.9, 3.1), collapsed=why, **others)
    lab.experiment("large", model=MLP, bits=128, **others)
    lab.experiment("small", model=MLP, bits=64, squared_error=(5.0, 4.9, 5.1), **others)
    entries = read(lab)
    columns, lines = leaderboard(entries)
    marks = {e.name: dict(zip((c.key for c in columns), (c.mark for c in cells), strict=True)) for e, cells in lines}
    assert marks["empty"] == dict.fromkeys(marks["empty"], "")
    assert marks["small"]["bits_per_item"] == marks["large"]["squared_error"] == "best"
    merits = {e.name: [str(m) for m in merits] for group in costs(entries)[1].values() for e, _, merits in group}
    assert merits == {"empty": [], "large": ["lowest squared error"], "small": ["smallest code"]}
    html = render_report(entries, {})
    assert f"{why[0]}; {why[1]}. It is left out of every comparison" in html
    assert html.count('class="alarm"') == 5  # the finding, what it is good for, its row, its section twice
    assert lab.compare(monkeypatch).is_dir()


def test_where_all_have_collapsed_there_is_still_a_report(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.experiment("one", collapsed=("1 code for 6 different items",))
    lab.experiment("two", collapsed=("1 code for 6 different items",))
    html = (lab.compare(monkeypatch) / "index.html").read_text()
    assert html.count("<strong>Collapsed:</strong>") == 2
