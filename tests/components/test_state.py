from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from components.state import DamagedState, State

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=40)
@given(rest=st.dictionaries(st.text(), documents, max_size=4))
def test_the_json_part_survives_the_round_trip(rest: dict[str, Any]) -> None:
    content = State({"a": torch.ones(1)}, rest).to_bytes()
    assert State.from_bytes(content).rest == State.read_rest(io.BytesIO(content)) == rest


def test_tensors_survive_the_round_trip_with_type_and_shape() -> None:
    tensors = {
        "model.weight": torch.randn(3, 2).T,  # not contiguous
        "model.scale": torch.tensor(2.5, dtype=torch.float64, requires_grad=True),
        "model.half": torch.randn(4).bfloat16(),
        "optimizer.0.step": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }
    loaded = State.from_bytes(State(tensors, {"epoch": 3}).to_bytes())
    assert loaded.rest == {"epoch": 3}
    assert loaded.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor), name


def test_part_takes_what_is_below_the_name_and_nothing_else() -> None:
    one, two, three = torch.tensor(1), torch.tensor(2), torch.tensor(3)
    state = State({"model.a.b": one, "model.a.model.c": two, "models.d": three, "optimizer.0.model.e": three}, {})
    assert state.part("model") == {"a.b": one, "a.model.c": two}
    assert state.part("nothing") == {}


def test_the_file_is_plain_safetensors_with_json_in_its_header(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(State({"model.a": torch.arange(3)}, {"epoch": 4}).to_bytes())
    with safe_open(tmp_path / "state", framework="numpy") as file:
        assert file.get_tensor("model.a").tolist() == [0, 1, 2]
        assert file.metadata().keys() == {"rest"}
        assert json.loads(file.metadata()["rest"])["epoch"] == 4


def test_equal_states_make_equal_files_and_a_changed_byte_is_found() -> None:
    state = State({"model.a": torch.arange(3.0), "model.b": torch.ones(2, 2)}, {"epoch": 4, "history": [1, 2]})
    whole = state.to_bytes()
    assert state.to_bytes() == whole
    for place in range(len(whole)):
        with pytest.raises(DamagedState):
            State.from_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    for length in range(len(whole)):
        with pytest.raises(DamagedState):
            State.from_bytes(whole[:length])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "its header has 0 bytes"),
        (b"\xff" * 8, "its header has 18446744073709551615 bytes, must be 1 to 100000000"),
        ((9).to_bytes(8, "little") + b"{}", r"cannot be read \(KeyError\)"),
        ((2).to_bytes(8, "little") + b"[[", r"cannot be read \(JSONDecodeError\)"),
        (
            (32).to_bytes(8, "little") + b'{"__metadata__": {"rest": "{}"}}',
            "does not hold what a training state's does",
        ),
    ],
)
def test_a_header_of_something_else_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(DamagedState, match=reason):
        State.read_rest(io.BytesIO(content))
