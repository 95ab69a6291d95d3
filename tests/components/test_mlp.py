from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from components.items import ItemSpec
from components.networks import MLPSettings
from components.networks.mlp import ACTIVATIONS


def image(*shape: int) -> ItemSpec:
    return ItemSpec(kind="image", shape=shape, dtype="uint8")


@settings(deadline=None, max_examples=25)
@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 40)), st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))
    ),
    latent=st.one_of(st.tuples(st.integers(1, 9)), st.tuples(st.integers(1, 4), st.integers(1, 5))),
    hidden=st.lists(st.integers(1, 12), max_size=2),
)
def test_encoder_and_decoder_mirror_each_others_shapes(
    shape: tuple[int, ...], latent: tuple[int, ...], hidden: list[int]
) -> None:
    item = ItemSpec(kind="vector" if len(shape) == 1 else "image", shape=shape, dtype="float32")
    encoder, decoder = MLPSettings(hidden=tuple(hidden)).build(item, latent)
    latents = encoder(torch.zeros(2, *shape))
    assert latents.shape == (2, *latent)
    assert decoder(latents).shape == (2, *shape)


def test_hidden_widths_run_from_the_item_to_the_code_and_back() -> None:
    encoder, decoder = MLPSettings(hidden=(20, 10), activation="tanh").build(image(4, 4, 1), (3,))

    def widths(network: nn.Module) -> list[tuple[int, int]]:
        return [(layer.in_features, layer.out_features) for layer in network.modules() if isinstance(layer, nn.Linear)]

    assert widths(encoder) == [(16, 20), (20, 10), (10, 3)]
    assert widths(decoder) == [(3, 10), (10, 20), (20, 16)]


def test_the_activation_stands_between_layers_and_not_behind_the_last() -> None:
    for name, kind in ACTIVATIONS.items():
        for network in MLPSettings(hidden=(7,), activation=name).build(image(4, 4, 1), (3,)):
            kinds = [type(layer) for layer in network if type(layer) not in (nn.Flatten, nn.Unflatten)]
            assert kinds == [nn.Linear, kind, nn.Linear]


def test_no_hidden_layer_is_a_linear_autoencoder() -> None:
    for network in MLPSettings(hidden=()).build(image(3, 3, 1), (4,)):
        assert [type(layer) for layer in network] == [nn.Flatten, nn.Linear, nn.Unflatten]


def test_an_item_is_one_vector() -> None:
    assert MLPSettings().positions(image(28, 28, 1)) == 1
