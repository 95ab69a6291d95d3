"""Every settings model of the room is closed and refuses values that cannot work."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from components.bottlenecks import IdentitySettings, VectorQuantizerSettings
from components.corruptions import GaussianNoise, MaskingNoise, NoCorruption, SaltAndPepperNoise
from components.data import FashionMnistSettings, ImagesSettings
from components.models import AutoencoderSettings, ModelSettings, PCASettings
from components.networks import ConvSettings, LinearSettings, MLPSettings
from components.penalties import ContractiveSettings, KLSparsitySettings, L1Settings
from components.settings import SettingError, Settings
from components.training import TrainingSettings
from items.spec import ItemSpec

QUANTIZER = {"codebook_size": 8, "size": 2}
VALID: list[tuple[type[Settings], dict[str, Any]]] = [
    (PCASettings, {"size": 3}),
    (IdentitySettings, {"size": 3}),
    (VectorQuantizerSettings, QUANTIZER),
    (MLPSettings, {"hidden": [5]}),
    (ConvSettings, {}),
    (LinearSettings, {}),
    (NoCorruption, {}),
    (GaussianNoise, {}),
    (MaskingNoise, {}),
    (SaltAndPepperNoise, {}),
    (L1Settings, {"weight": 1}),
    (KLSparsitySettings, {"weight": 1}),
    (ContractiveSettings, {"weight": 1}),
    (FashionMnistSettings, {}),
    (ImagesSettings, {"source": "pictures"}),
    (TrainingSettings, {}),
    (AutoencoderSettings, {"network": {"kind": "mlp"}, "bottleneck": {"kind": "identity", "size": 2}}),
    (ItemSpec, {"kind": "vector", "shape": [3], "dtype": "uint8"}),
]


@pytest.mark.parametrize(("model", "values"), VALID, ids=lambda value: getattr(value, "__name__", ""))
def test_an_unknown_key_is_refused_by_name_and_values_are_frozen(model: type[Settings], values: dict[str, Any]) -> None:
    settings = model.model_validate(values)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, next(iter(model.model_fields)), 1)
    with pytest.raises(ValidationError, match="typo_of_a_key"):
        model.model_validate(values | {"typo_of_a_key": 1})


@pytest.mark.parametrize(
    ("model", "values", "key"),
    [
        (PCASettings, {"size": 0}, "size"),
        (IdentitySettings, {"size": -1}, "size"),
        (VectorQuantizerSettings, QUANTIZER | {"codebook_size": 1}, "codebook_size"),
        (VectorQuantizerSettings, QUANTIZER | {"codebook_size": 65537}, "codebook_size"),
        (VectorQuantizerSettings, QUANTIZER | {"size": 0}, "size"),
        (VectorQuantizerSettings, QUANTIZER | {"positions": 0}, "positions"),
        (VectorQuantizerSettings, QUANTIZER | {"commitment": -0.1}, "commitment"),
        (VectorQuantizerSettings, QUANTIZER | {"decay": 1.0}, "decay"),
        (VectorQuantizerSettings, QUANTIZER | {"decay": 0.0}, "decay"),
        (VectorQuantizerSettings, QUANTIZER | {"dead_code_threshold": -0.1}, "dead_code_threshold"),
        (MLPSettings, {"hidden": [8, 0]}, "hidden"),
        (MLPSettings, {"activation": "step"}, "activation"),
        (MLPSettings, {"code_activation": "step"}, "code_activation"),
        (GaussianNoise, {"sigma": 0}, "sigma"),
        (MaskingNoise, {"share": 0}, "share"),
        (MaskingNoise, {"share": 1.1}, "share"),
        (SaltAndPepperNoise, {"share": -0.1}, "share"),
        (L1Settings, {"weight": 0}, "weight"),
        (KLSparsitySettings, {"weight": 1, "target": 0}, "target"),
        (KLSparsitySettings, {"weight": 1, "target": 1}, "target"),
        (ContractiveSettings, {"weight": 1, "samples": 0}, "samples"),
        (ImagesSettings, {"source": "x", "size": [32, 32, 3]}, "size"),
        (ImagesSettings, {"source": "x", "channels": 2}, "channels"),
        (ImagesSettings, {"source": "x", "on_error": "ignore"}, "on_error"),
        (ConvSettings, {"downsample": 3}, "downsample"),
        (ConvSettings, {"channels": 0}, "channels"),
        (ConvSettings, {"blocks": -1}, "blocks"),
        (TrainingSettings, {"batch_size": 0}, "batch_size"),
        (TrainingSettings, {"learning_rate": 0.0}, "learning_rate"),
        (TrainingSettings, {"weight_decay": -1e-3}, "weight_decay"),
        (TrainingSettings, {"schedule": "linear"}, "schedule"),
        (ItemSpec, {"kind": "vector", "shape": [3], "dtype": "int64"}, "dtype"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_key(
    model: type[Settings], values: dict[str, Any], key: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(values)
    assert [error["loc"][0] for error in caught.value.errors()] == [key]


def test_kind_chooses_the_settings() -> None:
    adapter = TypeAdapter[Any](ModelSettings)
    settings = adapter.validate_python(
        {"kind": "autoencoder", "network": {"kind": "conv"}, "bottleneck": {"kind": "vector_quantizer"} | QUANTIZER}
    )
    assert type(settings.network) is ConvSettings
    assert type(settings.bottleneck) is VectorQuantizerSettings
    assert type(adapter.validate_python({"kind": "pca", "size": 2})) is PCASettings
    with pytest.raises(ValidationError, match="'pca', 'lsa', 'autoencoder'"):
        adapter.validate_python({"kind": "magic"})


def test_a_setting_error_says_key_value_and_what_is_allowed_and_takes_prefixes() -> None:
    error = SettingError("size", 9, "must be at most 3").under("bottleneck").under("model")
    assert str(error) == "model.bottleneck.size: 9, must be at most 3"
    assert (error.key, error.value, error.allowed) == ("model.bottleneck.size", 9, "must be at most 3")


def test_an_items_size_is_counted_in_values_and_bits() -> None:
    image = ItemSpec(kind="image", shape=(28, 28, 3), dtype="uint8")
    assert (image.values, image.bits) == (2352, 2352 * 8)
    assert ItemSpec(kind="vector", shape=(5,), dtype="float32").bits == 160
