"""The autoencoder: encoder, bottleneck and decoder, each chosen by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from components.bottlenecks import Bottleneck, BottleneckOutput, BottleneckSettings
from components.contract import Epoch, Model, Scaling, TrainingRun, Validation, cross_entropies, squared_error
from components.corruptions import Corruption, CorruptionSettings, NoCorruption
from components.networks import NetworkSettings
from components.penalties import Activity, Penalty, PenaltySettings
from components.settings import SettingError, Settings
from components.state import State
from components.training import TrainingSettings, descend
from items.spec import ItemSpec

Reconstruction = Literal["squared_error", "bernoulli"]


class AutoencoderSettings(Settings):
    """A point in the product space of corruptions, networks, bottlenecks and penalties, and how it is trained.

    Attributes:
        reconstruction: what is made small. `squared_error`; or `bernoulli`, for bytes: the decoder gives logits, and
            the loss is the cross-entropy in nats (Kingma, Welling, arXiv 1312.6114, appendix C.1).
        binarize: draw each value as 0 or 1, with its scaled value as chance, anew at each step of training (dynamic
            binarization: Burda et al., arXiv 1509.00519, section 5). For `bernoulli` only, which is then a
            log-likelihood; of grey values it is not.
    """

    kind: Literal["autoencoder"] = "autoencoder"
    network: NetworkSettings
    bottleneck: BottleneckSettings
    corruption: CorruptionSettings = NoCorruption()
    penalties: tuple[PenaltySettings, ...] = ()
    reconstruction: Reconstruction = "squared_error"
    binarize: bool = False
    training: TrainingSettings = Field(default_factory=TrainingSettings)

    @field_validator("penalties")
    @classmethod
    def _differ(cls, penalties: tuple[Penalty, ...]) -> tuple[Penalty, ...]:
        kinds = [penalty.kind for penalty in penalties]
        if len(set(kinds)) < len(kinds):
            raise ValueError("must hold each kind once: a penalty's kind is the name of its term")
        return penalties

    @field_validator("binarize")
    @classmethod
    def _has_a_likelihood(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("reconstruction") == "squared_error":
            raise ValueError("must be false where reconstruction is squared_error: it is for bernoulli")
        return value

    def build(self, item: ItemSpec, seed: int = 0) -> Autoencoder:
        """Build the model with weights drawn from `seed`.

        Raises:
            SettingError: a part cannot take these items; the key is the path below these settings.
        """
        if self.reconstruction == "bernoulli" and item.dtype != "uint8":
            allowed = f"must be squared_error: items are {item.dtype}, and only bytes are sure to scale to 0-1"
            raise SettingError("reconstruction", "bernoulli", allowed)
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
        parts = (item, encoder, bottleneck, decoder, self.training, self.corruption, self.penalties)
        return Autoencoder(*parts, self.reconstruction, self.binarize)


class Autoencoder(Model):
    """Raw items → scaling → binarization → corruption → encoder → bottleneck → decoder.

    Trained on the error between the clean item and the rebuilt one, the bottleneck's terms and the penalties. Items are
    binarized and corrupted in training mode only, and only on the way to the loss: codes are always those of clean grey
    items. Evaluated so, `bernoulli` loses nothing: the cross-entropy is linear in the item, so that of the grey item is
    what its binarizations have on average, for the same code.
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
        reconstruction: Reconstruction = "squared_error",
        binarize: bool = False,
    ) -> None:
        super().__init__()
        self.item, self.code, self.settings = item, bottleneck.code, training
        self.scaling = Scaling(item)
        self.encoder, self.bottleneck, self.decoder = encoder, bottleneck, decoder
        self.corruption, self.penalties = corruption or NoCorruption(), penalties
        self.reconstruction, self.binarize = reconstruction, binarize

    def fit(self, run: TrainingRun, resume: State | None = None) -> Iterator[Epoch]:
        """See :class:`Model`."""
        return descend(self, self.settings, run, resume)

    def initialize(self, items: Tensor) -> None:
        """Start the bottleneck from the latents of raw items (n, *item.shape)."""
        if type(self.bottleneck).initialize is not Bottleneck.initialize:  # else they are not needed
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
        if self.binarize and self.training:
            scaled = scaled.bernoulli()
        output = self.bottleneck(self.encoder(self.corruption.some(scaled) if self.training else scaled))
        return self._losses(scaled, output, self.decoder(output.code))

    def validate(self, items: Tensor) -> Validation:
        """See :class:`Model`.

        The metrics hold the squared error where the loss does not, so that models of either reconstruction can be
        compared.
        """
        scaled = self.scaling(items)
        latents = self.encoder(scaled)
        output = self.bottleneck(latents)
        decoded = self.decoder(output.code)
        losses, metrics, codes = self._losses(scaled, output, decoded), {}, None
        if "squared_error" not in losses:
            metrics["squared_error"] = squared_error(scaled, self._rebuilt(decoded))
        if self.code.levels:
            codes = self.bottleneck.encode(latents) if output.indices is None else output.indices
        return Validation(losses, metrics, codes)

    def encode(self, items: Tensor) -> Tensor:
        """See :class:`Model`."""
        return self.bottleneck.encode(self.latents(items))

    def embed(self, codes: Tensor) -> Tensor:
        """See :class:`Model`."""
        return self.bottleneck.embed(codes)

    def decode(self, codes: Tensor) -> Tensor:
        """See :class:`Model`."""
        return self._rebuilt(self.decoder(self.bottleneck.embed(codes)))

    def choice_gaps(self, items: Tensor, codes: Tensor) -> Tensor | None:
        """See :class:`Model`."""
        return self.bottleneck.choice_gaps(self.latents(items), codes)

    def with_choices(self, items: Tensor, codes: Tensor) -> Tensor:
        """See :class:`Model`."""
        return self.bottleneck.with_choices(self.latents(items), codes)

    def _losses(self, scaled: Tensor, output: BottleneckOutput, decoded: Tensor) -> dict[str, Tensor]:
        """Return the loss's terms of scaled items, what the bottleneck gave of them, and the decoder of that."""
        activity = Activity(scaled, output.code, self.encoder, self.training)
        penalties = {penalty.kind: penalty(activity) for penalty in self.penalties}
        return self._error(scaled, decoded) | output.losses | penalties

    def _error(self, scaled: Tensor, decoded: Tensor) -> dict[str, Tensor]:
        """Return the loss's first term, of scaled items and what the decoder gave, both (batch, *item.shape)."""
        if self.reconstruction == "bernoulli":
            return {"cross_entropy": cross_entropies(scaled, decoded).mean()}
        return {"squared_error": squared_error(scaled, decoded)}

    def _rebuilt(self, decoded: Tensor) -> Tensor:
        """Return items of what the decoder gave, (batch, *item.shape): where that is logits, their means."""
        return decoded.sigmoid() if self.reconstruction == "bernoulli" else decoded
