"""The training loops that are timed: this project's, a bare one, and two peers'.

Each trains the same network, from the same weights, on the same items, for one pass in the same batches with AdamW. A
peer is used as its documentation says, with its own dataset, loader and trainer; only its training pass is timed, not
what it does before and after (checks, validation, files).
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.likelihoods import SquaredError
from components.models import AutoencoderSettings, TrainingRun
from components.models.autoencoder import Autoencoder
from items.spec import ItemSpec

LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Work:
    """What every loop trains.

    Attributes:
        item: what `raw` holds.
        raw: bytes (items, *item.shape).
        floats: the same items as (items, values) in 0-1, made before any clock starts.
        hidden, code: widths of the layers: values-hidden-code-hidden-values, SiLU between, linear at both ends.
        batch_size: items a step.
    """

    item: ItemSpec
    raw: np.ndarray[Any, Any]
    floats: Tensor
    hidden: int
    code: int
    batch_size: int

    def model(self) -> Autoencoder:
        """Return this project's model; the same weights every time."""
        settings: dict[str, Any] = {
            "network": {"kind": "mlp", "hidden": [self.hidden], "activation": "silu"},
            "bottleneck": {"kind": "identity", "size": self.code},
            "training": {"batch_size": self.batch_size, "learning_rate": LEARNING_RATE, "schedule": "constant"},
        }
        return AutoencoderSettings.model_validate(settings).build(self.item)

    def layers(self) -> tuple[nn.Module, nn.Module]:
        """Return an encoder and a decoder of plain layers with the weights of :meth:`model`."""
        values = self.floats.shape[1]
        encoder = nn.Sequential(nn.Linear(values, self.hidden), nn.SiLU(), nn.Linear(self.hidden, self.code))
        decoder = nn.Sequential(nn.Linear(self.code, self.hidden), nn.SiLU(), nn.Linear(self.hidden, values))
        with torch.no_grad():
            mine = [*encoder.parameters(), *decoder.parameters()]
            for parameter, same in zip(mine, self.model().parameters(), strict=True):
                parameter.copy_(same)
        return encoder, decoder

    def error(self, rebuild: Callable[[Tensor], Tensor]) -> float:
        """Return the squared error an item that a trained network makes: all loops must come to about the same."""
        with torch.no_grad():
            items = self.floats[:1024].to("cuda" if torch.cuda.is_available() else "cpu")
            return float(SquaredError().errors(items, rebuild(items).reshape(items.shape)).mean())


@dataclass(frozen=True)
class Pass:
    """One training pass: seconds of the clock and of all its CPUs, and the squared error an item after it."""

    seconds: float
    cpu_seconds: float
    squared_error: float


