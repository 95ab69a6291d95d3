"""The autoencoder: encoder, bottleneck and decoder, each chosen by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from components.bottlenecks import Bottleneck, BottleneckOutput, BottleneckSettings
from components.contract import Epoch, Model, Scaling, TrainingRun, Validation
from components.corruptions import Corruption, CorruptionSettings, NoCorruption
from components.likelihoods import Likelihood, LikelihoodSettings, SquaredError
from components.networks import NetworkSettings
from components.penalties import Activity, Penalty, PenaltySettings
from components.settings import SettingError, Settings
from components.state import State
from components.training import TrainingSettings, descend
from items.spec import ItemSpec

SQUARED_ERROR = SquaredError()


class AutoencoderSettings(Settings):
    """A point in the product space of corruptions, networks, bottlenecks, likelihoods and penalties."""

    kind: Literal["autoencoder"] = "autoencoder"
    network: NetworkSettings
    bottleneck: BottleneckSettings
    corruption: CorruptionSettings = NoCorruption()
    penalties: tuple[PenaltySettings, ...] = ()
    likelihood: LikelihoodSettings = SQUARED_ERROR
    training: TrainingSettings = Field(default_factory=TrainingSettings)

    @property
    def objective(self) -> str:
        """See :class:`Likelihood`."""
        return self.likelihood.objective

    @property
    def unit(self) -> str:
        """The unit of the objective."""
        return self.likelihood.objective_unit

    @field_validator("penalties")
    @classmethod
    def _differ(cls, penalties: tuple[Penalty, ...]) -> tuple[Penalty, ...]:
        kinds = [penalty.kind for penalty in penalties]
        if len(set(kinds)) < len(kinds):
            raise ValueError("must hold each kind once: a penalty's kind is the name of its term")
        return penalties

    def build(self, item: ItemSpec, seed: int = 0) -> Autoencoder:
        """Build the model with weights drawn from `seed`.

        Raises:
            SettingError: a part cannot take these items; the key is the path below these settings.
        """
        try:
            self.likelihood.check(item)
        except SettingError as error:
            raise error.under("likelihood") from None
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
        if item.gain != 1:
            encoder = nn.Sequential(Gain(item.gain), encoder)
        parts = (item, encoder, bottleneck, decoder, self.training, self.corruption, self.penalties, self.likelihood)
        return Autoencoder(*parts)


class Gain(nn.Module):
    """Values times a constant."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, values: Tensor) -> Tensor:
        """Multiply."""
        return self.gain * values


class Autoencoder(Model):
    """Raw items → scaling → corruption → encoder → bottleneck → decoder → likelihood.

    Trained on the likelihood's error of the clean item, the bottleneck's terms and the penalties. Items are binarized
    and corrupted in training mode only, and only on the way to the loss: codes are always those of clean grey items.
    Evaluated so, `bernoulli` loses nothing: the cross-entropy is linear in the item, so that of the grey item is what
    its binarizations have on average, for the same code.
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
        likelihood: Likelihood = SQUARED_ERROR,
    ) -> None:
        super().__init__()
        self.item, self.code, self.settings = item, bottleneck.code, training
        self.scaling = Scaling(item)
        self.encoder, self.bottleneck, self.decoder = encoder, bottleneck, decoder
        self.corruption, self.penalties, self.likelihood = corruption or NoCorruption(), penalties, likelihood

    @property
    def rebuilds(self) -> Literal["items", "chances"]:
        """See :class:`Model`."""
        return self.likelihood.rebuilds

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
        given = scaled
        if self.training:
            scaled = self.likelihood.drawn(scaled)
            given = self.corruption.some(scaled)
        output = self.bottleneck(self.encoder(given))
        return self._losses(self.likelihood.target(items, scaled), scaled, output, self.decoder(output.code))

    def validate(self, items: Tensor) -> Validation:
        """See :class:`Model`.

        The metrics hold the squared error where items are rebuilt and the loss does not, so that models of any such
        likelihood can be compared.
        """
        scaled = self.scaling(items)
        latents = self.encoder(scaled)
        output = self.bottleneck(latents)
        decoded = self.decoder(output.code)
        losses, metrics, codes = self._losses(self.likelihood.target(items, scaled), scaled, output, decoded), {}, None
        if self.likelihood.objective not in losses:
            metrics[SQUARED_ERROR.term] = SQUARED_ERROR.errors(scaled, self.likelihood.mean(decoded)).mean()
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
        return self.likelihood.mean(self.decoder(self.bottleneck.embed(codes)))

    def choice_gaps(self, items: Tensor, codes: Tensor) -> Tensor | None:
        """See :class:`Model`."""
        return self.bottleneck.choice_gaps(self.latents(items), codes)

    def with_choices(self, items: Tensor, codes: Tensor) -> Tensor:
        """See :class:`Model`."""
        return self.bottleneck.with_choices(self.latents(items), codes)

    def _losses(self, target: Tensor, scaled: Tensor, output: BottleneckOutput, decoded: Tensor) -> dict[str, Tensor]:
        """Return the loss's terms of what is to be rebuilt, scaled items, and what bottleneck and decoder gave."""
        activity = Activity(scaled, output.code, self.encoder, self.training)
        penalties = {penalty.kind: penalty(activity) for penalty in self.penalties}
        error = {self.likelihood.term: self.likelihood.errors(target, decoded).mean()}
        return error | output.losses | penalties
