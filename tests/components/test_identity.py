from __future__ import annotations

import pytest
import torch

from components.bottlenecks import IdentitySettings
from components.settings import SettingError
from items.spec import ItemSpec

ITEM = ItemSpec(kind="image", shape=(2, 3, 1), dtype="uint8")


def test_a_real_code_costs_32_bits_a_number() -> None:
    assert IdentitySettings(size=5).build(ITEM, 9).code.bits_per_item == 32 * 5


def test_latents_pass_through_untouched() -> None:
    bottleneck = IdentitySettings(size=6).build(ITEM, 9)
    latents = torch.randn(4, 6)
    output = bottleneck(latents)
    assert bottleneck.latent_shape == bottleneck.code.shape == (6,)
    assert torch.equal(output.code, latents)
    assert output.losses == {}
    assert torch.equal(bottleneck.embed(bottleneck.encode(latents)), latents)
    assert bottleneck.choice_gaps(latents, latents) is None


def test_a_code_wider_than_the_item_is_an_error_that_names_size() -> None:
    with pytest.raises(SettingError, match="size: 7, must be at most 6") as caught:
        IdentitySettings(size=7).build(ITEM, 1)
    assert caught.value.key == "size"
