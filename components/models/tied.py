"""An autoencoder of one layer and its transpose, by which layers are pretrained.

    h = s(W x̃ + b)    y = Wᵀ h + c

x̃ is the corrupted item. Where values are sure to lie in 0-1 (bytes, sigmoids), y are logits and the loss is the
cross-entropy with the clean x, Σ_k -x_k log σ(y_k) - (1 - x_k) log(1 - σ(y_k)), in nats; elsewhere it is the squared
error of y. Tied weights and both losses: Vincent et al., ICML 2008, section 2; tied weights with the contractive
penalty: Rifai et al., ICML 2011, section 5. Untied, a contraction could be undone by a larger decoder.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.bottlenecks.identity import Identity
from components.corruptions import Corruption
from components.likelihoods import Bernoulli, SquaredError
from components.models.autoencoder import Autoencoder
from components.networks.mlp import Activation, MLPSettings
from components.penalties import Penalty
from components.training import TrainingSettings
from items.spec import ItemSpec


class TiedAutoencoder(Autoencoder):
    """One layer of any number of units: corruption or a penalty keep a wide one from copying.

    Args:
        item, width, activation, training, corruption, penalties: see :class:`AutoencoderSettings`.
        within_unit: whether scaled items lie in 0-1, so that the cross-entropy is their loss.
    """

    def __init__(
        self,
        item: ItemSpec,
        width: int,
        activation: Activation,
        training: TrainingSettings,
        corruption: Corruption,
        penalties: tuple[Penalty, ...] = (),
        *,
        within_unit: bool,
    ) -> None:
        encoder, _ = MLPSettings(hidden=(), code_activation=activation).build(item, (width,))
        decoder = Transposed(encoder[1], item.shape)  # type: ignore[index]
        parts = (item, encoder, Identity(width), decoder, training, corruption, penalties)
        super().__init__(*parts, likelihood=Bernoulli() if within_unit else SquaredError())


class Transposed(nn.Module):
    """Wᵀ h + c, with the weights W of another layer and a bias of its own."""

    def __init__(self, layer: nn.Linear, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layer, self.shape = layer, shape
        self.bias = nn.Parameter(torch.zeros(layer.in_features))

    def forward(self, codes: Tensor) -> Tensor:
        """Map codes (batch, width) to (batch, *shape)."""
        return torch.unflatten(F.linear(codes, self.layer.weight.T, self.bias), 1, self.shape)