class Stopwatch:
    """Times what happens inside of `with`."""

    def __enter__(self) -> Stopwatch:
        self._began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = time.perf_counter() - self._began[0]
        self.cpu_seconds = time.process_time() - self._began[1]

    def around(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method that is timed each time it is called."""

        def timed(*arguments: Any, **named: Any) -> Any:
            with self:
                return method(*arguments, **named)

        return timed

    def result(self, squared_error: float) -> Pass:
        """Return the last timing."""
        return Pass(self.seconds, self.cpu_seconds, squared_error)


def ours(work: Work) -> Pass:
    """Train with `model.fit`, timed from outside with all that it does in an epoch (validation has one item)."""
    model = work.model()
    with Stopwatch() as watch:
        next(model.fit(TrainingRun(work.raw, work.raw[:1], epochs=1, seed=0)))
    scaled = (work.floats.shape[0], *work.item.shape)
    images = (work.floats.reshape(scaled)[:1024] * 255).to(torch.uint8)
    return watch.result(work.error(lambda items: model.decode(model.encode(images.to(items.device)))))


def bare(work: Work) -> Pass:
    """Train by the shortest loop that one would write by hand: floats in memory, one gather, a fused AdamW.

    On CUDA in bfloat16, as this project's loop does.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, items = nn.Sequential(*work.layers()).to(device), work.floats.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    torch.manual_seed(0)
    with Stopwatch() as watch:
        for batch in torch.split(items[torch.randperm(len(items), device=device)], work.batch_size):
            if device.type == "cuda":
                with torch.autocast("cuda", torch.bfloat16):
                    loss = (network(batch) - batch).square().sum(1).mean()
            else:
                loss = (network(batch) - batch).square().sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loss.item()  # waits for the device
    return watch.result(work.error(network))


def pythae(work: Work, fused: bool = False) -> Pass:
    """Train with pythae's AE, BaseDataset and BaseTrainer; its clock runs during `train_step`, a pass of training."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import AE, AEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self, layers: nn.Module) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: Tensor) -> ModelOutput:
            return ModelOutput(embedding=self.layers(x))

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self, layers: nn.Module) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.layers(z))

    encoder, decoder = work.layers()
    shape = AEConfig(input_dim=(work.floats.shape[1],), latent_dim=work.code)
    model = AE(shape, encoder=Encoder(encoder), decoder=Decoder(decoder))
    dataset = BaseDataset(work.floats, torch.zeros(len(work.floats)))
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder, _quiet():
        settings = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=1,
            per_device_train_batch_size=work.batch_size,
            learning_rate=LEARNING_RATE,
            optimizer_cls="AdamW",
            optimizer_params={"weight_decay": 0.0} | ({"fused": True} if fused else {}),
            keep_best_on_train=True,
        )
        trainer = BaseTrainer(model, dataset, training_config=settings)
        trainer.train_step = watch.around(trainer.train_step)
        trainer.train()
    return watch.result(work.error(lambda items: decoder(encoder(items))))


def autoencoders(work: Work, fused: bool = False) -> Pass:
    """Train with the AutoencoderModel, EmbeddingTensorDataset and AETrainer of `autoencoders`.

    Its clock runs during `train_epoch`. Its MLP module builds the same layers from the widths.
    """
    from autoencoders.data.base import DatasetLoaders, DatasetSplits, TensorSpec, create_dataloaders
    from autoencoders.data.embeddings import EmbeddingMatrix, EmbeddingTensorDataset
    from autoencoders.models.ae import AutoencoderConfig, AutoencoderModel
    from autoencoders.training import AETrainer, TrainingConfig

    values = work.floats.shape[1]
    widths = {"hidden_dims": [work.hidden, work.code], "activation": "silu"}
    model = AutoencoderModel(AutoencoderConfig(), TensorSpec((values,)), encoder="mlp", encoder_config=widths)
    with torch.no_grad():
        for parameter, same in zip(model.parameters(), work.model().parameters(), strict=True):
            parameter.copy_(same)
    train, rest = (EmbeddingTensorDataset(EmbeddingMatrix([], items, {})) for items in (work.floats, work.floats[:1]))
    loaders: DatasetLoaders = create_dataloaders(DatasetSplits(train, rest, rest), batch_size=work.batch_size)
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder, _quiet():
        settings = TrainingConfig(
            output_dir=folder, epochs=1, learning_rate=LEARNING_RATE, optimizer_name="adamw", weight_decay=0.0
        )
        given = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True) if fused else None
        trainer = AETrainer(model, settings, optimizer=given)
        trainer.train_epoch = watch.around(trainer.train_epoch)
        trainer.fit(loaders)
    return watch.result(work.error(lambda items: model(inputs=items).reconstruction))


def installed(peer: str) -> bool:
    """Return whether a peer can be imported, without importing it."""
    return importlib.util.find_spec(peer) is not None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send a peer's progress to nowhere: it stays part of its loop, and stdout holds one line of JSON."""
    logging.disable(logging.WARNING)
    with (
        open(os.devnull, "w") as nowhere,  # noqa: PTH123
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        warnings.catch_warnings(action="ignore"),
    ):
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
