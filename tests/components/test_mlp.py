from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from components.models import AutoencoderSettings, TrainingRun
from components.networks import MLPSettings
from components.networks.mlp import ACTIVATIONS
from items.spec import ItemSpec


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


def sparse_autoencoder(item: ItemSpec, digits: np.ndarray, bounded: bool) -> tuple[Tensor, Tensor]:
    """Train with an L1 penalty; return codes of other digits, and what each unit of the code adds to the item."""
    settings = AutoencoderSettings.model_validate({
        "network": {"kind": "mlp", "hidden": [], "code_activation": "relu", "unit_norm_decoder": bounded},
        "bottleneck": {"kind": "identity", "size": 32},
        "penalties": [{"kind": "l1", "weight": 0.3}],
        "training": {"batch_size": 32, "learning_rate": 0.02, "schedule": "constant"},
    })  # fmt: skip
    model = settings.build(item)
    for _ in model.fit(TrainingRun(digits[:1000], digits[1000:1300], epochs=25, seed=0)):
        pass
    model.eval()
    with torch.no_grad():
        added = model.decode(torch.eye(32)) - model.decode(torch.zeros(1, 32))
        return model.encode(torch.tensor(digits[1000:])), added.flatten(1).norm(dim=1)


def test_l1_makes_a_code_sparse_where_the_decoder_cannot_outgrow_it(digit: ItemSpec, digits: np.ndarray) -> None:
    (codes, lengths), (dense, outgrown) = (sparse_autoencoder(digit, digits, bounded) for bounded in (True, False))
    assert torch.allclose(lengths, torch.ones(32), atol=1e-5)
    assert outgrown.max() > 2
    active, dense_active = ((each > 0.1 * each.amax(0)).float().mean() for each in (codes, dense))
    assert active < 0.7 * dense_active
