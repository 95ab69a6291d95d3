"""Settings as MLflow's parameters, within MLflow's limits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pipelines.tracking.runs import SweepRuns, flat, log_parameters
from pipelines.tracking.store import Store


class Client:
    """Accepts what MLflow accepts, and no more."""

    def __init__(self) -> None:
        self.params: dict[str, str] = {}
        self.metrics: dict[str, float] = {}

    def log_batch(self, run_id: str, params: Any = (), metrics: Any = (), tags: Any = ()) -> None:
        assert len(params) <= 100
        for param in params:
            assert len(param.key) <= 250
            assert len(param.value) <= 6000
        self.params |= {param.key: param.value for param in params}


def runs_of(store: Any, changes: dict[str, Any]) -> SweepRuns:
    model = {
        "kind": "autoencoder",
        "network": {"kind": "mlp", "hidden": [64]},
        "bottleneck": {"kind": "identity", "size": 8},
        "training": {"learning_rate": {"log_uniform": [1e-3, 1e-2]}},
    }
    sweep = {"objective": "error", "reduction": 4.0, "first_rung": None}
    settings = {"model": model | changes, "sweep": sweep, "quick": {"epochs": 4, "trials": 3}}
    return SweepRuns.of(store, "digits-deep", "digits", settings, "key", "quick", "validation_squared_error")


def test_every_setting_that_is_given_is_logged_with_what_was_asked_for() -> None:
    penalty = {"kind": "l1", "weight": 0.5}
    runs = runs_of(None, {"penalties": [penalty], "corruption": {"kind": "masking", "share": 0.25}})
    assert runs.parameters == {
        "model": "autoencoder", "budget": "quick", "epochs": "4", "trials": "3", "penalties": "l1",
    }  # fmt: skip
    assert runs.given({"model.training.learning_rate": 0.00123456789}) == {
        "model": "autoencoder",
        "network": "mlp",
        "network.hidden": "[64]",
        "bottleneck": "identity",
        "bottleneck.size": "8",
        "training.learning_rate": "0.00123457",
        "penalties.0": "l1",
        "penalties.0.weight": "0.5",
        "corruption": "masking",
        "corruption.share": "0.25",
        "sweep.objective": "error",
        "sweep.reduction": "4",
        "sweep.first_rung": "None",
    }


def test_many_and_long_settings_keep_to_mlflows_limits(tmp_path: Path) -> None:
    client = Client()
    store = Store("http://127.0.0.1:9", None, tmp_path / "lock")
    store.__dict__["client"] = client
    given = {f"a{number}": "1" for number in range(250)} | {"b" * 300: "2", "hidden": "3" * 7000}
    log_parameters(store, SimpleNamespace(info=SimpleNamespace(run_id="1")), given)  # type: ignore[arg-type]
    assert len(client.params) == 252
    assert client.params["hidden"] == "3" * 5999 + "…"


def test_lists_of_plain_values_are_one_value() -> None:
    assert flat({"a": [1, 2], "b": [{"c": None}], "d": {"e": True}}) == {"a": "[1, 2]", "b.0.c": "None", "d.e": "True"}
