"""The autoencoder: encoder, bottleneck, decoder, each chosen apart from the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from components.bottlenecks import Bottleneck, BottleneckSettings
from components.corruptions import Corruption, CorruptionSettings, NoCorruption
from components.items import ItemSpec
from components.models.contract import Epoch, Model, Scaling, TrainingRun, squared_error
from components.networks import NetworkSettings
from components.penalties import Activity, Penalty, PenaltySettings
from components.settings import SettingError, Settings
from components.state import State
from components.training import TrainingSettings, descend


class AutoencoderSettings(Settings):
    """A point in the product space of corruptions, networks, bottlenecks and penalties, and how it is trained."""

    kind: Literal["autoencoder"] = "autoencoder"
    network: NetworkSettings
    bottleneck: BottleneckSettings
    corruption: CorruptionSettings = NoCorruption()
    penalties: tuple[PenaltySettings, ...] = ()
    training: TrainingSettings = Field(default_factory=TrainingSettings)

    @field_validator("penalties")
    @classmethod
    def _are_told_apart(cls, penalties: tuple[Penalty, ...]) -> tuple[Penalty, ...]:
        kinds = [penalty.kind for penalty in penalties]
        if len(set(kinds)) < len(kinds):
            raise ValueError("must hold each kind once: a penalty's kind is the name of its figure")
        return penalties

    def build(self, item: ItemSpec, seed: int = 0) -> Autoencoder:
        """Build the model with weights drawn from `seed`.

        Raises:
            SettingError: a part cannot take these items; the key is the path below these settings.
        """
        try:
            positions = self.network.positions(item)
        except SettingError as error:
            raise error.under("network") from None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                bottleneck = self.bottleneck.build(item, positions)
            except SettingError as error:
                raise error.under("bottleneck") from None
            encoder, decoder = self.network.build(item, bottleneck.latent_shape, bottleneck.embedding_shape)
        return Autoencoder(item, encoder, bottleneck, decoder, self.training, self.corruption, self.penalties)


class Autoencoder(Model):
    """Raw items → scaling → corruption → encoder → bottleneck → decoder.

    Trained on the squared error between the clean item and the rebuilt one, the bottleneck's terms and the penalties.
    Items are corrupted in training mode only, and only on the way to the loss: codes are always those of clean items.
    """

    def __init__(
        self,
        item: ItemSpec,
        encoder: nn.Module,
        bottleneck: Bottleneck,
        decoder: nn.Module,
        training: TrainingSettings,
        corruption: Corruption | None = None,
        penalties: tuple[Penalty, ...] = (),
    ) -> None:
        super().__init__()
        self.item, self.code, self.settings = item, bottleneck.code, training
        self.scaling = Scaling(item)
        self.encoder, self.bottleneck, self.decoder = encoder, bottleneck, decoder
        self.corruption, self.penalties = corruption or NoCorruption(), penalties

    def fit(self, run: TrainingRun, resume: State | None = None) -> Iterator[Epoch]:
        """See :class:`Model`."""
        return descend(self, self.settings, run, resume)

    def initialize(self, items: Tensor) -> None:
        """Start the bottleneck from the latents of raw items."""
        if type(self.bottleneck).initialize is not Bottleneck.initialize:  # thousands of latents that few ask for
            self.bottleneck.initialize(self.latents(items))

    def anneal(self, progress: float) -> None:
        """See :class:`Model`."""
        self.bottleneck.anneal(progress)

    def latents(self, items: Tensor) -> Tensor:
        """Return what the bottleneck gets, (batch, *latent_shape), of raw items."""
        latents: Tensor = self.encoder(self.scaling(items))
        return latents

    def losses(self, items: Tensor) -> dict[str, Tensor]:
        """See :class:`Model`."""
        scaled = self.scaling(items)
        squeezed = self.bottleneck(self.encoder(self.corruption(scaled) if self.training else scaled))
        activity = Activity(scaled, squeezed.code, self.encoder, self.training)
        return {
            "squared_error": squared_error(scaled, self.decoder(squeezed.code)),
            **squeezed.losses,
            **{penalty.kind: penalty(activity) for penalty in self.penalties},
        }

    def encode(self, items: Tensor) -> Tensor:
        """See :class:`Model`."""
        return self.bottleneck.encode(self.latents(items))

    def embed(self, codes: Tensor) -> Tensor:
        """See :class:`Model`."""
        return self.bottleneck.embed(codes)

    def decode(self, codes: Tensor) -> Tensor:
        """See :class:`Model`."""
        rebuilt: Tensor = self.decoder(self.bottleneck.embed(codes))
        return rebuilt

    def regrets(self, items: Tensor, codes: Tensor) -> Tensor | None:
        """See :class:`Model`."""
        return self.bottleneck.regrets(self.latents(items), codes)
