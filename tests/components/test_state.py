from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from components import state as state_module
from components.state import DamagedState, State

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=40)
@given(rest=st.dictionaries(st.text(), documents, max_size=4))
def test_the_json_part_survives_the_round_trip(rest: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        State({"a": torch.ones(1)}, rest).save(Path(folder) / "state")
        assert State.load(Path(folder) / "state").rest == rest


def test_tensors_survive_the_round_trip_with_type_and_shape(tmp_path: Path) -> None:
    tensors = {
        "model.weight": torch.randn(3, 2).T,  # not contiguous
        "model.scale": torch.tensor(2.5, dtype=torch.float64, requires_grad=True),
        "model.half": torch.randn(4).bfloat16(),
        "optimizer.0.step": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }
    State(tensors, {"epoch": 3}).save(tmp_path / "folder" / "state")
    loaded = State.load(tmp_path / "folder" / "state")
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


def test_a_crash_in_the_middle_of_a_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    State({"a": torch.ones(2)}, {"epoch": 1}).save(path)

    def crash(tensors: object, file: Path, metadata: object) -> None:
        Path(file).write_bytes(b"half a fi")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(state_module, "save_file", crash)
        with pytest.raises(OSError, match="no space"):
            State({"a": torch.zeros(2)}, {"epoch": 2}).save(path)
    assert State.load(path).rest == {"epoch": 1}
    assert State.load(path).tensors["a"].tolist() == [1, 1]

    State({"a": torch.zeros(2)}, {"epoch": 2}).save(path)
    assert State.load(path).rest == {"epoch": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


def test_the_file_is_plain_safetensors_with_json_in_its_header(tmp_path: Path) -> None:
    State({"model.a": torch.arange(3)}, {"epoch": 4}).save(tmp_path / "state")
    with safe_open(tmp_path / "state", framework="numpy") as file:
        assert file.get_tensor("model.a").tolist() == [0, 1, 2]
        assert file.metadata().keys() == {"rest"}
        assert json.loads(file.metadata()["rest"])["epoch"] == 4


def test_equal_states_make_equal_files_and_a_changed_byte_is_found(tmp_path: Path) -> None:
    state = State({"model.a": torch.arange(3.0), "model.b": torch.ones(2, 2)}, {"epoch": 4, "history": [1, 2]})
    state.save(tmp_path / "one")
    state.save(tmp_path / "two")
    whole = (tmp_path / "one").read_bytes()
    assert (tmp_path / "two").read_bytes() == whole
    for place in range(len(whole)):
        (tmp_path / "one").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DamagedState):
            State.load(tmp_path / "one")
    for length in range(len(whole)):
        (tmp_path / "one").write_bytes(whole[:length])
        with pytest.raises(DamagedState):
            State.load(tmp_path / "one")
